"""Did a change break a number? Compares a fresh run with the committed reference, and says so with an exit code."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from math import sqrt
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import FiniteFloat, ValidationError
from scipy import stats

from suite.board import COUNTS
from suite.errors import UserError
from suite.record import Cell, Cost, Latency, Record, Strict
from suite.stats import Noise, pooled
from suite.store import write_atomic

FALSE_ALARM = 0.01
"""Unchanged code, run with other seeds, fails at most this often over a whole board."""

SLOWER = 1.25


AGAIN = "run again, then `petlbench accept`"


class TaskReference(Strict):
    """A method on a task. seeds: headline metric in percent by seed; examples: hash of the per-example file by seed; counts: the
    values of each of `COUNTS` over the plans that the seeds found, in order and without repetition. searched: is there a plan?"""

    metric: str
    seeds: dict[str, FiniteFloat] = {}
    examples: dict[str, str | None] = {}
    not_applicable: str | None = None
    counts: dict[str, list[int]] = {}
    searched: bool = False
    latency: Latency | None = None


class Reference(Strict):
    """What a backbone reached when it was accepted: results/reference/<profile>-<backbone>.json.

    weights: hash of the backbone's weights; data: of each task's data.
    """

    schema_version: int = 1
    profile: str
    backbone: str
    protocol: int
    weights: str | None = None
    data: dict[str, str] = {}
    commit: str | None = None
    machine: str = ""
    versions: dict[str, str] = {}
    methods: dict[str, dict[str, TaskReference]] = {}


class Line(NamedTuple):
    """One finding. Only `fail` decides."""

    level: Literal["fail", "warn", "note", "pass"]
    text: str


class Verdict(NamedTuple):
    """What the gate found; exit_code is 0 where nothing failed and something was measured, else 1."""

    lines: list[Line]

    @property
    def passed(self) -> bool:
        levels = [line.level for line in self.lines]
        return "pass" in levels and "fail" not in levels

    @property
    def exit_code(self) -> int:
        return 0 if self.passed else 1

    def __str__(self) -> str:
        return "\n".join([*(f"{line.level:>4}  {line.text}" for line in self.lines), "gate passed" if self.passed else "gate FAILED"])


def accept(records: Sequence[Record], costs: Sequence[Cost], folder: Path, grid: Sequence[Cell] = ()) -> list[Path]:
    """Write the reference of every backbone in the records; returns the files. Nothing else writes there.

    Raises UserError where there is nothing to accept, a planned cell failed or is missing, or a cost was not measured: a reference
    has no holes.
    """
    holes = [f"{cell}: {reason}" for cell, reason in _holes(records, costs, grid)]
    if holes:
        raise UserError(f"cannot accept: {len(holes)} cells have no result or no cost, first {holes[0]}")
    references = snapshots(records, costs)
    if not references:
        raise UserError("cannot accept: no results")
    paths = []
    for reference in references:
        path = folder / f"{reference.profile}-{reference.backbone}.json"
        write_atomic(path, json.dumps(reference.model_dump(mode="json"), indent=1, sort_keys=True).encode() + b"\n")
        paths.append(path)
    return paths


def check(records: Sequence[Record], costs: Sequence[Cost], folder: Path, grid: Sequence[Cell] = ()) -> Verdict:
    """Compare every backbone of the grid (of the records, where there is no grid) with its reference in `folder`.

    Fails on: a method whose mean over its cells dropped beyond the noise; any change of parameters or MACs; cells that failed, are
    missing or have no cost; seeds of the reference that are gone; a protocol, weights or data that changed; nothing measured.
    Raises UserError where a reference is damaged.
    """
    lines = [Line("fail", f"{cell}: {reason}") for cell, reason in _holes(records, costs, grid)]
    fresh = {(r.profile, r.backbone): r for r in snapshots(records, costs)}
    wanted = sorted({(c.profile, c.backbone) for c in grid} or fresh)
    paths = {pair: folder / f"{pair[0]}-{pair[1]}.json" for pair in wanted}
    old = {pair: load(path) for pair, path in paths.items() if path.exists()}
    tests = sum(len(reference.methods) for reference in old.values())
    for pair, path in paths.items():
        if pair not in old:
            lines.append(Line("fail", f"{path} does not exist: nothing to compare with; `petlbench accept` writes it"))
        elif pair in fresh:
            lines += compare(fresh[pair], old[pair], tests)
    if not any(line.level == "pass" for line in lines):
        lines.append(Line("fail", "nothing was measured"))
    return Verdict(lines)


def load(path: Path) -> Reference:
    """Read a reference. Raises UserError naming the file where it is damaged."""
    try:
        return Reference.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise UserError(f"{path} is damaged: {str(error).splitlines()[0]}") from error


def snapshots(records: Sequence[Record], costs: Sequence[Cost]) -> list[Reference]:
    """The records as references, one for each (profile, backbone), with the costs of the plans that their seeds found."""
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in sorted(records, key=lambda r: str(r.cell)):
        if record.status in ("ok", "n/a"):
            groups.setdefault((record.cell.profile, record.cell.backbone), []).append(record)
    return [_snapshot(group, [c for c in costs if (c.profile, c.backbone) == pair]) for pair, group in sorted(groups.items())]


def _snapshot(records: Sequence[Record], costs: Sequence[Cost]) -> Reference:
    pairs: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        pairs.setdefault((record.cell.method, record.cell.task), []).append(record)
    methods: dict[str, dict[str, TaskReference]] = {}
    for (method, task), group in sorted(pairs.items()):
        mine = [c for c in costs if (c.method, c.task) == (method, task)]
        methods.setdefault(method, {})[task] = _task_reference(group, mine)
    sources = {r.cell.task: r.provenance for r in records if r.provenance}
    source = next(iter(sources.values()), None)
    return Reference(
        profile=records[0].cell.profile, backbone=records[0].cell.backbone, protocol=records[0].protocol, methods=methods,
        weights=source.weights_hash if source else None, data={task: found.data_hash for task, found in sources.items()},
        commit=source.commit if source else None, machine=source.machine if source else "",
        versions=dict(sorted(source.versions.items())) if source else {},
    )  # fmt: skip


def _task_reference(records: Sequence[Record], costs: Sequence[Cost]) -> TaskReference:
    ok = sorted((r for r in records if r.status == "ok"), key=lambda r: r.cell.seed)
    planned = sorted((c for c in costs if any(c.plan == r.plan for r in ok)), key=lambda c: c.key)
    counts = {name: sorted({value for c in planned if (value := getattr(c, name)) is not None}) for name in COUNTS}
    return TaskReference(
        metric=records[0].metric, seeds={str(r.cell.seed): r.metrics[r.metric] for r in ok},
        examples={str(r.cell.seed): r.examples for r in ok}, not_applicable=None if ok else records[0].reason,
        latency=next((c.latency for c in planned if c.latency), None), counts=counts, searched=any(r.plan for r in ok),
    )  # fmt: skip


def _holes(records: Sequence[Record], costs: Sequence[Cost], grid: Sequence[Cell]) -> Iterator[tuple[Cell, str]]:
    """Planned cells without a result or without the cost of their plan, and why; "n/a" is a result."""
    measured: dict[tuple[str, ...], list[Any]] = {}
    for cost in costs:
        measured.setdefault((cost.profile, cost.backbone, cost.task, cost.method), []).append(cost.plan)
    for record in sorted(records, key=lambda r: str(r.cell)):
        cell = record.cell
        if record.status in ("failed", "missing"):
            yield cell, f"{record.status}: {record.reason}"
        elif record.status == "ok" and record.plan not in measured.get((cell.profile, cell.backbone, cell.task, cell.method), ()):
            yield cell, "its cost was not measured"
    seen = {r.cell for r in records}
    yield from ((cell, "missing: not run, or its result is stale") for cell in grid if cell not in seen)


def compare(fresh: Reference, old: Reference, tests: int) -> list[Line]:
    """All findings on one backbone. A method is compared over the tasks that both have. tests: methods on the whole board,
    over which false alarms are kept rare."""
    name = f"{fresh.profile}-{fresh.backbone}"
    if other := [Line("fail", f"{name}: {text}: {AGAIN}") for text in _other_ground(fresh, old)]:
        return other
    lines = [Line("note", f"{name}: {m} is new, not in the reference") for m in sorted(set(fresh.methods) - set(old.methods))]
    for method, tasks in sorted(old.methods.items()):
        for task, reference in sorted(tasks.items()):
            lines += _compare_cells(f"{name}/{method}/{task}", fresh.methods.get(method, {}).get(task), reference, fresh, old)
    shared = {m: t for m in sorted(set(fresh.methods) & set(old.methods)) if (t := _shared(fresh.methods[m], old.methods[m]))}
    if not shared:
        return [*lines, Line("fail", f"{name}: nothing in common with the reference")]
    return [*lines, *_compare_means(name, fresh, old, shared, tests)]


def _other_ground(fresh: Reference, old: Reference) -> Iterator[str]:
    """What makes numbers incomparable."""
    if fresh.protocol != old.protocol:
        yield f"protocol {fresh.protocol}, the reference has {old.protocol}"
    if fresh.weights != old.weights:
        yield f"the weights of {old.backbone} changed"
    for task in sorted(set(fresh.data) & set(old.data)):
        if fresh.data[task] != old.data[task]:
            yield f"the data of {task} changed"


def _shared(fresh: Mapping[str, TaskReference], old: Mapping[str, TaskReference]) -> list[str]:
    return sorted(t for t in set(fresh) & set(old) if fresh[t].seeds and old[t].seeds)


def _compare_cells(name: str, new: TaskReference | None, old: TaskReference, fresh: Reference, reference: Reference) -> Iterator[Line]:
    """What has to be there, and what must not change at all: presence, seeds, parameters, MACs; latency only warns. Another processor,
    which rounds otherwise, may have a search find other plans, whose parameters and MACs are others too: that is noted."""
    if new is None or (old.seeds and not new.seeds):
        why = f"n/a: {new.not_applicable}" if new else "missing"
        yield Line("fail", f"{name}: in the reference, now {why}")
        return
    if not old.seeds:
        if new.seeds:
            yield Line("note", f"{name}: n/a in the reference, now it has results")
        return
    if gone := sorted(set(old.seeds) - set(new.seeds), key=int):
        yield Line("fail", f"{name}: no result of seed {', '.join(gone)}, which the reference has")
    if new.metric != old.metric:
        yield Line("fail", f"{name}: measures {new.metric}, the reference {old.metric}")
    for count in COUNTS:
        before, after = old.counts.get(count, []), new.counts.get(count, [])
        if before != after:
            level = "note" if new.searched and fresh.machine != reference.machine else "fail"
            yield Line(level, f"{name}: {count} changed from {_list(before)} to {_list(after)}")
    if old.latency and new.latency and fresh.machine == reference.machine:
        for size in sorted(set(old.latency.unmerged) & set(new.latency.unmerged), key=int):
            before, after = old.latency.unmerged[size], new.latency.unmerged[size]
            if after.low > SLOWER * before.high:
                yield Line("warn", f"{name}: batch {size} takes {after.median:.3g} ms, before {before.median:.3g} ms")


def _list(values: Sequence[int]) -> str:
    return " and ".join(f"{v:,}" for v in values) or "none"


def _compare_means(name: str, fresh: Reference, old: Reference, shared: Mapping[str, list[str]], tests: int) -> Iterator[Line]:
    """The test of each method's mean, and whether everything is the same to the last bit.

    The standard error comes from the seed deviation pooled over the board, of both runs. Methods differ in theirs, so that a
    method also has to be out by its own; either alone may be fooled. Bonferroni over the methods keeps the board's false alarms.
    """
    same = [_bits(fresh.methods[m][t]) == _bits(old.methods[m][t]) for m, tasks in shared.items() for t in tasks]
    count = sum(len(fresh.methods[m][t].seeds) for m, tasks in shared.items() for t in tasks)
    if all(same):
        yield Line("pass", f"{name}: {count} cells equal the reference bit for bit")
        return
    if fresh.machine == old.machine and fresh.versions == old.versions:
        yield Line("note", f"{name}: same machine and versions, but {same.count(False)} of {len(same)} results differ in bits or seeds")
    board = pooled(_groups(fresh, old, shared))
    if not board.df:
        yield Line("fail", f"{name}: results differ, and one seed each tells nothing about the noise: run more seeds")
        return
    dropped = False
    for method, tasks in shared.items():
        change, p = _change(fresh.methods[method], old.methods[method], tasks, board)
        if p < FALSE_ALARM / tests:
            dropped |= change < 0
            word = "dropped" if change < 0 else "rose"
            yield Line("fail" if change < 0 else "note", f"{name}: {method} {word} by {abs(change):.2f} points (p = {p:.1g})")
    if not dropped:
        yield Line("pass", f"{name}: {count} cells of {len(shared)} methods, no mean dropped beyond the noise (sd {board.sd:.2f})")


def _bits(task: TaskReference) -> tuple[dict[str, float], dict[str, str | None]]:
    return task.seeds, task.examples


def _groups(fresh: Reference, old: Reference, shared: Mapping[str, list[str]]) -> list[list[float]]:
    return [list(run.methods[m][t].seeds.values()) for m, tasks in shared.items() for t in tasks for run in (fresh, old)]


def _change(new: Mapping[str, TaskReference], old: Mapping[str, TaskReference], tasks: Sequence[str], board: Noise) -> tuple[float, float]:
    """Change of the mean over tasks in points, and its one-sided p: the larger one of the board's noise and the method's own."""
    pairs = [(list(new[t].seeds.values()), list(old[t].seeds.values())) for t in tasks]
    change = sum(sum(a) / len(a) - sum(b) / len(b) for a, b in pairs) / len(pairs)
    share = sqrt(sum(1 / len(a) + 1 / len(b) for a, b in pairs)) / len(pairs)
    own = pooled(values for pair in pairs for values in pair)
    ps = [_tail(abs(change), noise.sd * share, noise.df) for noise in (board, own) if noise.df]
    return change, max(ps)


def _tail(size: float, se: float, df: int) -> float:
    return float(stats.t.sf(size / se, df)) if se else float(size == 0)
