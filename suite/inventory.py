"""What every method costs on every backbone: parameters and MACs of one example, counted without weights, data or training."""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from suite import pool
from suite.errors import UserError
from suite.settings import Settings, chosen


class Item(NamedTuple):
    """A method on a backbone, counted with the head of a task."""

    backbone: str
    method: str
    task: str
    preset: str


class Sizes(NamedTuple):
    """trainable_params: the method's own, as papers.md section 6 counts them; extra_macs: against the backbone with its head only."""

    backbone: str
    method: str
    trainable_params: int
    total_params: int
    macs: int
    extra_macs: int


def items(settings: Settings) -> list[Item]:
    """Every method, whatever its group, on every backbone; each backbone with its first task. Raises UserError for unknown names."""
    from suite import backbones
    from suite.grid import fitting
    from suite.plugins import discover

    catalogue = discover()
    names = chosen("method", catalogue.usable(settings.methods), list(catalogue.methods))
    places = chosen("backbone", settings.backbones, backbones.names())
    return [Item(place, name, fitting(place, None, settings.preset).name, settings.preset) for place in places for name in names]


def counted(wanted: Sequence[Item], workers: int) -> tuple[list[Sizes], list[str]]:
    """The sizes in the order of the items, and for those that have none a line for each backbone and reason.

    Raises UserError, once all were counted, where a method's code raised something.
    """
    with tempfile.TemporaryDirectory() as logs:
        found = {outcome.job: outcome for outcome in pool.run("suite.work:sizes", wanted, workers, Path(logs))}
    if broken := [f"{item.backbone}, {item.method}: {found[item].error}" for item in wanted if found[item].error]:
        raise UserError(f"{len(broken)} could not be counted, first {broken[0]}")
    values = [(item, found[item].value) for item in wanted]
    return [value for _, value in values if isinstance(value, Sizes)], reasons([(i, v) for i, v in values if isinstance(v, str)])


def reasons(lacks: Iterable[tuple[Item, str]]) -> list[str]:
    """Why items have nothing, a line for each backbone and reason."""
    methods: dict[tuple[str, str], list[str]] = {}
    for item, reason in lacks:
        methods.setdefault((item.backbone, reason), []).append(item.method)
    return [f"none on {backbone} for {', '.join(names)}: {reason}" for (backbone, reason), names in methods.items()]


def write_csv(rows: Iterable[Sizes], file: Any) -> None:
    """With a line of names; plain integers."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(Sizes._fields)
    writer.writerows(rows)


def told(method: str, backbone: str, settings: Settings, task: str | None, plan: str | None) -> Iterator[str]:
    """The costs of one method, line by line; see `suite.plans.plan_of` for `plan`. Raises UserError where it does not fit the backbone."""
    from suite import backbones
    from suite.cost import measure, papers_own
    from suite.grid import fitting
    from suite.plans import plan_of
    from suite.plugins import configured, discover

    kind, data = discover().get(method), fitting(backbone, task, settings.preset)
    made, built = configured(kind, backbone, data.name), backbones.load(backbone).build(settings.preset, pretrained=False, device="meta")
    if reason := made.not_applicable(built, data.name):
        raise UserError(f"{method} on {backbone} for {data.name}: {reason}")
    found, line = plan_of(made, backbone, settings.preset, plan)
    result = measure(made, backbone, data, preset=settings.preset, plan=found, memory=False, profile=settings.profile)
    yield from [line] if line else []
    if (published := papers_own(built, result.trainable)) != result.trainable:
        yield f"{'as published':14} {published:>18,}"
    for name in ("trainable", "trainable_all", "total", "macs", "extra_macs", "macs_merged"):
        value = getattr(result, name)
        yield f"{name:14} {'none' if value is None else format(value, ','):>18}"
