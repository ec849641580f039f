"""Runs what is missing of the grid: cells and costs on all cores, then latencies one after another while nothing else runs.

Or, of a launcher's processes, one cell after the other in all of them together; the first one alone writes.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from filelock import FileLock, Timeout

from suite import grid, pool, tune
from suite.grid import CellTask, Job
from suite.plugins import one_line
from suite.progress import Reporter, say
from suite.errors import UserError
from suite.record import Cost, Record
from suite.settings import Settings
from suite.store import Examples, Store

CACHE = Path(".cache")
LOGS, CHECKPOINTS, LOCK = CACHE / "logs", CACHE / "cells", CACHE / "run.lock"
DAMAGED = CACHE / "damaged"
"""Outside the results, which the pipeline keeps."""
CELLS, COSTS, LATENCIES, TUNING = "suite.work:cell", "suite.work:cost", "suite.work:timed", "suite.work:tuned"
LONG = {"paper"}
"""Profiles whose cells are long enough to be resumed in the middle."""

if TYPE_CHECKING:
    from suite.together import Launcher

Stored = TypeVar("Stored", Record, Cost)


@contextmanager
def alone() -> Iterator[None]:
    """Hold the lock of this folder; raises UserError where another run has it."""
    lock = FileLock(LOCK)
    try:
        CACHE.mkdir(exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout as error:
        raise UserError("another petlbench run is going on in this folder; wait for it or end it") from error
    except OSError as error:
        raise UserError(f"cannot write {LOCK}: {error.strerror}") from error
    try:
        yield
    finally:
        lock.release()


def run(settings: Settings, store: Store, *, quiet: bool = False, files: tuple[str, ...] = ()) -> list[Record]:
    """Run the cells and costs that are missing; returns a record for each cell of the grid, in its order.

    Cells that failed or lacked something before are tried again. A cell that fails is recorded and the run goes on. Raises UserError
    where the run cannot start, or cannot write.
    """
    with alone():
        store.check_writable()
        store.sweep()
        jobs = grid.cells(settings, files)
        records = {job.key: record for job in jobs if (record := _kept(job, store))}
        _run_cells([job for job in jobs if job.key not in records], records, settings, store, quiet)
        _run_costs(grid.cost_tasks(jobs, records, settings), settings, store, quiet)
    return [records[job.key] for job in jobs]


def run_together(settings: Settings, store: Store, launcher: Launcher) -> list[Record] | None:
    """As `run`, in one of the processes that a launcher started; the records in the first of them, None in the others.

    A cell that all of them see fail, as one whose loss is not finite, is recorded; another error in one of them ends all, as launchers
    have it, and what is finished is kept. Raises UserError as `run`, and where the launcher started other than `gpus` processes.
    """
    from suite import together

    together.join(launcher)
    if together.count() != settings.gpus:
        raise UserError(f"the launcher started {together.count()} processes, params.yaml says gpus: {settings.gpus}")
    with alone() if together.first() else nullcontext():
        jobs, records = grid.cells(settings), {}
        if together.first():
            store.check_writable()
            store.sweep()
            records = {job.key: record for job in jobs if (record := _kept(job, store))}
        done = together.told(list(records))
        origin = grid.Origin.here(settings.preset)
        records |= {job.key: _in_turn(CellTask(job, origin, CHECKPOINTS / job.key), store) for job in jobs if job.key not in done}
    return [records[job.key] for job in jobs] if together.first() else None


def _in_turn(task: CellTask, store: Store) -> Record:
    from suite import together, work

    try:
        record, arrays = work.cell(task)
    except (ArithmeticError, UserError) as error:  # NonFiniteLoss and what does not fit: all of them raise it
        record, arrays = task.job.record("failed", reason=one_line(error)), None
    if together.first():
        record = _finished(record, arrays, store)
        say(f"{task.job.cell} {_result(record)}")
    together.wait()
    return record


def _workers(settings: Settings) -> int:
    """How many processes; one where they would share a GPU, unless params.yaml says a number."""
    from suite.assemble import device_for

    return 1 if settings.workers == "auto" and device_for(settings.preset) == "cuda" else settings.processes()


def _kept(job: Job, store: Store) -> Record | None:
    """What need not be run: a good record, or the reason why there is nothing to run."""
    if job.refusal is None:
        record = intact(store, job.key, store.record)
        return record if record and record.status == "ok" else None
    status, reason = job.refusal
    return store.save(job.record(status, reason=reason))


def intact(store: Store, key: str, read: Callable[[str], Stored | None]) -> Stored | None:
    """What is stored under a key; a damaged file is moved to `DAMAGED`, with a warning, and counts as missing."""
    try:
        return read(key)
    except UserError as error:
        say(f"warning: {error}; moved to {DAMAGED}, made anew")
        store.set_aside(key, DAMAGED)
        return None


def _run_cells(jobs: Sequence[Job], records: dict[str, Record], settings: Settings, store: Store, quiet: bool) -> None:
    """Add the records of these cells to `records`, each stored as soon as it is there. Raises UserError where they want a launcher."""
    if jobs and settings.gpus > 1:
        command = f"torchrun --nproc-per-node {settings.gpus} -m suite.cli run --launcher pytorch"
        raise UserError(f"gpus: {settings.gpus} wants a launcher: {command}")
    origin = grid.Origin.here(settings.preset)
    tasks = [CellTask(job, origin, CHECKPOINTS / job.key if settings.profile in LONG else None) for job in jobs]
    tasks.sort(key=lambda task: -task.job.size)  # longest first, so that no core idles at the end
    with Reporter("cells", [task.job.size for task in tasks], quiet) as reporter:
        for outcome in pool.run(CELLS, tasks, _workers(settings), LOGS):
            job: Job = outcome.job.job
            record, arrays = outcome.value or (job.record("failed", reason=outcome.error), None)
            records[job.key] = _finished(record, arrays, store)
            reporter.step(job.size, f"{job.cell} {_result(record)}")


def _finished(record: Record, arrays: Examples | None, store: Store) -> Record:
    """Stored, without its checkpoints; what failed, but by its loss, goes on from these."""
    record = store.save(record, arrays)
    if record.status == "ok" or (record.reason or "").startswith("NonFiniteLoss"):
        shutil.rmtree(CHECKPOINTS / record.key, ignore_errors=True)
    return record


def _result(record: Record) -> str:
    if record.status != "ok" or record.provenance is None:
        return f"{record.status}: {record.reason}"
    return f"{record.metrics[record.metric]:.1f} % in {record.provenance.wall_seconds:.0f} s"


def _run_costs(tasks: Sequence[grid.CostTask], settings: Settings, store: Store, quiet: bool) -> None:
    """Measure the costs that are not stored; they are, once their latency is there."""
    missing = [task for task in tasks if intact(store, task.key, store.cost) is None]
    counted: list[tuple[grid.CostTask, Cost]] = []
    with Reporter("costs", [1.0] * len(missing), quiet) as reporter:
        for outcome in pool.run(COSTS, missing, _workers(settings), LOGS):
            task: grid.CostTask = outcome.job
            if outcome.value and task.latency:
                counted.append((task, outcome.value))
            elif outcome.value:
                store.save_cost(outcome.value)
            reporter.step(1.0, f"{task.job.cell} {outcome.error or 'counted'}")
    with Reporter("latencies", [1.0] * len(counted), quiet) as reporter:
        for outcome in pool.run(LATENCIES, counted, 1, LOGS):
            if outcome.value:
                store.save_cost(outcome.value)
            reporter.step(1.0, f"{outcome.job[0].job.cell} {outcome.error or 'measured'}")


def tune_grid(settings: Settings, *, quiet: bool = False, files: tuple[str, ...] = ()) -> list[str]:
    """Try the learning rates that were not tried yet, or with other weights, data or code; returns a line for each that failed.

    On validation only. Every result is stored at once in results/tuning. Raises UserError like `run`.
    """
    with alone():
        jobs = {job.base: job for job in grid.cells(settings, files) if job.refusal is None}  # one for all seeds
        tasks = [(job, *trial) for job in jobs.values() for trial in tune.missing(**_place(job))]
        tasks.sort(key=lambda task: -task[0].size)
        failed = []
        with Reporter("learning rates", [job.size for job, *_ in tasks], quiet) as reporter:
            for outcome in pool.run(TUNING, tasks, _workers(settings), LOGS):
                job, lr, seed = outcome.job
                name = f"{job.cell.backbone}/{job.cell.task}/{job.cell.method} at {lr:g}, seed {seed}"
                if outcome.error:
                    failed.append(f"{name}: {outcome.error}")
                else:
                    entry = tune.add(lr=lr, seed=seed, score=outcome.value, **_place(job))
                    if entry.lr is None and not tune.missing(**_place(job)):
                        failed.append(f"{name}: no learning rate gave a finite loss")
                reporter.step(job.size, f"{name}: {outcome.error or outcome.value}")
    return failed


def _place(job: Job) -> dict[str, Any]:
    """Where the results of a job's learning rates are stored."""
    cell = job.cell
    return {"backbone": cell.backbone, "method": cell.method, "task": cell.task, "trains_backbone": job.trains_backbone, "key": job.base}
