"""One backbone's section of the board, or the part of it that a paper's table shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from suite.board import DIGITS, Claim, Column, Measured, Refusal, Row, Section, SeedResult, Standing, Summary, TaskCosts
from suite.claims import Evidence, judge
from suite.errors import UserError
from suite.findings import Findings
from suite.flags import find_flags
from suite.record import Record
from suite.stats import Noise, against_best, average, difference, holm, interval, pooled

TIED = 0.05


def section(findings: Findings, methods: Sequence[str] | None = None, weights: Mapping[str, int] | None = None) -> Section:
    """The section of these methods and of the tasks in `weights`, which says how often each counts in the average (default: all that
    was planned, once each). Raises UserError where methods were scored on different examples."""
    return _Builder(findings, methods or findings.methods, weights or dict.fromkeys(findings.tasks, 1)).section()


class _Builder:
    def __init__(self, findings: Findings, methods: Sequence[str], weights: Mapping[str, int]):
        self.found, self.weights, self.tasks = findings, weights, list(weights)
        planned = {m: [t for t in self.tasks if (m, t) in findings.seeds] for m in methods}
        self.refused = {m: [findings.refused[m, t] for t in ts] for m, ts in planned.items() if self._refuses(m, ts)}
        self.methods = [m for m, ts in planned.items() if ts and m not in self.refused]
        pairs = [(m, t) for m in self.methods for t in self.tasks]
        self.runs = {pair: findings.runs[pair] for pair in pairs if pair in findings.runs}
        self.costs = {pair: findings.costs[pair] for pair in pairs if pair in findings.costs}
        self.rivals = [m for m in self.methods if m not in findings.controls]

    def _refuses(self, method: str, tasks: Sequence[str]) -> bool:
        return bool(tasks) and all((method, t) in self.found.refused for t in tasks)

    def section(self) -> Section:
        columns = [self._column(task) for task in self.tasks]
        rows = self._rows(columns)
        noise = self._noise(self.tasks)
        records = {k: r for k, r in self.found.records.items() if k[0] in self.methods and k[1] in self.tasks}
        return Section(
            backbone=self.found.backbone, columns=columns, rows=rows, not_applicable=self._not_applicable(),
            floors=self._mean_floors(columns), seed_sd=round(noise.sd, DIGITS), seed_df=noise.df,
            flags=find_flags(rows, columns, self.runs, records), claims=self._claims(columns, records),
        )  # fmt: skip

    def _not_applicable(self) -> list[Refusal]:
        reasons = {m: "; ".join(dict.fromkeys(given)) for m, given in sorted(self.refused.items())}
        return [Refusal(method=m, title=self.found.title(m), reason=reason) for m, reason in reasons.items()]

    def _noise(self, tasks: Sequence[str]) -> Noise:
        """Pooled over the methods; a control's plans differ from seed to seed on purpose, so that it says nothing of the others."""
        return pooled(runs.values for (m, t), runs in sorted(self.runs.items()) if t in tasks and m in self.rivals)

    def _column(self, task: str) -> Column:
        records = [r for (_, t, _), r in sorted(self.found.records.items()) if t == task]
        noise = self._noise([task])
        floors = next((r.floors for r in records if r.floors), {})
        metric = next((r.metric for r in records), "")
        rounded = {name: round(floors[name], DIGITS) for name in sorted(floors)}
        return Column(task=task, metric=metric, floors=rounded, seed_sd=round(noise.sd, DIGITS), seed_df=noise.df)

    def _rows(self, columns: Sequence[Column]) -> list[Row]:
        ps = {c.task: self._test(c) for c in columns}
        averages = self._averages(columns)
        rows = []
        for method in self.methods:
            cells = {t: self._summary(method, t, ps[t].get(method)) for t in self.tasks if (method, t) in self.found.seeds}
            mine = {t: self.costs[method, t] for t in self.tasks if (method, t) in self.costs}
            rows.append(
                Row(
                    method=method, title=self.found.title(method), cells=cells, average=averages[method], task_costs=mine,
                    costs=TaskCosts.mean(list(mine.values())) if mine else None, control=method not in self.rivals,
                )
            )  # fmt: skip
        return sorted(rows, key=lambda r: (r.control, r.average.mean is None, -(r.average.mean or 0.0), r.method))

    def _test(self, column: Column) -> dict[str, float]:
        runs = {m: self.runs[m, column.task] for m in sorted(self.rivals) if (m, column.task) in self.runs}
        try:
            return against_best(runs, Noise(column.seed_sd, column.seed_df))
        except ValueError as error:
            raise UserError(f"{self.found.backbone}/{column.task}: {error}; run it again") from error

    def _seeds(self, method: str, task: str) -> list[SeedResult]:
        seeds = []
        for seed in self.found.seeds[method, task]:
            record = self.found.records.get((method, task, seed))
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
        return summary.model_copy(update={"metrics": _further(self.found.ok(method, task))})

    def _averages(self, columns: Sequence[Column]) -> dict[str, Summary]:
        """Average over all tasks, by seed; a method that lacks a task has none, with the reason: it would be one of other tasks."""
        full = [m for m in self.rivals if all((m, t) in self.runs for t in self.tasks)]
        ps = self._average_ps(full, columns)
        return {m: self._lacking(m) or self._average(m, ps.get(m)) for m in self.methods}

    def _lacking(self, method: str) -> Summary | None:
        absent = [t for t in self.tasks if (method, t) not in self.runs]
        refused = [t for t in absent if (method, t) in self.found.refused]
        missing = [t for t in absent if t not in refused]
        reasons = [f"no average without {', '.join(missing)}"] if missing else []
        reasons += [f"no average: does not apply to {', '.join(refused)}"] if refused else []
        return Summary(status="missing" if missing else "n/a", reason="; ".join(reasons)) if absent else None

    def _average(self, method: str, p: float | None) -> Summary:
        by_seed = {t: {r.cell.seed: r.metrics[r.metric] for r in self.found.ok(method, t)} for t in self.tasks}
        shared = sorted(set.intersection(*(set(values) for values in by_seed.values())))
        means = [self._weighted({t: values[s] for t, values in by_seed.items()}) for s in shared]
        seeds = [SeedResult(seed=s, status="ok", value=round(v, DIGITS)) for s, v in zip(shared, means, strict=True)]
        whole = all(len(shared) == len(self.found.seeds[method, t]) for t in self.tasks)
        reason = None if whole else "over the seeds that every task has"
        return _estimate(means, seeds, p, "ok" if whole else "partial" if means else "missing", reason)

    def _weighted(self, values: Mapping[str, float]) -> float:
        return sum(self.weights[t] * values[t] for t in self.tasks) / sum(self.weights.values())

    def _average_ps(self, full: Sequence[str], columns: Sequence[Column]) -> dict[str, float]:
        if not full:
            return {}
        means = {m: self._weighted({t: self.runs[m, t].mean for t in self.tasks}) for m in sorted(full)}
        best = max(means, key=lambda m: means[m])
        others = [m for m in means if m != best]
        noise, weights = {c.task: Noise(c.seed_sd, c.seed_df) for c in columns}, list(self.weights.values())
        ps = [average([difference(self.runs[best, t], self.runs[m, t], noise[t]) for t in self.tasks], weights).p for m in others]
        return {best: 1.0, **dict(zip(others, holm(ps), strict=True))}

    def _mean_floors(self, columns: Sequence[Column]) -> dict[str, float]:
        names = set.intersection(*(set(c.floors) for c in columns)) if columns else set()
        return {name: round(self._weighted({c.task: c.floors[name] for c in columns}), DIGITS) for name in sorted(names)}

    def _claims(self, columns: list[Column], records: Mapping[tuple[str, str, int], Record]) -> list[Claim]:
        stated = {}
        for (method, _, _), record in sorted(records.items()):
            for claim in record.claims:
                stated.setdefault((method, repr(sorted(claim.items(), key=str))), (method, claim))
        found = Evidence(self.found.runs, self.found.costs, self.found.refused.keys(), self.weights)
        return [judge(claim, method, columns, found) for method, claim in stated.values()]


def _standing(seeds: Sequence[SeedResult]) -> Standing:
    kinds = {s.status for s in seeds}
    if "ok" in kinds:
        return "ok" if kinds == {"ok"} else "partial"
    return next(kind for kind in ("failed", "missing", "n/a") if kind in kinds)


def _estimate(values: Sequence[float], seeds: list[SeedResult], p: float | None, status: Standing, reason: str | None) -> Summary:
    if not values:
        return Summary(status=status, seeds=seeds, reason=reason)
    tied = p is not None and p >= TIED
    at = _measured(values)
    rounded = None if p is None else round(p, DIGITS)
    return Summary(status=status, mean=at.mean, half=at.half, n=len(values), seeds=seeds, p=rounded, tied=tied, reason=reason)


def _measured(values: Sequence[float]) -> Measured:
    mean, half, _ = interval(values)
    return Measured(mean=round(mean, DIGITS), half=None if half is None else round(half, DIGITS))


def _further(records: Sequence[Record]) -> dict[str, Measured]:
    """Every metric but the headline's that all of them have."""
    names = set.intersection(*(set(r.metrics) - {r.metric} for r in records)) if records else set()
    return {name: _measured([r.metrics[name] for r in records]) for name in sorted(names)}
