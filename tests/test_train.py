"""Training: exact resume, determinism, optimiser, schedule, what is read when."""

from __future__ import annotations

import math
import os
import signal
from dataclasses import dataclass
from pathlib import Path

import fakes
import numpy as np
import pytest
import torch
from tiny import TinyAdapter, TinyBackbone, TinySearch, TinyTask, brightest

from suite import backbones, tasks, work
from suite.assemble import assemble, derive, parameter_groups
from suite.core import Backbone, Batch, Plan
from suite.grid import CellTask
from suite.recipe import Recipe
from suite.search import NonFiniteLoss, SearchTrial, search
from suite.train import CHECKPOINT, Outcome, evaluate_on, fit, run_cell
from suite.updates import factor


@pytest.fixture(autouse=True)
def tiny_backbone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`tiny` is a backbone, one thread, and a working directory that must stay empty."""
    monkeypatch.setattr(backbones, "load", lambda name: TinyBackbone)
    monkeypatch.chdir(tmp_path)
    torch.set_num_threads(1)


def cell(task: TinyTask, method: TinyAdapter | None = None, seed: int = 3, **options: object) -> Outcome:
    return run_cell(method or TinyAdapter(), "tiny", task, seed, preset="mini", lr=1e-2, **options)


def trained(task: TinyTask, recipe: Recipe, work_dir: Path | None = None, lr: float = 1e-2) -> dict[str, torch.Tensor]:
    model = assemble(TinyAdapter(), "tiny", task, 3, preset="mini", plan=None)
    fit(model, recipe, 3, lr, work_dir=work_dir)
    return model.state_dict()


@pytest.mark.parametrize("recipe", [Recipe(4, 8), Recipe(4, 8, keep="best", clip=0.5, head_multiplier=10.0)], ids=["last", "best"])
def test_killed_and_resumed_equals_uninterrupted(recipe: Recipe, tmp_path: Path) -> None:
    whole = trained(TinyTask(), recipe)
    child = os.fork()
    if child == 0:
        trained(TinyTask(stop_at=(2, 3), stop=lambda: os.kill(os.getpid(), signal.SIGKILL)), recipe, tmp_path / "cell")
        os._exit(0)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    task = TinyTask()
    resumed = trained(task, recipe, tmp_path / "cell")
    assert task.read.count("train") == 2, "the first two epochs came from the checkpoint"
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_resumed_outcome_is_the_same(tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    def stop() -> None:
        raise Stop

    with pytest.raises(Stop):
        cell(TinyTask(stop_at=(3, 1), stop=stop), work_dir=tmp_path / "cell")
    assert cell(TinyTask(), work_dir=tmp_path / "cell") == cell(TinyTask())
    assert cell(TinyTask(), work_dir=tmp_path / "cell") == cell(TinyTask()), "a finished training is not run again"
    assert [file.name for file in (tmp_path / "cell").iterdir()] == [CHECKPOINT]


def test_same_seed_same_bits_other_seed_other() -> None:
    assert cell(TinyTask()) == cell(TinyTask())
    assert cell(TinyTask()).curve != cell(TinyTask(), seed=4).curve


def test_methods_draws_do_not_shift_the_head() -> None:
    heads = [assemble(TinyAdapter(rank=rank), "tiny", TinyTask(), 3, preset="mini", plan=None).head.weight for rank in (2, 7)]
    assert torch.equal(*heads)
    assert derive("head", 3) != derive("method", 3) != derive("method", 4)


def test_nothing_printed_or_left_behind(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    cell(TinyTask())
    assert capfd.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []


def test_only_what_the_method_trains_is_trained() -> None:
    model = assemble(TinyAdapter(), "tiny", TinyTask(), 3, preset="mini", plan=None)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    fit(model, Recipe(2, 8), 3, 1e-2)
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == set(model.trained())
    assert {name.split(".")[0] + "." + name.split(".")[1] for name in changed} == {
        "backbone.attached", "backbone.model", "head.weight", "head.bias"}
    assert not any("body" in name or "norm" in name for name in changed)


@pytest.mark.parametrize("searching", [False, True])
def test_gradients_are_clipped(searching: bool) -> None:
    """Below Adam's epsilon a clipped gradient moves nothing."""
    moved = []
    for clip in (1.0, 1e-14):
        task = TinyTask(recipe=Recipe(1, 8, clip=clip, weight_decay=0.0, warmup=0.0))
        model = assemble(TinySearch(), "tiny", task, 3, preset="mini", plan=None)
        before = {name: p.detach().clone() for name, p in model.trained().items()}
        if searching:
            SearchTrial(model, 3, 1e-2, 1).train_step(True)
        else:
            fit(model, task.recipe, 3, 1e-2)
        moved.append(max(float((p - before[name]).abs().max()) for name, p in model.trained().items()))
    assert moved[0] > 5e-3 and moved[1] < 1e-5


def test_parameter_groups() -> None:
    model = assemble(TinyAdapter(), "tiny", TinyTask(), 3, preset="mini", plan=None)
    model.backbone.model["norm"].requires_grad_(True)
    model.backbone.attached.register_parameter("scale", torch.nn.Parameter(torch.zeros(1)))
    groups = parameter_groups(model, Recipe(1, 8, weight_decay=0.1, head_multiplier=10.0, shared_lr=5e-4), 1e-3)
    names = {id(p): name for name, p in model.trained().items()}
    found = {names[id(p)]: (group["lr"], group["weight_decay"]) for group in groups for p in group["params"]}
    assert set(found) == set(model.trained())
    assert found["head.weight"] == (pytest.approx(1e-2), 0.1)
    assert found["head.bias"] == (pytest.approx(1e-2), 0.0)
    assert found["backbone.attached.adapter.0.weight"] == (1e-3, 0.1)
    assert found["backbone.attached.adapter.0.bias"] == found["backbone.model.norm.weight"] == (1e-3, 0.0)
    assert found["backbone.model.pooler.weight"] == (5e-4, 0.1) and found["backbone.model.pooler.bias"] == (5e-4, 0.0)
    assert {group["lr"] for group in parameter_groups(model, Recipe(1, 8, shared_lr=None), 1e-2)} == {1e-2}
    assert found["backbone.attached.scale"] == (1e-3, 0.1), "a vector that is neither: APT's scale decays in the official code"


def test_schedule() -> None:
    assert [factor(step, 20, 0.1) for step in (0, 1, 2, 11, 19, 20)] == [0.0, 0.5, 1.0, 0.5, pytest.approx(1 / 18), 0.0]
    assert factor(0, 20, 0.0) == 1.0
    lrs = [point["lr"] for point in cell(TinyTask()).curve]
    assert lrs == [pytest.approx(1e-2 * factor(5 * epoch, 20, 0.1)) for epoch in (1, 2, 3, 4)]


def test_non_finite_loss_names_the_step() -> None:
    task, scale = TinyTask(stop_at=(1, 2)), [1.0]
    loss = task.loss
    task.stop = lambda: scale.append(math.nan)
    task.loss = lambda *inputs: loss(*inputs) * scale[-1]  # type: ignore[method-assign]
    with pytest.raises(NonFiniteLoss, match="loss is nan at epoch 2, step 3"):
        cell(task)


def test_wrong_sizes_are_noticed() -> None:
    task = TinyTask()
    inner = task.batches
    task.batches = lambda split, *rest, **more: list(inner(split, *rest, **more))[:-1]  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="4 batches where the task's sizes say 5"):
        cell(task)


@pytest.mark.parametrize("keep", ["last", "best"])
def test_test_split_is_read_once_at_the_end(keep: str) -> None:
    task = TinyTask(recipe=Recipe(4, 8, keep=keep))
    outcome = cell(task)
    assert task.read.count("test") == 1 and task.read[-1] == "test"
    assert task.read.count("validation") == (4 if keep == "best" else 1)
    assert len(outcome.correct) == len(outcome.clusters) == task.sizes["test"]


class Sealed(TinyTask):
    """A task whose test split raises, and with it the floors."""

    def pixels(self, split: str) -> torch.Tensor:
        assert split != "test"
        return super().pixels(split)

    def floors(self) -> dict[str, float]:
        raise AssertionError("floors are read from the test split")


def test_validation_only_never_opens_test() -> None:
    task = Sealed()
    outcome = cell(task, TinySearch(), evaluate="validation")
    assert "test" not in task.read and outcome.metrics == {} and outcome.flags == [] and "accuracy" in outcome.validation


def test_best_epoch_is_kept() -> None:
    task = TinyTask(recipe=Recipe(6, 8, keep="best", clip=None, shared_lr=None))
    outcome = run_cell(TinyAdapter(), "tiny", task, 3, preset="mini", lr=0.3)
    curve = [point["validation"] for point in outcome.curve]
    assert outcome.validation["accuracy"] == max(curve) > curve[-1], "the rate is chosen so that the last epoch is not the best"
    model = assemble(TinyAdapter(), "tiny", task, 3, preset="mini", plan=None)
    fit(model, task.recipe, 3, 0.3)
    assert evaluate_on(model, "validation")[0]["accuracy"] == max(curve)


def test_search_reads_train_only_and_is_followed_by_a_fresh_run() -> None:
    task = TinyTask()
    found = search(TinySearch(), "tiny", task, 3, preset="mini", lr=1e-2)
    assert set(task.read) == {"search-train", "search-reward"}
    took = {"protocol": "held-out", "epochs": 3, "train_steps": 9, "reward_passes": 2}
    assert found.noted == took | {"losses": found.noted["losses"]}
    searched, given = cell(TinyTask(), TinySearch()), cell(TinyTask(), TinySearch(), plan=found.plan)
    assert searched.plan == found.plan and searched.hyper_parameters["search"] == found.noted and given.hyper_parameters["search"] == {}
    assert (searched.metrics, searched.curve) == (given.metrics, given.curve), "nothing of the search is left but its plan"


def test_the_official_protocol_searches_on_train_and_validation_and_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    task = TinyTask()
    monkeypatch.setattr(tasks, "load", lambda name: task)
    monkeypatch.setattr(work, "_method", lambda job: TinySearch())
    job = fakes.job("tiny_search", epochs=1, official=True)
    record, _ = work.cell(CellTask(job, fakes.HERE))
    assert record.hyper_parameters["search"]["protocol"] == "official" and not {"search-train", "search-reward"} & set(task.read)
    task.read.clear()
    assert work.tuned((job, 1e-2, 100)) is not None and set(task.read) == {"train", "validation"}, "tuning searches in the same way"


def test_a_shorter_training_searches_less() -> None:
    assert [cell(TinyTask(), TinySearch(), epochs=n).hyper_parameters["search"]["train_steps"] for n in (1, 2, 9)] == [3, 6, 9]


@dataclass
class OwnEpochs(TinyAdapter):
    epochs: int = 77
    inner: int | None = None

    def attach(self, backbone: Backbone, plan: Plan | None = None) -> None:
        super().attach(backbone, plan)
        self.resolve(inner=[self.rank, self.rank])


def test_hyper_parameters_are_nested_and_resolved() -> None:
    method = OwnEpochs()
    found = cell(TinyTask(), method, epochs=1).hyper_parameters
    assert found["method"] == {"rank": 4, "epochs": 77, "inner": 4} and found["recipe"]["epochs"] == 1
    assert found["lr"] == 1e-2 and method.inner is None, "what was asked for stays, for the next backbone"


def test_the_record_has_what_the_search_took(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "load", lambda name: TinyTask())
    monkeypatch.setattr(work, "_method", lambda job: TinySearch())
    record, arrays = work.cell(CellTask(fakes.job("tiny_search", parameters={"rank": 4}, epochs=1), fakes.HERE))
    assert record.provenance is not None and 0 < record.provenance.search_seconds < record.provenance.wall_seconds
    assert record.plan is not None and record.plan.keys() == {"choice", "backbone", "preset"} and len(arrays["correct"]) == 30
    failed = fakes.job("tiny_search", parameters={"rank": 4}).record("failed", reason="boom")
    assert failed.hyper_parameters == {"method": {"rank": 4}, "lr": 0.1}


@dataclass
class Drawing(TinyTask):
    """Keeps the answers themselves."""

    def kept(self, split: str, outputs: list[torch.Tensor]) -> dict[str, np.ndarray]:
        return {split: torch.cat(outputs).numpy()}


def test_what_a_task_keeps_to_look_at_is_stored_with_the_examples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "_method", lambda job: TinyAdapter())
    stored = []
    for task in (TinyTask(), Drawing()):
        monkeypatch.setattr(tasks, "load", lambda name, task=task: task)
        stored.append(work.cell(CellTask(fakes.job("tiny_adapter", epochs=1), fakes.HERE))[1])
    assert stored[0].keys() == {"correct", "cluster", "ids"} and stored[1].keys() == stored[0].keys() | {"test"}
    answers = torch.from_numpy(stored[1]["test"])
    assert stored[1]["correct"].tolist() == (answers == brightest(Drawing().pixels("test"))).tolist()
    assert cell(Drawing(), epochs=1, evaluate="validation").kept == {}


def test_a_weight_that_breaks_in_the_last_step_is_no_result() -> None:
    model = assemble(TinyAdapter(), "tiny", TinyTask(), 3, preset="mini", plan=None)
    last = model.loss
    steps = []

    def loss(batch: Batch) -> torch.Tensor:
        steps.append(1)
        value = last(batch)
        return value + (model.head.weight.sum().sqrt() * 0 if len(steps) == 5 else 0)

    with torch.no_grad():
        model.head.weight.zero_()
    model.loss = loss  # type: ignore[method-assign]
    with pytest.raises(NonFiniteLoss, match="weight is not finite after the last step"):
        fit(model, Recipe(1, 8), 3, 0.0)


def test_flags_below_the_floors() -> None:
    outcome = run_cell(TinyAdapter(), "tiny", TinyTask(), 3, preset="mini", lr=0.0)
    assert (outcome.metrics["accuracy"] < 35.0) == ("below the blind floor" in outcome.flags)
    assert outcome.signature == run_cell(TinyAdapter(), "tiny", TinyTask(), 9, preset="mini", lr=0.1, epochs=1).signature
