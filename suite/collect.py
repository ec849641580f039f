"""From the records and costs of the current grid to one board."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import product

from suite.board import DIGITS, Board, Claim, Column, Row, Section, SeedResult, Standing, Summary, TaskCosts
from suite.claims import judge
from suite.flags import find_flags
from suite.record import Cell, Cost, Record, UserError
from suite.stats import Examples, Noise, Runs, against_best, average, difference, holm, interval, pooled

TIED = 0.05


def collect(
    records: Sequence[Record],
    costs: Sequence[Cost] = (),
    examples: Mapping[str, Examples] | None = None,
    grid: Sequence[Cell] = (),
) -> Board:
    """The board of one profile. examples: by the record's key; grid: what was planned (default: all combinations of what the
    records name), so that a cell without a record is shown as missing. The result does not depend on the order of the records.

    Raises UserError where there is nothing, where profiles are mixed, or where a cell has two records.
    """
    cells = list(grid) or [r.cell for r in records]
    profiles = sorted({c.profile for c in cells} | {r.cell.profile for r in records})
    if not profiles:
        raise UserError("nothing to report: no records and an empty grid")
    if len(profiles) > 1:
        raise UserError(f"a table never mixes profiles: {', '.join(profiles)}")
    found: dict[Cell, Record] = {}
    for record in sorted(records, key=lambda r: (str(r.cell), r.key)):
        if record.cell in found:
            raise UserError(f"two records for {record.cell}: {found[record.cell].key} and {record.key}")
        found[record.cell] = record
    names = list(dict.fromkeys(c.backbone for c in (cells if grid else sorted(cells, key=str))))
    sections = [_Builder(b, profiles[0], cells, found, costs, examples or {}, bool(grid)).section() for b in names]
    return Board(profile=profiles[0], sections=sections, **_origin([found[c] for c in sorted(found, key=str)]))


def _origin(records: Sequence[Record]) -> dict[str, object]:
    """Where the records come from; more than one commit, machine or version shows."""
    sources = [r.provenance for r in records if r.provenance]
    versions: defaultdict[str, set[str]] = defaultdict(set)
    for source in sources:
        for name, version in source.versions.items():
            versions[name].add(version)
    return {
        "protocols": sorted({r.protocol for r in records}),
        "commits": sorted({s.commit for s in sources if s.commit}),
        "dirty": any(s.dirty for s in sources),
        "machines": sorted({s.machine for s in sources}),
        "versions": {name: sorted(versions[name]) for name in sorted(versions)},
        "finished": max((s.finished for s in sources), default=None),
    }


class _Builder:
    """One backbone's section."""

    def __init__(
        self,
        backbone: str,
        profile: str,
        cells: Iterable[Cell],
        found: Mapping[Cell, Record],
        costs: Sequence[Cost],
        examples: Mapping[str, Examples],
        planned: bool,
    ):
        mine = [c for c in cells if c.backbone == backbone]
        order = mine if planned else sorted(mine, key=str)
        self.backbone, self.profile, self.examples = backbone, profile, examples
        self.methods = list(dict.fromkeys(c.method for c in order))
        self.tasks = list(dict.fromkeys(c.task for c in order))
        everything = product(self.methods, self.tasks, sorted({c.seed for c in mine}))
        wanted = mine if planned else [Cell(method=m, backbone=backbone, task=t, seed=s, profile=profile) for m, t, s in everything]
        self.seeds: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
        for cell in sorted(wanted, key=lambda c: c.seed):
            self.seeds[cell.method, cell.task].append(cell.seed)
        self.records = {(c.method, c.task, c.seed): r for c, r in found.items() if c.backbone == backbone}
        self.costs = [c for c in sorted(costs, key=lambda c: c.key) if c.backbone == backbone and c.profile == profile]
        self.runs = {pair: runs for pair in self.seeds if (runs := self._runs(*pair))}
        self.task_costs = {pair: c for pair in product(self.methods, self.tasks) if (c := self._task_costs(*pair))}

    def section(self) -> Section:
        columns = [self._column(task) for task in self.tasks]
        rows = self._rows(columns)
        noise = pooled(self.runs[pair].values for pair in sorted(self.runs))
        return Section(
            backbone=self.backbone, columns=columns, rows=rows, floors=_mean_floors(columns), seed_sd=round(noise.sd, DIGITS),
            seed_df=noise.df, flags=find_flags(rows, columns, self.runs, self.records), claims=self._claims(columns),
        )  # fmt: skip

    def _ok(self, method: str, task: str) -> list[Record]:
        found = (self.records.get((method, task, seed)) for seed in self.seeds.get((method, task), ()))
        return [r for r in found if r is not None and r.status == "ok"]

    def _runs(self, method: str, task: str) -> Runs | None:
        records = self._ok(method, task)
        if not records:
            return None
        files = [self.examples[r.key] for r in records if r.key in self.examples]
        try:
            return Runs.of([r.metrics[r.metric] for r in records], files)
        except ValueError as error:
            raise UserError(f"{self.backbone}/{task}/{method}: {error}; run it again") from error

    def _column(self, task: str) -> Column:
        records = [r for (_, t, _), r in sorted(self.records.items()) if t == task]
        noise = pooled(runs.values for (_, t), runs in sorted(self.runs.items()) if t == task)
        floors = next((r.floors for r in records if r.floors), {})
        metric = next((r.metric for r in records), "")
        rounded = {name: round(floors[name], DIGITS) for name in sorted(floors)}
        return Column(task=task, metric=metric, floors=rounded, seed_sd=round(noise.sd, DIGITS), seed_df=noise.df)

    def _rows(self, columns: Sequence[Column]) -> list[Row]:
        ps = {c.task: self._test(c) for c in columns}
        averages = self._averages(columns)
        rows = []
        for method in self.methods:
            records = [r for (m, _, _), r in sorted(self.records.items()) if m == method]
            cells = {t: self._summary(method, t, ps[t].get(method)) for t in self.tasks if (method, t) in self.seeds}
            mine = {t: self.task_costs[method, t] for t in self.tasks if (method, t) in self.task_costs}
            rows.append(
                Row(
                    method=method, title=next((r.title for r in records), method), cells=cells, average=averages[method],
                    costs=TaskCosts.mean(list(mine.values())) if mine else None, task_costs=mine,
                )
            )  # fmt: skip
        return sorted(rows, key=lambda r: (r.average.mean is None, -(r.average.mean or 0.0), r.method))

    def _test(self, column: Column) -> dict[str, float]:
        runs = {m: self.runs[m, column.task] for m in sorted(self.methods) if (m, column.task) in self.runs}
        try:
            return against_best(runs, Noise(column.seed_sd, column.seed_df))
        except ValueError as error:
            raise UserError(f"{self.backbone}/{column.task}: {error}; run it again") from error

    def _seeds(self, method: str, task: str) -> list[SeedResult]:
        seeds = []
        for seed in self.seeds.get((method, task), ()):
            record = self.records.get((method, task, seed))
            if record is None:
                seeds.append(SeedResult(seed=seed, status="missing", reason="not run yet"))
            elif record.status == "ok":
                seeds.append(SeedResult(seed=seed, status="ok", value=round(record.metrics[record.metric], DIGITS)))
            else:
                seeds.append(SeedResult(seed=seed, status=record.status, reason=record.reason))
        return seeds

    def _summary(self, method: str, task: str, p: float | None) -> Summary:
        seeds = self._seeds(method, task)
        reason = next((s.reason for s in seeds if s.reason), None)
        summary = _estimate([s.value for s in seeds if s.value is not None], seeds, p, _standing(seeds), reason)
        return summary.model_copy(update={"metrics": _mean_metrics(self._ok(method, task))})

    def _averages(self, columns: Sequence[Column]) -> dict[str, Summary]:
        """Average over all tasks, by seed; a method that lacks a task has none, with the reason."""
        full = [m for m in self.methods if all((m, t) in self.runs for t in self.tasks)]
        ps = self._average_ps(full, columns)
        summaries = {}
        for method in self.methods:
            absent = [t for t in self.tasks if (method, t) not in self.runs]
            if absent:
                only = all(s.status == "n/a" for t in absent for s in self._seeds(method, t))
                summaries[method] = Summary(status="n/a" if only else "missing", reason=f"no average without {', '.join(absent)}")
                continue
            by_seed = [{r.cell.seed: r.metrics[r.metric] for r in self._ok(method, t)} for t in self.tasks]
            shared = sorted(set.intersection(*(set(values) for values in by_seed)))
            means = [sum(values[s] for values in by_seed) / len(by_seed) for s in shared]
            seeds = [SeedResult(seed=s, status="ok", value=round(v, DIGITS)) for s, v in zip(shared, means, strict=True)]
            whole = all(len(shared) == len(self.seeds[method, t]) for t in self.tasks)
            reason = None if whole else "over the seeds that every task has"
            summaries[method] = _estimate(means, seeds, ps.get(method), "ok" if whole else "partial" if means else "missing", reason)
        return summaries

    def _average_ps(self, full: Sequence[str], columns: Sequence[Column]) -> dict[str, float]:
        if not full:
            return {}
        means = {m: sum(self.runs[m, t].mean for t in self.tasks) / len(self.tasks) for m in sorted(full)}
        best = max(means, key=lambda m: means[m])
        others = [m for m in means if m != best]
        noise = {c.task: Noise(c.seed_sd, c.seed_df) for c in columns}
        ps = [average([difference(self.runs[best, t], self.runs[m, t], noise[t]) for t in self.tasks]).p for m in others]
        return {best: 1.0, **dict(zip(others, holm(ps), strict=True))}

    def _task_costs(self, method: str, task: str) -> TaskCosts | None:
        """Mean over the seeds' plans; over all that were measured where no record tells its plan."""
        mine = [c for c in self.costs if (c.method, c.task) == (method, task)]
        planned = [c for r in self._ok(method, task) for c in mine if c.plan == r.plan]
        return TaskCosts.mean([TaskCosts.of(c) for c in planned or mine]) if mine else None

    def _claims(self, columns: list[Column]) -> list[Claim]:
        stated = {}
        for (method, _, _), record in sorted(self.records.items()):
            for claim in record.claims:
                stated.setdefault((method, repr(sorted(claim.items(), key=str))), (method, claim))
        return [judge(claim, method, columns, self.runs, self.task_costs) for method, claim in stated.values()]


def _standing(seeds: Sequence[SeedResult]) -> Standing:
    kinds = {s.status for s in seeds}
    if "ok" in kinds:
        return "ok" if kinds == {"ok"} else "partial"
    return next(kind for kind in ("failed", "missing", "n/a") if kind in kinds)


def _estimate(values: Sequence[float], seeds: list[SeedResult], p: float | None, status: Standing, reason: str | None) -> Summary:
    if not values:
        return Summary(status=status, seeds=seeds, reason=reason)
    mean, half, n = interval(values)
    tied = p is not None and p >= TIED
    rounded = {"half": None if half is None else round(half, DIGITS), "p": None if p is None else round(p, DIGITS)}
    return Summary(status=status, mean=round(mean, DIGITS), n=n, seeds=seeds, tied=tied, reason=reason, **rounded)


def _mean_metrics(records: Sequence[Record]) -> dict[str, float]:
    """Every metric but the headline's that all of them have, averaged over them."""
    names = set.intersection(*(set(r.metrics) - {r.metric} for r in records)) if records else set()
    return {name: round(sum(r.metrics[name] for r in records) / len(records), DIGITS) for name in sorted(names)}


def _mean_floors(columns: Sequence[Column]) -> dict[str, float]:
    names = set.intersection(*(set(c.floors) for c in columns)) if columns else set()
    return {name: round(sum(c.floors[name] for c in columns) / len(columns), DIGITS) for name in sorted(names)}
