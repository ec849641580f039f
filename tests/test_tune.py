"""Tuning: what is tried, what is chosen, what is stored; never the test split."""

from __future__ import annotations

import math
from itertools import product
from pathlib import Path

import pytest
from tiny import TinyAdapter, TinyBackbone, TinyTask

from suite import backbones, grid, settings, tune
from suite.errors import UserError


def fill(folder: Path, scores: list[float | None], key: str = "k") -> tune.Entry:
    """The scores of the learning rates from the lowest on, the same at every seed."""
    for (lr, seed), score in zip(product(tune.rates(False), tune.SEEDS), [s for s in scores for _ in tune.SEEDS]):
        entry = tune.add("tiny", "m", "a", lr, seed, score, trains_backbone=False, key=key, folder=folder)
    return entry


def trials(*rates: float) -> list[tuple[float, int]]:
    return list(product(rates, tune.SEEDS))


def test_every_method_gets_the_same_number_of_tries() -> None:
    assert len(set(tune.rates(True))) == len(set(tune.rates(False))) == 4


def test_choice() -> None:
    assert tune.choose({"0.001": {"1": 50.0}, "0.01": {"1": 70.0}, "0.1": {"1": None}}) == 0.01
    assert tune.choose({"0.01": {"1": 70.0}, "0.001": {"1": 70.0}}) == 0.001, "the lower one on a tie"
    assert tune.choose({"0.01": {"1": 80.0, "2": 80.0}, "0.1": {"1": 96.0, "2": 56.0}}) == 0.01, "the mean decides"
    assert tune.choose({"0.01": {"1": 50.0, "2": 50.0}, "0.1": {"1": 96.0, "2": None}}) == 0.01, "a seed that diverged counts"
    assert tune.choose({"0.01": {"1": None, "2": None}, "0.1": {"1": 96.0, "2": None}}) == 0.1
    assert tune.choose({"0.1": {"1": None}}) is None


def test_only_a_complete_entry_gives_a_learning_rate(tmp_path: Path) -> None:
    assert fill(tmp_path, [60.0, 80.0, 70.0]).lr is None
    assert tune.learning_rate("tiny", "a", "m", folder=tmp_path) == tune.rates(False)[1]
    fill(tmp_path, [60.0, 80.0, 90.0, None])
    assert tune.learning_rate("tiny", "a", "m", folder=tmp_path) == tune.rates(False)[2]
    assert tune.learning_rate("tiny", "b", "m", trains_backbone=True, folder=tmp_path) == tune.rates(True)[1]
    published = {"preset": "paper", "folder": tmp_path}
    assert tune.learning_rate("vilt", "world-vqa", "das", **published) == 1e-4 != tune.learning_rate("vilt", "VQA2.0", "m", **published)
    rates = [tune.learning_rate("bert", "world-vqa-4000", "dvp", trains_backbone=whole, **published) for whole in (True, False)]
    assert rates == [1e-4, 1e-3]
    assert tune.learning_rate("vilt", "a", "m", **published) == tune.LIGHT[1]


def test_resumes_with_what_is_missing(tmp_path: Path) -> None:
    def left(task: str, trains: bool = False) -> list[tuple[float, int]]:
        return tune.missing("tiny", "m", task, trains_backbone=trains, key="k", folder=tmp_path)

    assert (left("a"), left("a", True)) == (trials(*tune.LIGHT), trials(*tune.FULL))
    fill(tmp_path, [60.0, None])
    assert left("a") == trials(*tune.LIGHT[2:]), "a run that diverged is not tried again"
    tune.add("tiny", "m", "a", tune.LIGHT[3], tune.SEEDS[0], 1.0, trains_backbone=False, key="k", folder=tmp_path)
    assert left("a") == [*trials(tune.LIGHT[2]), (tune.LIGHT[3], tune.SEEDS[1])]
    assert left("b") == trials(*tune.LIGHT)


def test_what_was_tried_with_other_code_is_used_until_it_is_tried_again(tmp_path: Path) -> None:
    fill(tmp_path, [60.0, 80.0, 90.0, 70.0], "old")
    assert tune.missing("tiny", "m", "a", trains_backbone=False, key="old", folder=tmp_path) == []
    assert tune.missing("tiny", "m", "a", trains_backbone=False, key="new", folder=tmp_path) == trials(*tune.LIGHT)
    assert tune.learning_rate("tiny", "a", "m", folder=tmp_path) == tune.LIGHT[2]
    tried = {"0.001": dict.fromkeys(map(str, tune.SEEDS), 50.0)}
    assert fill(tmp_path, [50.0], "new") == tune.Entry(lr=tune.LIGHT[2], tried=tried, key="new"), "the old rate stays until all are in"
    assert fill(tmp_path, [50.0, 40.0, 30.0, 20.0], "new").lr == tune.LIGHT[0]
    assert tune.missing("tiny", "m", "a", trains_backbone=False, key="new", folder=tmp_path) == []


def test_a_rate_is_in_doubt_until_it_is_tuned_with_this_code(tmp_path: Path) -> None:
    def doubt(key: str, preset: str = "mini") -> str | None:
        return tune.doubt("tiny", "a", "m", trains_backbone=False, key=key, preset=preset, folder=tmp_path)

    fill(tmp_path, [60.0, 80.0, 90.0], "old")
    assert "never tuned" in str(doubt("old")) and "learning rate" in str(doubt("old", "paper"))
    fill(tmp_path, [60.0, 80.0, 90.0, 70.0], "old")
    assert doubt("old") is None and "other settings" in str(doubt("new"))
    fill(tmp_path, [60.0], "new")
    assert "other settings" in str(doubt("new"))
    for backbone, task in (("vilt", "nlvr2"), ("meter", "vqa2")):
        assert tune.doubt(backbone, task, "m", trains_backbone=False, key="", preset="paper", folder=tmp_path) is None
    untold = tune.doubt("clip", "imagenet", "m", trains_backbone=False, key="", preset="paper", folder=tmp_path)
    assert "did not tell" in str(untold)


def test_a_method_that_always_diverges_is_stored_and_does_not_stop_the_others(tmp_path: Path) -> None:
    assert fill(tmp_path, [None] * 4).lr is None
    assert tune.missing("tiny", "m", "a", trains_backbone=False, key="k", folder=tmp_path) == []
    assert tune.learning_rate("tiny", "a", "m", folder=tmp_path) == tune.LIGHT[1]
    assert "finite" in str(tune.doubt("tiny", "a", "m", trains_backbone=False, key="k", folder=tmp_path))


def test_every_method_on_the_board_has_its_rate_on_every_task() -> None:
    root = Path(tune.__file__).parents[1]
    cells = {job.cell for job in grid.cells(settings.load(root / "params.yaml", seeds=[0])) if not job.refusal}
    found = {backbone: tune.read(backbone, root / tune.FOLDER) for backbone in {cell.backbone for cell in cells}}
    assert len(cells) > 50 and all(found[cell.backbone][cell.method][cell.task].lr for cell in cells)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "tiny.json").write_text('{"m": ')
    with pytest.raises(UserError, match=r"tiny\.json is damaged"):
        tune.read("tiny", tmp_path)


def test_a_run_is_judged_on_validation_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backbones, "load", lambda name: TinyBackbone)
    task = TinyTask()
    assert 0 <= tune.tune_cell(TinyAdapter(), "tiny", task, 1e-2, 100) <= 100
    assert "test" not in task.read
    loss = task.loss
    task.loss = lambda *inputs: loss(*inputs) * math.inf  # type: ignore[method-assign]
    assert tune.tune_cell(TinyAdapter(), "tiny", task, 1e-2, 100) is None
