"""params.yaml: which part of the grid runs, and how. Imports no torch."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from suite.names import nearest, unknown
from suite.errors import UserError
from suite.record import Strict

PARAMS = Path("params.yaml")
Profile = Literal["mini", "smoke", "paper"]
PRESETS: dict[str, str] = {"mini": "mini", "smoke": "mini", "paper": "paper"}
"""The size of the backbones by profile."""

SMOKE_METHODS, SMOKE_TASKS = ["head", "lora", "apt"], ["world-vqa"]
Names = Literal["all"] | Annotated[list[str], Field(min_length=1)]


class Costs(Strict, strict=True):
    """What is measured beside parameters and MACs."""

    latency: bool = True
    memory: bool = True


class Settings(Strict, strict=True):
    """The contents of params.yaml. groups: of methods and tasks, beside the default ones, that `all` takes in; epochs: None = as the
    task's recipe says; official_protocol: search as the papers' code does; precision, micro_batch: of the paper profile, see
    suite.recipe.Recipe, None = as published and all at once; gpus: that train a cell together; workers: processes, `auto` = one per core,
    or one where they would share a GPU."""

    profile: Profile = "mini"
    backbones: Names = "all"
    methods: Names = "all"
    tasks: Names = "all"
    groups: list[Literal["extras", "real"]] = []
    seeds: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)] = [0, 1, 2]
    epochs: Annotated[int, Field(ge=1)] | None = None
    official_protocol: bool = False
    precision: Literal["fp32", "bf16", "fp16"] | None = None
    micro_batch: Annotated[int, Field(ge=1)] | None = None
    gpus: Annotated[int, Field(ge=1)] = 1
    workers: Literal["auto"] | Annotated[int, Field(ge=1)] = "auto"
    costs: Costs = Costs()

    @model_validator(mode="after")
    def _distinct(self) -> Settings:
        for key in ("backbones", "methods", "tasks", "seeds"):
            values = getattr(self, key)
            if values != "all" and len(set(values)) < len(values):
                raise ValueError(f"{key} names one twice")
        return self

    @property
    def preset(self) -> str:
        """The size of the backbones."""
        return PRESETS[self.profile]

    def processes(self) -> int:
        """How many workers."""
        if self.workers != "auto":
            return self.workers
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def load(path: Path = PARAMS, **overrides: Any) -> Settings:
    """Read params.yaml; `overrides` that are neither None nor empty replace its entries. The smoke profile narrows what is left at `all`.

    Raises UserError, one line that names the key.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; run petlbench where params.yaml lies") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} must hold `key: value` lines")
    given = {key: value for key, value in overrides.items() if value not in (None, [])}
    return narrowed(validated(validated(content, str(path)).model_dump() | given, "command line"))


def validated(content: dict[str, Any], where: str) -> Settings:
    """Settings from plain values; raises UserError naming `where` and the key."""
    try:
        return Settings.model_validate(content)
    except ValidationError as error:
        raise UserError(f"{where}: {_first(error, content)}") from error


def _first(error: ValidationError, content: dict[str, Any]) -> str:
    """One line about the first thing that is wrong."""
    problem = error.errors()[0]
    parts = [str(part) for part in problem["loc"]]
    if problem["type"] == "extra_forbidden":
        known = Costs.model_fields if parts[0] == "costs" and len(parts) > 1 else Settings.model_fields
        close = nearest(parts[-1], known)
        return f"unknown key {'.'.join(parts)!r}; " + (f"did you mean {close!r}?" if close else f"there are {', '.join(known)}")
    if not parts:
        return problem["msg"].removeprefix("Value error, ")
    key = parts[0] if parts[0] != "costs" else ".".join(parts[:2])
    return f"{key} is {content.get(parts[0])!r}; it must be {EXPECTED[key.split('.')[0]]}"


EXPECTED = {
    "profile": "mini, smoke or paper",
    "backbones": "`all` or a list of names",
    "methods": "`all` or a list of names",
    "tasks": "`all` or a list of names",
    "groups": "a list of extras and real, or []",
    "seeds": "a list of whole numbers from 0",
    "epochs": "null or a whole number from 1",
    "official_protocol": "true or false",
    "precision": "null, fp32, bf16 or fp16",
    "micro_batch": "null or a whole number from 1",
    "gpus": "a whole number from 1",
    "workers": "`auto` or a whole number from 1",
    "costs": "`latency` and `memory`, each true or false",
}


def narrowed(settings: Settings) -> Settings:
    """The smoke profile's few cells of one epoch; other profiles as they are."""
    if settings.profile != "smoke":
        return settings
    few = {"methods": SMOKE_METHODS, "tasks": SMOKE_TASKS}
    update: dict[str, Any] = {key: names for key, names in few.items() if getattr(settings, key) == "all"}
    return settings.model_copy(update=update | {"seeds": settings.seeds[:1], "epochs": settings.epochs or 1})


def chosen(kind: str, wanted: Names, available: list[str]) -> list[str]:
    """The names to use, in the order of `available`; raises UserError for one that is not there, with the nearest."""
    if wanted == "all":
        return list(available)
    for name in wanted:
        if name not in available:
            raise unknown(kind, name, available)
    return [name for name in available if name in wanted]
