"""Cells and records: what is stored, as schemas. Imports no torch, so the report and the command line stay light."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator

SCHEMA = 1
PROTOCOL = 3
"""Bumped when the training or evaluation protocol changes; part of every key."""

Status = Literal["ok", "failed", "missing", "n/a"]


class Strict(BaseModel):
    """No unknown fields, nothing changed after validation."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Cell(Strict):
    """One entry of the grid."""

    method: str
    backbone: str
    task: str
    seed: int = Field(ge=0)
    profile: str

    def __str__(self) -> str:
        return f"{self.profile}/{self.backbone}/{self.task}/{self.method}/{self.seed}"


class Interval(Strict):
    """Median and 95 % interval of the median, in the unit of the field."""

    median: FiniteFloat
    low: FiniteFloat
    high: FiniteFloat


class Latency(Strict):
    """Milliseconds of one forward pass, head included, by batch size ("1", "32"); merged only where the method can be folded."""

    unmerged: dict[str, Interval]
    merged: dict[str, Interval] | None = None


class Cost(Strict):
    """What a method costs on a backbone and task (one plan). MACs of one example, matrix products and convolutions."""

    schema_version: int = SCHEMA
    key: str
    method: str
    backbone: str
    task: str
    profile: str
    plan: dict[str, Any] | None = None
    trainable: int = Field(ge=0, description="the method's own trained parameters")
    trainable_all: int = Field(ge=0, description="with head and always-trained parts")
    total: int = Field(ge=0)
    macs: int = Field(ge=0)
    extra_macs: int = Field(description="against the same backbone with its head only")
    macs_merged: int | None = None
    latency: Latency | None = None
    peak_memory: int | None = Field(default=None, description="bytes: resident peak of a training step, less the process before it")
    machine: str = ""


class Provenance(Strict):
    """Where a record comes from."""

    commit: str | None
    dirty: bool | None
    versions: dict[str, str]
    machine: str
    data_hash: str
    weights_hash: str
    wall_seconds: FiniteFloat
    search_seconds: FiniteFloat = Field(default=0.0, description="part of wall_seconds that went into the method's search")
    finished: str = Field(description="UTC, ISO 8601")


class CurvePoint(Strict):
    """One epoch: mean training loss, learning rate at its end, the validation metric where it was evaluated."""

    epoch: int
    loss: FiniteFloat
    lr: FiniteFloat
    validation: FiniteFloat | None = None


class Record(Strict):
    """The result of one cell: one JSON file."""

    schema_version: int = SCHEMA
    protocol: int = PROTOCOL
    key: str = Field(description="sha256 over everything the result depends on")
    cell: Cell
    status: Status
    reason: str | None = None
    title: str = Field(description="the method's title in tables")
    metric: str = Field(description="name of the headline metric")
    metrics: dict[str, FiniteFloat] = {}
    validation: dict[str, FiniteFloat] = {}
    floors: dict[str, FiniteFloat] = {}
    examples: str | None = Field(default=None, description="sha256 of the per-example file")
    plan: dict[str, Any] | None = None
    hyper_parameters: dict[str, Any] = {}
    curve: list[CurvePoint] = []
    signature: str | None = Field(default=None, description="sha256 over names and shapes of the trainable parameters")
    flags: list[str] = []
    claims: list[dict[str, Any]] = []
    provenance: Provenance | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Record:
        if self.status == "ok" and self.metric not in self.metrics:
            raise ValueError(f"an ok record needs its headline metric {self.metric!r}")
        if self.status != "ok" and not self.reason:
            raise ValueError(f"a record with status {self.status!r} needs a reason")
        return self
