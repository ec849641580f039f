"""The board: everything a table, plot or page shows, computed once from records. Plain schemas, stored as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from pydantic import FiniteFloat

from suite.experiments import Experiment
from suite.record import Cost, Interval, Status, Strict
from suite.stats import Outcome

BOARD_SCHEMA = 2
DIGITS = 6
"""Decimals kept, so that a board reads the same wherever its sums were added up."""

COUNTS = ("trainable", "trainable_all", "total", "macs", "extra_macs", "macs_merged")
Standing = Literal["ok", "partial", "failed", "missing", "n/a"]
"""Of a (method, task): `partial` where some seeds are there and some are not."""


class SeedResult(Strict):
    """One cell: its headline value (percent) or the reason why there is none."""

    seed: int
    status: Status
    value: FiniteFloat | None = None
    reason: str | None = None


class Measured(Strict):
    """Mean over the seeds and half-width of its 95 % interval (None: one seed), in percent."""

    mean: FiniteFloat
    half: FiniteFloat | None = None


class Summary(Strict):
    """A method on a task, or its average over tasks: mean and half-width of the 95 % interval in percent, over n seeds.

    p: Holm-adjusted, against the best of the column; tied: the best, or not told apart from it; neither is there for a control.
    metrics: what a task measures beside its headline: retrieval's recalls, the kinds of its questions.
    """

    status: Standing
    mean: FiniteFloat | None = None
    half: FiniteFloat | None = None
    n: int = 0
    seeds: list[SeedResult] = []
    p: FiniteFloat | None = None
    tied: bool = False
    reason: str | None = None
    metrics: dict[str, Measured] = {}

    def why(self) -> str:
        """What happened to the seeds without a result, equal fates together."""
        fates: dict[str, list[str]] = {}
        for seed in self.seeds:
            if seed.status != "ok":
                fates.setdefault(f"{seed.status}: {seed.reason}", []).append(str(seed.seed))
        if len(fates) == 1 and len(*fates.values()) == len(self.seeds):
            return next(iter(fates))
        told = [f"seed{'s' if len(seeds) > 1 else ''} {', '.join(seeds)} {fate}" for fate, seeds in fates.items()]
        return "; ".join(told) or self.reason or self.status


class TaskCosts(Strict):
    """Of one task, averaged over the plans its seeds found. Parameters, MACs of one example, milliseconds, bytes."""

    trainable: FiniteFloat
    trainable_all: FiniteFloat
    total: FiniteFloat
    macs: FiniteFloat
    extra_macs: FiniteFloat
    macs_merged: FiniteFloat | None = None
    peak_memory: FiniteFloat | None = None
    unmerged: dict[str, Interval] = {}
    merged: dict[str, Interval] = {}

    @classmethod
    def of(cls, cost: Cost) -> TaskCosts:
        shared = cost.model_dump(include={*COUNTS, "peak_memory"})
        latency = cost.latency
        return cls(**shared, unmerged=latency.unmerged if latency else {}, merged=(latency.merged or {}) if latency else {})

    @classmethod
    def mean(cls, costs: Sequence[TaskCosts]) -> TaskCosts:
        """Field by field; what some lack (a batch size, a merged figure, the memory) is left out."""

        def mean(values: list[float | None]) -> float | None:
            return None if None in values else round(sum(values) / len(values), DIGITS)

        def latency(name: str) -> dict[str, Interval]:
            all_sizes = [getattr(c, name) for c in costs]
            sizes = sorted(set.intersection(*(set(s) for s in all_sizes)), key=int)
            ends = ("median", "low", "high")
            return {n: Interval(**{end: mean([getattr(s[n], end) for s in all_sizes]) for end in ends}) for n in sizes}

        counts = {name: mean([getattr(c, name) for c in costs]) for name in (*COUNTS, "peak_memory")}
        return cls(**counts, unmerged=latency("unmerged"), merged=latency("merged"))


class Row(Strict):
    """One method. costs: the mean over tasks; task_costs: each task's own. control: what a claim compares a search with, no rival."""

    method: str
    title: str
    cells: dict[str, Summary]
    average: Summary
    costs: TaskCosts | None = None
    task_costs: dict[str, TaskCosts] = {}
    control: bool = False


class Refusal(Strict):
    """A method that makes no sense on any task of a backbone, and why."""

    method: str
    title: str
    reason: str


class Column(Strict):
    """One task: its metric, its floors in percent, the seed deviation of its column."""

    task: str
    metric: str
    floors: dict[str, FiniteFloat] = {}
    seed_sd: FiniteFloat = 0.0
    seed_df: int = 0


class Flag(Strict):
    """Something a reader should not miss."""

    kind: Literal["failed", "missing", "below head", "below floor", "duplicate", "recorded", "examples", "costs", "untuned"]
    method: str
    task: str | None = None
    text: str


class Claim(Strict):
    """A sentence of a paper and what became of it. source: who says it; by_task: the verdict on each task alone, in a paper's table
    on each backbone."""

    method: str
    text: str
    verdict: Outcome
    detail: str
    by_task: dict[str, Outcome] = {}
    source: str = ""


class Section(Strict):
    """One backbone. floors: their averages over tasks, where every task has them. rows: best average first, controls last.

    not_applicable: methods that have no row because they are "n/a" on every task.
    """

    backbone: str
    columns: list[Column]
    rows: list[Row]
    not_applicable: list[Refusal] = []
    floors: dict[str, FiniteFloat] = {}
    seed_sd: FiniteFloat = 0.0
    seed_df: int = 0
    flags: list[Flag] = []
    claims: list[Claim] = []

    def grid(self, task: str) -> str:
        """Name, without ending, of the files with the samples of a task that generates pictures."""
        return f"{self.backbone}-{task}-samples"


class Reproduction(Strict):
    """A paper's table, made anew: of each backbone that is there its section, narrowed to the table's methods and tasks.

    absent: by backbone, what would have to run for its part of the table. claims: over all its backbones.
    """

    experiment: Experiment
    sections: list[Section]
    absent: dict[str, str] = {}
    claims: list[Claim] = []


class Board(Strict):
    """One profile's results, with where they come from. sections: every method and task, by backbone; experiments: the papers' tables."""

    schema_version: int = BOARD_SCHEMA
    profile: str
    protocols: list[int]
    commits: list[str]
    dirty: bool
    machines: list[str]
    versions: dict[str, list[str]]
    finished: str | None
    sections: list[Section]
    experiments: list[Reproduction] = []

    def incomplete(self) -> Iterator[tuple[str, str, str, SeedResult]]:
        """(backbone, method, task, cell) of everything planned that has no result, "n/a" aside."""
        for section in self.sections:
            for row in section.rows:
                for task, cell in row.cells.items():
                    yield from ((section.backbone, row.method, task, s) for s in cell.seeds if s.status in ("failed", "missing"))
