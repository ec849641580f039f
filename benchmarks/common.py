"""What the benchmark scripts share: runs in worker processes, one table on the screen, one JSON file in benchmarks/results."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from suite.grid import Job

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"
sys.path.insert(0, str(ROOT))


def runs(work: str, items: list[Any], workers: int = os.cpu_count() or 1) -> list[tuple[Any, Any]]:
    """Each item with what the worker processes made of it, as they finish. work: as for `suite.pool.run`. Stops where one failed."""
    from suite import pool

    with tempfile.TemporaryDirectory() as logs:
        outcomes = list(pool.run(work, items, workers, Path(logs)))
    if failed := [outcome.error for outcome in outcomes if outcome.error]:
        raise SystemExit(f"{len(failed)} runs failed, first: {failed[0]}")
    return [(outcome.job, outcome.value) for outcome in outcomes]


def from_scratch(method: str, backbone: str, names: list[str] | str = "all", metric: str | None = None) -> dict[str, list[float]]:
    """`measured` of a method of scratch.py, its learning rate tuned as the board's are."""
    from suite import tune

    jobs = _jobs(method, backbone, names)
    first = {job.cell.task: job for job in jobs}
    tried: dict[str, tune.Tried] = {task: {} for task in first}
    trials = [(job, lr, seed) for job in first.values() for lr in tune.rates(job.trains_backbone) for seed in tune.SEEDS]
    for (job, lr, seed), score in runs("suite.work:tuned", trials):
        tried[job.cell.task].setdefault(f"{lr:g}", {})[str(seed)] = score
    return _measured([dataclasses.replace(job, lr=tune.choose(tried[job.cell.task])) for job in jobs], metric)


def measured(method: str, backbone: str, task: str, metric: str) -> list[float]:
    """A metric by seed on the test split, of the board's cells, run where they are not there. Stops where their learning rate is not
    the tuned one."""
    from suite.store import Store

    jobs = _jobs(method, backbone, [task])
    if doubt := jobs[0].doubt:
        raise SystemExit(f"{method} on {backbone} for {task}: {doubt}")
    there = [record for job in jobs if (record := Store(ROOT / "results").record(job.key)) and record.status == "ok"]
    return [record.metrics[metric] for record in there] if len(there) == len(jobs) else _measured(jobs, metric)[task]


def _jobs(method: str, backbone: str, names: list[str] | str) -> list[Job]:
    from suite import grid
    from suite.settings import load

    settings = load(ROOT / "params.yaml", backbones=[backbone], methods=[method], tasks=names)
    return grid.cells(settings, (str(ROOT / "benchmarks" / "scratch.py"),))


def _measured(jobs: list[Job], metric: str | None) -> dict[str, list[float]]:
    """By task a metric (None: the headline) by seed."""
    from suite import grid

    origin, found = grid.Origin.here("mini"), defaultdict(list)
    for _, (record, _) in runs("suite.work:cell", [grid.CellTask(job, origin) for job in jobs]):
        found[record.cell.task].append(record.metrics[metric or record.metric])
    return dict(found)


def referenced(backbone: str, method: str, task: str) -> list[float]:
    """Test metric by seed in results/reference."""
    from suite.gate import Reference

    reference = Reference.model_validate_json((ROOT / "results" / "reference" / f"mini-{backbone}.json").read_bytes())
    return list(reference.methods[method][task].seeds.values())


def report(name: str, rows: list[dict[str, Any]]) -> None:
    """Print the rows and write them with the machine's name."""
    from suite.cost import machine

    columns = list(rows[0])
    cells = [columns, *([_text(row[column]) for column in columns] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    for line in cells:
        print("  ".join(cell.rjust(width) for cell, width in zip(line, widths)))
    RESULTS.mkdir(exist_ok=True)
    content = {"machine": machine("mini"), "cores": os.cpu_count(), "python": platform.python_version(), "rows": rows}
    (RESULTS / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n")


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
