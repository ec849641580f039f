"""A pool of worker processes that outlives its workers and dies with its parent. Knows nothing of what is run; imports no torch.

`multiprocessing.Pool` and `ProcessPoolExecutor` break as a whole when a worker is killed; here its job is tried once more, then given up.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from suite.plugins import one_line

TRIES = 2
"""How often a job is given out whose worker died."""

GRACE = 5.0
"""Seconds that an idle worker may take to end."""

SINGLE = {name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")} | {"TOKENIZERS_PARALLELISM": "false"}
"""One process per core: a library's own threads would only get in each other's way."""


@dataclass
class Outcome:
    """What became of a job: its value, or one line about why there is none. killed: its worker died."""

    job: Any
    value: Any = None
    error: str | None = None
    killed: bool = False


class _Worker:
    """One process with its pipe, its job and how often that was tried."""

    def __init__(self, work: str, log: Path):
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(work, theirs, str(log)), daemon=True)
        self.process.start()
        theirs.close()  # so that the worker's death reads as the end of the pipe
        self.job: Any = None
        self.tries = 0

    def give(self, job: Any, tries: int) -> None:
        self.job, self.tries = job, tries + 1
        try:
            self.pipe.send(job)
        except OSError:
            pass  # it died meanwhile; `take` finds out

    def take(self) -> Outcome:
        try:
            return Outcome(self.job, *self.pipe.recv())
        except (EOFError, OSError):
            self.process.join()
            return Outcome(self.job, error=_cause(self.process.exitcode), killed=True)

    def stop(self) -> None:
        """End the process: at once where it is busy or stuck, else in its own time, so that it tidies up."""
        self.pipe.close()
        if not self.tries:
            self.process.join(GRACE)
        self.process.kill()
        self.process.join()


def _cause(code: int | None) -> str:
    if code is not None and code < 0:
        hint = "; out of memory?" if -code == signal.SIGKILL else ""
        return f"the worker process was ended by {signal.Signals(-code).name}{hint}"
    return f"the worker process ended with exit code {code}"


def run(work: str, jobs: Sequence[Any], workers: int, logs: Path) -> Iterator[Outcome]:
    """Yield an outcome for each job as it ends; jobs are given out in their order.

    work: `module:function`, imported in the workers, called with one job; both job and value are picklable.
    logs: folder for what the workers print, `worker-<n>.log`.
    """
    logs.mkdir(parents=True, exist_ok=True)
    todo = deque((job, 0) for job in jobs)
    crew = [_Worker(work, logs / f"worker-{number}.log") for number in range(min(workers, len(jobs)))]
    try:
        while todo or any(worker.tries for worker in crew):
            for worker in crew:
                if todo and not worker.tries:
                    worker.give(*todo.popleft())
            ready = wait([worker.pipe for worker in crew if worker.tries])
            for number, worker in enumerate(crew):
                if worker.pipe not in ready:
                    continue
                outcome, tries, worker.tries = worker.take(), worker.tries, 0
                if outcome.killed:
                    worker.stop()
                    crew[number] = _Worker(work, logs / f"worker-{number}.log")
                    if tries < TRIES:
                        todo.appendleft((outcome.job, tries))
                        continue
                yield outcome
    finally:
        for worker in crew:
            worker.stop()


def _serve(work: str, pipe: Connection, log: str) -> None:
    """A worker's life: import once, then job after job until the parent ends it or is gone."""
    os.environ.update(SINGLE)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    end_with_parent()
    with open(log, "a", encoding="utf-8", buffering=1) as file:
        os.dup2(file.fileno(), sys.stdout.fileno())
        os.dup2(file.fileno(), sys.stderr.fileno())
        function = None
        while True:
            try:
                job = pipe.recv()
            except EOFError:
                return
            try:
                if function is None:
                    module, _, name = work.partition(":")
                    function = getattr(importlib.import_module(module), name)
                answer = (function(job), None)
            except BaseException as error:  # whatever a plug-in raises is that job's outcome
                traceback.print_exc(file=file)
                answer = (None, one_line(error))
            pipe.send(answer)


def end_with_parent() -> None:
    """End this process, a child of multiprocessing, when the one that started it is gone, however that ended."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
