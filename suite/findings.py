"""What was planned and found on one backbone, by method and task: what its tables are computed from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from suite.board import TaskCosts
from suite.errors import UserError
from suite.record import Cell, Cost, Record
from suite.stats import Examples, Runs

Pair = tuple[str, str]
"""(method, task)"""


class Findings:
    """methods, tasks: in the order of the plan. seeds: planned, by pair. records: by (method, task, seed). runs: of the pairs with a
    result. costs: of each pair that was measured, averaged over the plans its seeds found. refused: the reasons of the pairs that
    are "n/a". controls: methods that a claim names as the control of a search.

    Raises UserError where a pair's seeds were scored on different examples.
    """

    def __init__(self, backbone: str, cells: Iterable[Cell], found: Mapping[Cell, Record], costs: Iterable[Cost],
                 examples: Mapping[str, Examples]):  # fmt: skip
        mine = [c for c in cells if c.backbone == backbone]
        self.backbone = backbone
        self.methods, self.tasks = (list(dict.fromkeys(names)) for names in ([c.method for c in mine], [c.task for c in mine]))
        self.seeds: defaultdict[Pair, list[int]] = defaultdict(list)
        for cell in sorted(mine, key=lambda c: c.seed):
            self.seeds[cell.method, cell.task].append(cell.seed)
        self.records = {(c.method, c.task, c.seed): r for c, r in found.items() if c.backbone == backbone}
        self.runs = {pair: runs for pair in self.seeds if (runs := self._runs(pair, examples))}
        self.costs = self._costs([c for c in sorted(costs, key=lambda c: c.key) if c.backbone == backbone])
        self.refused = {pair: str(reasons[0].reason) for pair in self.seeds if (reasons := self._refusals(pair))}
        self._titles = {r.cell.method: r.title for _, r in sorted(self.records.items(), reverse=True)}
        self.controls = {str(c.get("than")) for r in self.records.values() for c in r.claims if c.get("control") is True}

    def ok(self, method: str, task: str) -> list[Record]:
        """The records with a result, by seed."""
        found = (self.records.get((method, task, seed)) for seed in self.seeds.get((method, task), ()))
        return [r for r in found if r is not None and r.status == "ok"]

    def title(self, method: str) -> str:
        """The method's title, its name where there is no record of it."""
        return self._titles.get(method, method)

    def _runs(self, pair: Pair, examples: Mapping[str, Examples]) -> Runs | None:
        records = self.ok(*pair)
        if not records:
            return None
        files = [examples[r.key] for r in records if r.key in examples]
        try:
            return Runs.of([r.metrics[r.metric] for r in records], files)
        except ValueError as error:
            raise UserError(f"{self.backbone}/{pair[1]}/{pair[0]}: {error}; run it again") from error

    def _costs(self, costs: Sequence[Cost]) -> dict[Pair, TaskCosts]:
        """Mean over the seeds' plans; over all that were measured where no record tells its plan."""
        measured: defaultdict[Pair, list[Cost]] = defaultdict(list)
        for cost in costs:
            measured[cost.method, cost.task].append(cost)
        means = {}
        for pair, mine in measured.items():
            planned = [c for r in self.ok(*pair) for c in mine if c.plan == r.plan]
            means[pair] = TaskCosts.mean([TaskCosts.of(c) for c in planned or mine])
        return means

    def _refusals(self, pair: Pair) -> list[Record]:
        """The records of a pair of which all planned seeds are "n/a"; else none."""
        records = [r for seed in self.seeds[pair] if (r := self.records.get((*pair, seed)))]
        return records if len(records) == len(self.seeds[pair]) and all(r.status == "n/a" for r in records) else []
