"""Every method on every backbone: it assembles and takes a finite step, or says why it does not; and refuses plans of another depth."""

from __future__ import annotations

import json
from functools import cache

import pytest
import torch

from suite import backbones
from suite.assemble import Trainee, assemble, optimizer
from suite.core import Backbone, Method, Plan
from suite.data.world_reader import WorldVqa
from suite.errors import UserError
from suite.plugins import discover
from suite.recipe import Recipe
from suite.search import SearchTrial
from suite.tasks.vqa import Vqa

BACKBONES = ("vilt", "meter", "bert", "t5", "llama", "lavin")
SEEING = ("vilt", "meter", "lavin")
METHODS = tuple(sorted(discover().methods))
PROMPTED = ("dvp", "dvp_adapter", "dvp_first", "dvp_random", "visual_prompt", "visual_prompt_adapter")
"""Methods that show pictures to language models."""
CLIPS = ("coop", "linear_probe", "vpt", "zero_shot")
RUN_BY = {"lavin": ("lavin",), "bitfit": ("vilt", "meter")} | dict.fromkeys(PROMPTED, ("bert", "t5", "llama")) | dict.fromkeys(CLIPS, ())
"""What runs not everywhere, and where."""
SEARCHED = {"das": "skipped", "das_random": "skipped", "dvp": "layer", "dvp_adapter": "layer", "dvp_random": "layer"}


@cache
def task() -> Vqa:
    return Vqa(WorldVqa("world-vqa-small", {"train": 20, "validation": 5, "test": 5}), Recipe(epochs=1, batch_size=8))


@cache
def bare(name: str) -> Backbone:
    """On the meta device: for its sites."""
    return backbones.load(name).build("mini", pretrained=False, device="meta")


def make(name: str) -> Method:
    return discover().get(name)()


def trainee(method: Method, backbone: str, plan: Plan | None, device: str = "cpu") -> Trainee:
    torch.set_num_threads(1)
    return assemble(method, backbone, task(), 0, preset="mini", plan=plan, pretrained=False, device=device)


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("name", METHODS)
def test_a_step_or_a_reason(name: str, backbone: str) -> None:
    method, there = make(name), bare(backbone)
    reason = method.not_applicable(there, "world-vqa")
    assert (reason is None) == (backbone in RUN_BY.get(name, SEEING)), reason
    if reason is not None:
        assert len(reason.split()) > 3 and "\n" not in reason
        return
    for plan in (None, method.example_plan(there)) if method.search else (None,):
        step(trainee(method, backbone, plan))


def step(model: Trainee) -> None:
    """One update, which moves what is trained, to finite values."""
    before = {key: p.detach().clone() for key, p in model.trained().items()}
    model.train()
    model.loss(next(model.batches("train", 0))).backward()
    assert all(p.grad.isfinite().all() for p in model.trained().values() if p.grad is not None)
    optimizer(model, model.task.recipe, 1e-3).step()
    moved = {key for key, p in model.trained().items() if not torch.equal(p, before[key])}
    assert all(p.isfinite().all() for p in model.trained().values())
    assert {key for key in before if key.startswith("head.")} <= moved
    own = {id(p) for p in model.method.trainable(model.backbone)}
    assert bool(own & {id(p) for key, p in model.trained().items() if key in moved}) == bool(own)


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("name", SEARCHED)
def test_plans_of_another_depth_are_refused(name: str, backbone: str) -> None:
    method, there = make(name), bare(backbone)
    if method.not_applicable(there, "world-vqa"):
        return
    arms = len(there.sites("layer")) if SEARCHED[name] == "skipped" else there.sequence.depth
    for wrong in (arms, -1, "0", 1.0, True):
        plan = {SEARCHED[name]: [wrong] if SEARCHED[name] == "skipped" else wrong}
        with pytest.raises(UserError, match=f"a plan of {name.split('_')[0]} here is .* to {arms - 1}"):
            trainee(method, backbone, plan, "meta")
    with pytest.raises(UserError, match="found on clip/mini, not on"):
        trainee(method, backbone, {"backbone": "clip", SEARCHED[name]: [0] if SEARCHED[name] == "skipped" else 0}, "meta")
    with pytest.raises(UserError, match=f"found on {backbone}/paper, not on {backbone}/mini"):
        trainee(method, backbone, {"preset": "paper", SEARCHED[name]: [0] if SEARCHED[name] == "skipped" else 0}, "meta")


@pytest.mark.parametrize(("name", "backbone"), [
    ("dvp", "bert"), ("dvp_adapter", "t5"), ("dvp_random", "llama"), ("das", "lavin"), ("das", "meter"), ("das_random", "vilt"),
])  # fmt: skip
def test_a_search_gives_a_plan_that_can_be_trained(name: str, backbone: str) -> None:
    method = make(name)
    trial = SearchTrial(trainee(method, backbone, None), 0, 1e-3, 1)
    plan = method.search(trial)
    assert json.loads(json.dumps(plan)) == plan and list(plan) == [SEARCHED[name]]
    assert bool(trial.train_steps) != name.endswith("random")
    step(trainee(make(name), backbone, plan))
