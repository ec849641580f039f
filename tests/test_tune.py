"""Tuning: what is tried, what is chosen, what is stored; never the test split."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from tiny import TinyAdapter, TinyBackbone, TinyTask

from suite import backbones, tune
from suite.record import UserError


def fill(folder: Path, scores: list[float | None], task: str = "a", method: str = "m") -> tune.Entry:
    for lr, score in zip(tune.rates(False), scores):
        entry = tune.add("tiny", method, task, lr, score, trains_backbone=False, folder=folder)
    return entry


def test_every_method_gets_the_same_number_of_tries() -> None:
    assert len(set(tune.rates(True))) == len(set(tune.rates(False))) == 4


def test_choice() -> None:
    assert tune.choose({"0.001": 50.0, "0.01": 70.0, "0.1": None}) == 0.01
    assert tune.choose({"0.01": 70.0, "0.001": 70.0}) == 0.001, "the lower one on a tie"
    with pytest.raises(UserError, match=r"no learning rate of 0\.1"):
        tune.choose({"0.1": None})


def test_only_a_complete_entry_gives_a_learning_rate(tmp_path: Path) -> None:
    assert fill(tmp_path, [60.0, 80.0, 70.0]).lr is None
    assert tune.learning_rate("tiny", "a", "m", folder=tmp_path) == tune.rates(False)[1]
    assert not tune.is_tuned("tiny", "a", "m", folder=tmp_path)
    fill(tmp_path, [60.0, 80.0, 90.0, None])
    assert tune.is_tuned("tiny", "a", "m", folder=tmp_path)
    assert tune.learning_rate("tiny", "a", "m", folder=tmp_path) == tune.rates(False)[2]
    assert tune.learning_rate("tiny", "b", "m", trains_backbone=True, folder=tmp_path) == tune.rates(True)[1]
    assert tune.learning_rate("vilt", "a", "m", preset="paper", folder=tmp_path) == 5e-4


def test_resumes_with_what_is_missing(tmp_path: Path) -> None:
    methods = {"m": False, "full": True}
    assert len(tune.missing("tiny", methods, ["a", "b"], tmp_path)) == 16
    fill(tmp_path, [60.0, None])
    left = tune.missing("tiny", methods, ["a", "b"], tmp_path)
    assert len(left) == 14 and ("m", "a", tune.rates(False)[1]) not in left, "a run that diverged is not tried again"


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "tiny.json").write_text('{"m": ')
    with pytest.raises(UserError, match=r"tiny\.json is damaged"):
        tune.read("tiny", tmp_path)


def test_a_run_is_judged_on_validation_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backbones, "load", lambda name: TinyBackbone)
    task = TinyTask()
    assert 0 <= tune.tune_cell(TinyAdapter(), "tiny", task, 1e-2) <= 100
    assert "test" not in task.read
    loss = task.loss
    task.loss = lambda *inputs: loss(*inputs) * math.inf  # type: ignore[method-assign]
    assert tune.tune_cell(TinyAdapter(), "tiny", task, 1e-2) is None
