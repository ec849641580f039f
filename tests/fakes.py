"""Cells that cost nothing: what the pool, the lock and the store do is tested without training."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np

from suite import grid, run
from suite.grid import CellTask, CostTask, Job, Origin
from suite.record import Cell, Cost, Provenance, Record
from suite.settings import Settings
from suite.store import Store

HERE = Origin(commit=None, dirty=None, versions={}, machine="fake")


def job(method: str, seed: int = 0, **changes: Any) -> Job:
    """A cell whose method's name says what happens to it: see `cell`."""
    content: dict[str, Any] = dict(
        cell=Cell(method=method, backbone="b", task="t", seed=seed, profile="mini"), key=f"{method}-{seed}", base=method, preset="mini",
        title=method, metric="accuracy", claims=(), parameters={}, lr=0.1, epochs=None, data_hash="d", weights_hash="w", files=(), size=1,
        searches=False, trains_backbone=False,
    )  # fmt: skip
    return Job(**content | changes)


def noted(name: str) -> list[str]:
    """What the workers wrote down, in its order."""
    path = Path(name)
    return path.read_text().split() if path.exists() else []


def note(name: str, text: str) -> None:
    with open(name, "a") as file:
        file.write(f"{text}\n")


def cell(task: CellTask) -> tuple[Record, dict[str, np.ndarray]]:
    """`raises`, `diverges`, `dies`, `dies_once`, `slow`; every other name gives a result that depends on the seed alone."""
    job = task.job
    note("started", job.key)
    note("pids", str(os.getpid()))
    if job.cell.method == "raises":
        raise ArithmeticError("loss is nan\nat step 3")
    if job.cell.method == "diverges":
        from suite.search import NonFiniteLoss

        raise NonFiniteLoss("loss is nan")
    if job.cell.method == "dies" or (job.cell.method == "dies_once" and noted("started").count(job.key) == 1):
        os.kill(os.getpid(), signal.SIGKILL)
    if job.cell.method == "slow":
        time.sleep(0.3)
    rng = np.random.default_rng(job.cell.seed)
    correct = rng.random(50) < 0.7
    provenance = Provenance(commit=None, dirty=None, versions={}, machine="fake", data_hash="d", weights_hash="w", wall_seconds=0.0,
                            finished="")  # fmt: skip
    record = job.record("ok", metrics={"accuracy": 100 * correct.mean()}, provenance=provenance)
    return record, {"correct": correct, "cluster": np.arange(50).astype(str), "ids": np.arange(50)}


def cost(task: CostTask) -> Cost:
    note("started", f"cost-{task.key}")
    cell = task.job.cell
    return Cost(key=task.key, method=cell.method, backbone=cell.backbone, task=cell.task, profile=cell.profile, trainable=1,
                trainable_all=2, total=3, macs=4, extra_macs=1)  # fmt: skip


def timed(found: tuple[CostTask, Cost]) -> Cost:
    note("started", f"latency-{found[0].key}-{os.getpid()}")
    return found[1]


def tuned(task: tuple[Job, float, int]) -> float | None:
    job, lr, seed = task
    note("started", f"{job.base}-{lr:g}-{seed}")
    if job.base == "diverges":
        return None
    return lr


def install(jobs: list[Job], costs: list[CostTask] = []) -> None:  # noqa: B006
    """Make these the grid, and the functions above the work."""
    grid.cells = lambda settings, files=(): list(jobs)
    grid.cost_tasks = lambda jobs, records, settings: list(costs)
    grid.Origin.here = classmethod(lambda cls, preset: HERE)
    run.CELLS, run.COSTS, run.LATENCIES, run.TUNING = "fakes:cell", "fakes:cost", "fakes:timed", "fakes:tuned"


if __name__ == "__main__":  # a run of its own, for tests that kill it
    install([job("slow", seed) for seed in range(12)])
    run.run(Settings(workers=2), Store(), quiet=True)
