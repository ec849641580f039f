"""A task of the papers' size, bound: the published recipe and the view of its dataset."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from suite import backbones, tasks
from suite.assemble import Trainee, assemble, parameter_groups
from suite.binding import Means, bound
from suite.core import Method
from suite.plugins import discover
from suite.recipes import VIEWS


def test_a_task_of_petlbenchs_own_stays_as_it_is() -> None:
    task = tasks.load("world-vqa")
    assert bound(task, "vilt", "apt", Means("bf16", 2, 4)) is task


def test_recipes_are_the_published_ones() -> None:
    """papers.md sections 1, 3.4 and 4.5."""
    vilt = bound(tasks.load("vqa2"), "vilt", "lora").recipe
    assert (vilt.epochs, vilt.batch_size, vilt.head_multiplier, vilt.fusion_multiplier, vilt.precision) == (10, 256, 10, 1, "fp16")
    assert (vilt.shared_lr, vilt.clip, vilt.keep, vilt.schedule, vilt.rows) == (None, None, "last", "linear", 256) and not vilt.checkpointing
    meter = bound(tasks.load("nlvr2"), "meter", "das").recipe
    assert (meter.batch_size, meter.head_multiplier, meter.fusion_multiplier, meter.precision) == (256, 10, 5, "fp32")
    assert bound(tasks.load("flickr30k"), "meter", "apt").recipe.head_multiplier == 1, "rank_output has the base rate"
    bert = bound(tasks.load("snli-ve"), "bert", "dvp").recipe
    assert (bert.epochs, bert.warmup, bert.head_multiplier, bert.keep) == (5, 0.2, 1, "best")
    lavin = bound(tasks.load("scienceqa"), "lavin", "das").recipe
    assert (lavin.epochs, lavin.batch_size, lavin.betas, lavin.schedule) == (20, 32, (0.9, 0.95), "cosine")
    assert lavin.precision == "fp32" and lavin.checkpointing, "its precision is not told"


def test_views_are_those_of_the_dataset() -> None:
    wanted = {("meter", "vqa2"): (50, 384), ("meter", "nlvr2"): (50, 288), ("meter", "flickr30k"): (40, 384), ("vilt", "vqa2"): (40, 384),
              ("bert", "gqa"): (16, 224), ("lavin", "scienceqa"): (512, 224)}  # fmt: skip
    for (backbone, task), (length, side) in wanted.items():
        view = bound(tasks.load(task), backbone, "head").view
        assert (view.length, view.side) == (length, side), (backbone, task)
    assert {backbone for backbone, _ in VIEWS} <= set(backbones.names())


@pytest.mark.parametrize(("means", "rows", "accumulated"), [
    (Means(), 256, 1), (Means(micro_batch=64), 64, 4), (Means(micro_batch=999), 256, 1), (Means(processes=4), 64, 4),
    (Means(micro_batch=16, processes=4), 16, 16)])  # fmt: skip
def test_what_the_machine_takes_at_once(means: Means, rows: int, accumulated: int) -> None:
    recipe = bound(tasks.load("vqa2"), "vilt", "apt", means).recipe
    assert (recipe.rows, recipe.accumulated) == (rows, accumulated)
    assert bound(tasks.load("vqa2"), "vilt", "apt", dataclasses.replace(means, precision="bf16")).recipe.precision == "bf16"


def _model(method: Method, backbone: str, task: str) -> Trainee:
    data = bound(tasks.load(task), backbone, method.name, Means("fp32"))
    return assemble(method, backbone, data, 0, preset="paper", plan=method.example_plan(_built(backbone)), pretrained=False, device="meta")


def _built(backbone: str) -> object:
    return backbones.load(backbone).build("paper", pretrained=False, device="meta")


@pytest.mark.parametrize(("name", "times"), [("apt", 5), ("das", 5)])
def test_factors_of_meter(name: str, times: int) -> None:
    """VQA2.0: head 50, fusion layers with what is in them and poolers 5, all else 1: class token, modality, DAS's skip adapters."""
    model = _model(discover().get(name)(), "meter", "vqa2")
    rates = {id(p): group["lr"] for group in parameter_groups(model, model.task.recipe, 25e-6) for p in group["params"]}
    found: dict[float, set[str]] = {}
    for parameter, p in model.trained().items():
        found.setdefault(round(rates[id(p)] / 25e-6, 6), set()).add(parameter)
    assert set(found) == {1, times, 50} and all(one.startswith("head.") for one in found[50])
    assert all("cross_modal" in one or ".attached." in one for one in found[times]) and any("pooler" in one for one in found[times])
    skips = {one for one in model.trained() if "/replace/" in one}
    assert bool(skips) == (name == "das") and skips | {"backbone.class_token", "backbone.model.token_type_embeddings.weight"} >= found[1]


def test_fp16_needs_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    from suite.errors import UserError

    data = bound(tasks.load("vqa2"), "vilt", "head")
    with pytest.raises(UserError, match="fp16, the published precision, needs a GPU; `precision: bf16`"):
        assemble(discover().get("head")(), "vilt", data, 0, preset="paper", plan=None, pretrained=False, device="cpu")
    with torch.no_grad():
        assert assemble(discover().get("head")(), "vilt", data, 0, preset="paper", plan=None, pretrained=False, device="meta")
