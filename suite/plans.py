"""The plan to cost a method with that searches."""

from __future__ import annotations

import json
from pathlib import Path

from suite import backbones
from suite.core import Method, Plan
from suite.errors import UserError


def plan_of(method: Method, backbone_name: str, preset: str, given: str | None) -> tuple[Plan | None, str]:
    """The plan to cost a method with, and a line that says where it is from ("" where the method does not search).

    given: a JSON object, or the name of a file with one; without it the method's `example_plan`. Raises UserError where it is neither.
    """
    if method.search is None:
        if given is not None:
            raise UserError(f"{method.name} does not search: it takes no plan")
        return None, ""
    if given is not None:
        return _read_plan(given), ""
    plan = method.example_plan(backbones.load(backbone_name).build(preset, pretrained=False, device="meta"))
    if plan is None:
        return None, "without --plan: everything that the search chooses from"
    return plan, f"without --plan, an example: {json.dumps(plan)}"


def _read_plan(given: str) -> Plan:
    try:
        plan = json.loads(given if given.lstrip().startswith("{") else Path(given).read_text())
    except OSError as error:
        raise UserError(f"a plan is a JSON object or a file with one; cannot read {given[:80]}: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"the plan {given[:80]} is no JSON: {error}") from error
    if not isinstance(plan, dict):
        raise UserError(f"the plan {given[:80]} is no JSON object")
    return plan
