"""Running the grid: what is lost when something dies (little), what is run again (what changed), and by how many at a time."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import fakes
import pytest

from suite import grid, run, store, tune
from suite.grid import CostTask, Job
from suite.errors import UserError
from suite.record import Record
from suite.settings import Settings
from suite.store import Store

Start = Callable[..., list[Record]]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    """`start(jobs, costs=, workers=)` runs fake cells in an empty folder."""
    monkeypatch.chdir(tmp_path)
    for owner, name in ((grid, "cells"), (grid, "cost_tasks"), (run, "CELLS"), (run, "COSTS"), (run, "TUNING")):
        monkeypatch.setattr(owner, name, getattr(owner, name))  # put back after the test
    monkeypatch.setattr(grid.Origin, "here", grid.Origin.here)

    def go(jobs: list[Job], costs: list[CostTask] | None = None, workers: int = 2) -> list[Record]:
        fakes.install(jobs, costs or [])
        return run.run(Settings(workers=workers), Store(), quiet=True)

    return go


def test_all_cells_are_run_once_and_stored(start: Start) -> None:
    jobs = [fakes.job("a", seed) for seed in range(4)]
    records = start(jobs)
    assert [record.key for record in records] == [job.key for job in jobs], "in the order of the grid"
    assert [Store().record(job.key) for job in jobs] == records
    assert all(Store().examples(record)["correct"].mean() * 100 == record.metrics["accuracy"] for record in records)
    start(jobs)
    assert sorted(fakes.noted("started")) == sorted(job.key for job in jobs), "the second run had nothing to do"


def test_results_do_not_depend_on_the_number_of_workers(start: Start) -> None:
    jobs = [fakes.job("a", seed) for seed in range(5)]
    one = start(jobs, workers=1)
    shutil.rmtree("results")
    assert start(jobs, workers=3) == one
    assert len(set(fakes.noted("pids")[5:])) > 1, "more than one process was at work"


def test_longest_first(start: Start) -> None:
    start([fakes.job("a", seed, size=size) for seed, size in enumerate((1, 5, 3))], workers=1)
    assert fakes.noted("started") == ["a-1", "a-2", "a-0"]


def test_a_failing_cell_is_recorded_and_the_others_run(start: Start) -> None:
    failed, good = start([fakes.job("raises"), fakes.job("a")])
    assert (failed.status, failed.reason) == ("failed", "ArithmeticError: loss is nan at step 3")
    assert good.status == "ok"
    assert "Traceback" in "".join(path.read_text() for path in run.LOGS.iterdir())
    start([fakes.job("raises"), fakes.job("a")])
    assert fakes.noted("started").count("raises-0") == 2, "a failed cell is tried again by the next run"


def test_a_failed_cell_keeps_its_checkpoints_unless_it_diverged(start: Start) -> None:
    jobs = [fakes.job(name) for name in ("raises", "dies", "diverges", "a")]
    for job in jobs:
        (run.CHECKPOINTS / job.key).mkdir(parents=True)
    start(jobs)
    assert sorted(path.name for path in run.CHECKPOINTS.iterdir()) == ["dies-0", "raises-0"]


def test_a_killed_worker_costs_its_cell_one_more_try(start: Start) -> None:
    dead, alive, *others = start([fakes.job("dies"), fakes.job("dies_once"), *(fakes.job("a", seed) for seed in range(3))])
    assert dead.status == "failed" and "SIGKILL" in str(dead.reason)
    assert fakes.noted("started").count("dies-0") == 2
    assert [record.status for record in (alive, *others)] == ["ok"] * 4


def test_what_is_not_applicable_or_missing_is_recorded_with_its_reason(start: Start) -> None:
    records = start([fakes.job("a", 0, refusal=("n/a", "no text")), fakes.job("a", 1, refusal=("missing", "no such data"))])
    assert [(record.status, record.reason) for record in records] == [("n/a", "no text"), ("missing", "no such data")]
    assert Store().record("a-1") == records[1] and fakes.noted("started") == []


def test_costs_come_after_the_cells_and_latencies_last_in_one_process(start: Start) -> None:
    jobs = [fakes.job("slow", seed) for seed in range(3)]
    costs = [CostTask(jobs[0], f"k{number}", None, number < 3, True) for number in range(4)]
    start(jobs, costs)
    found = fakes.noted("started")
    assert {*found[3:7]} == {f"cost-k{number}" for number in range(4)}
    names, processes = zip(*(note.rsplit("-", 1) for note in found[7:]))
    assert {*names} == {f"latency-k{number}" for number in range(3)} and len({*processes}) == 1
    start(jobs, costs)
    assert len(fakes.noted("started")) == len(found), "costs are measured once"


def test_learning_rates_are_tried_once_and_again_where_the_code_changed(start: Start) -> None:
    start([])
    jobs = [fakes.job("a", seed) for seed in range(2)] + [fakes.job("b", trains_backbone=True)]
    tried = {name: [f"{name}-{lr:g}-{seed}" for lr in rates for seed in tune.SEEDS]
             for name, rates in (("a", tune.LIGHT), ("b", tune.FULL), ("new", tune.LIGHT))}
    changes = ((jobs, [*tried["a"], *tried["b"]]), (jobs, []), ([replace(jobs[0], base="new"), jobs[2]], tried["new"]))
    for changed, expected in changes:
        Path("started").unlink(missing_ok=True)
        fakes.install(changed)
        assert run.tune_grid(Settings(workers=1), quiet=True) == []
        assert sorted(fakes.noted("started")) == sorted(expected)
    assert {name: by_task["t"].key for name, by_task in tune.read("b").items()} == {"a": "new", "b": "b"}


def test_a_method_that_diverges_everywhere_is_named_and_the_others_are_tuned(start: Start) -> None:
    start([])
    fakes.install([fakes.job("diverges"), fakes.job("a")])
    failed = run.tune_grid(Settings(workers=1), quiet=True)
    assert len(failed) == 1 and failed[0].startswith("b/t/diverges") and "no learning rate gave a finite loss" in failed[0]
    assert tune.read("b")["a"]["t"].lr == max(tune.LIGHT) and run.tune_grid(Settings(workers=1), quiet=True) == []


def test_a_damaged_record_is_set_aside_and_made_anew(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    jobs = [fakes.job("a", seed) for seed in range(2)]
    before = start(jobs)
    path = Path("results/runs/a-0.json")
    path.write_text(path.read_text().replace("accuracy", "accurasy", 1))
    assert start(jobs) == before
    assert "results/runs/a-0.json is damaged" in capsys.readouterr().err
    assert sorted(file.name for file in run.DAMAGED.iterdir()) == ["a-0.1.json", "a-0.1.npz"]
    assert fakes.noted("started").count("a-0") == 2 and fakes.noted("started").count("a-1") == 1


def test_a_full_disk_ends_the_run_in_one_line_and_keeps_what_was_done(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = [fakes.job("a", seed) for seed in range(3)]
    start(jobs[:1])
    save = Store.save

    def full(self: Store, record: Record, examples: store.Examples | None = None) -> Record:
        monkeypatch.setattr(os, "fsync", lambda handle: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        return save(self, record, examples)

    monkeypatch.setattr(Store, "save", full)
    with pytest.raises(UserError, match="the disk is full: cannot write results/runs/a-"):
        start(jobs)
    assert sorted(path.name for path in Path("results/runs").glob("*")) == ["a-0.json", "a-0.npz"]


def test_an_unwritable_results_folder_is_noticed_before_the_work(start: Start) -> None:
    Path("results").write_text("a file where a folder should be")
    with pytest.raises(UserError, match="cannot write results/runs"):
        start([fakes.job("a")])
    assert fakes.noted("started") == []


def test_a_second_run_is_refused(start: Start) -> None:
    with run.alone(), pytest.raises(UserError, match="another petlbench run is going on"):
        start([fakes.job("a")])
    assert len(start([fakes.job("a")])) == 1


def test_kill_and_resume_loses_at_most_the_cells_in_flight(tmp_path: Path) -> None:
    command = [sys.executable, str(Path(fakes.__file__))]
    first = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL)
    done = tmp_path / "results/runs"
    deadline = time.monotonic() + 240
    while len(list(done.glob("*.json"))) < 4 and time.monotonic() < deadline:
        time.sleep(0.02)
    first.send_signal(signal.SIGKILL)
    first.wait()
    workers = {int(pid) for pid in (tmp_path / "pids").read_text().split()}
    kept = {path.name: path.stat().st_mtime_ns for path in done.glob("*.json")}
    assert 4 <= len(kept) < 12
    while any(_alive(pid) for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(_alive(pid) for pid in workers), "workers end with their parent"
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    assert len(list(done.glob("*.json"))) == 12
    assert all((done / name).stat().st_mtime_ns == written for name, written in kept.items())
    assert len((tmp_path / "started").read_text().split()) <= 12 + 2


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
