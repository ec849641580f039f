"""Tuning: what is tried, what is chosen, what is stored; never the test split."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from tiny import TinyAdapter, TinyBackbone, TinyTask

from suite import backbones, tune
from suite.record import UserError


def fill(folder: Path, scores: list[float | None], key: str = "k") -> tune.Entry:
    for lr, score in zip(tune.rates(False), scores):
        entry = tune.add("tiny", "m", "a", lr, score, trains_backbone=False, key=key, folder=folder)
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
    fill(tmp_path, [60.0, 80.0, 90.0, None])
    assert tune.learning_rate("tiny", "a", "m", folder=tmp_path) == tune.rates(False)[2]
    assert tune.learning_rate("tiny", "b", "m", trains_backbone=True, folder=tmp_path) == tune.rates(True)[1]
    assert tune.learning_rate("vilt", "a", "m", preset="paper", folder=tmp_path) == 5e-4


def test_resumes_with_what_is_missing(tmp_path: Path) -> None:
    def left(task: str, trains: bool = False) -> list[float]:
        return tune.missing("tiny", "m", task, trains_backbone=trains, key="k", folder=tmp_path)

    assert (left("a"), left("a", True)) == (list(tune.LIGHT), list(tune.FULL))
    fill(tmp_path, [60.0, None])
    assert left("a") == list(tune.LIGHT[2:]), "a run that diverged is not tried again"
    assert left("b") == list(tune.LIGHT)


def test_what_was_tried_with_other_code_is_used_until_it_is_tried_again(tmp_path: Path) -> None:
    fill(tmp_path, [60.0, 80.0, 90.0, 70.0], "old")
    assert tune.missing("tiny", "m", "a", trains_backbone=False, key="old", folder=tmp_path) == []
    assert tune.missing("tiny", "m", "a", trains_backbone=False, key="new", folder=tmp_path) == list(tune.LIGHT)
    assert tune.learning_rate("tiny", "a", "m", folder=tmp_path) == tune.LIGHT[2]
    assert fill(tmp_path, [50.0], "new") == tune.Entry(tried={"0.001": 50.0}, key="new")
    assert fill(tmp_path, [50.0, 40.0, 30.0, 20.0], "new").lr == tune.LIGHT[0]
    assert tune.missing("tiny", "m", "a", trains_backbone=False, key="new", folder=tmp_path) == []


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
