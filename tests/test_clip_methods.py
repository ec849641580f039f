"""Every method on CLIP: it trains what it should on each task, or says why not."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from built import assert_close
from clips import at_paper_size, mini
from torch import nn

from baselines.coop import CoOp
from baselines.vpt import VPT
from suite import backbones, tasks
from suite.assemble import Trainee, assemble
from suite.backbones.clip import CLIP
from suite.core import Method, Task, freeze
from suite.cost import measure
from suite.errors import UserError
from suite.plugins import discover

METHODS = ("full", "bitfit", "prompt_shallow", "prompt_deep", "lora", "adapter", "parallel_adapter", "apt", "das", "zero_shot",
           "linear_probe", "coop", "vpt")
NOTHING = {"zero_shot", "linear_probe"}
REFUSED = {("head", "world-classes"): "made of texts", ("head", "digits"): "made of texts",
           ("linear_probe", "world-classes"): "not trained on"}


def small(name: str) -> Task:
    task = tasks.load(name)
    reader = dataclasses.replace(task.reader, sizes={"train": 24, "validation": 12, "test": 24})
    return dataclasses.replace(task, reader=reader, recipe=dataclasses.replace(task.recipe, batch_size=6))


TASKS = {name: small(name) for name in ("world-classes", "digits")}


def assembled(name: str, task: Task, plan: dict[str, Any] | None = None) -> Trainee:
    method = discover().get(name)()
    return assemble(method, "clip", task, 0, preset="mini", plan=plan or method.example_plan(mini()), pretrained=False)


def attached(method: Method) -> CLIP:
    own = mini()
    freeze(own)
    method.attach(own, None)
    return own.eval()


@pytest.mark.parametrize("name", discover().methods)
@pytest.mark.parametrize("task", TASKS.values(), ids=list(TASKS))
def test_every_method_takes_a_step_or_says_why_not(task: Task, name: str) -> None:
    reason = discover().get(name)().not_applicable(mini(), task.name)
    if reason is not None:
        assert (name, task.name) in REFUSED or name not in METHODS, reason
        return
    model = assembled(name, task)
    batch = next(iter(model.batches("train", 0, shuffle=True)))
    before = {key: p.detach().clone() for key, p in model.trained().items()}
    loss = model.loss(batch)
    loss.backward()
    assert loss.isfinite() and all(p.grad is not None and p.grad.isfinite().all() for p in model.trained().values())
    own, trained = model.method.trainable(model.backbone), {id(p) for p in model.trained().values()}
    assert {id(p) for p in own} == trained - {id(p) for p in model.head.parameters()} and bool(own) == (name not in NOTHING)
    torch.optim.SGD(model.trained().values(), 0.01).step()
    assert model.loss(batch).isfinite() and any(not p.equal(before[key]) for key, p in model.trained().items())
    assert model.predict(batch).shape == (6, len(task.reader.classes))


@pytest.mark.parametrize(("name", "task"), REFUSED)
def test_what_makes_no_sense_has_its_reason(name: str, task: str) -> None:
    reason = discover().get(name)().not_applicable(mini(), task)
    assert reason is not None and REFUSED[name, task] in reason and "\n" not in reason


@pytest.mark.parametrize("name", ["vilt", "meter"])
@pytest.mark.parametrize("method", ["zero_shot", "linear_probe", "coop", "vpt"])
def test_methods_of_clip_alone_say_so(method: str, name: str) -> None:
    own = backbones.load(name).build("mini", pretrained=False)
    assert "here" in discover().get(method)().not_applicable(own, "world-vqa") or method == "linear_probe"
    assert discover().get("head")().not_applicable(own, "world-vqa") is None


@pytest.mark.parametrize("name", [name for name in METHODS if name not in NOTHING | {"full"}])
def test_sizes_of_both_towers_at_paper_scale(name: str) -> None:
    own, method = at_paper_size(), discover().get(name)()
    with torch.device("meta"):
        freeze(own)
        method.attach(own, method.example_plan(own))
    wide, narrow, layers = 768, 512, 12
    both = wide + narrow

    def adapter(d: int, inner: int | None = None) -> int:
        return 2 * d * (inner or d // 8) + (inner or d // 8) + d

    wanted = {
        "prompt_shallow": 200 * both, "prompt_deep": layers * 200 * both, "lora": layers * 2 * 2 * both * 4, "vpt": layers * 200 * wide,
        "adapter": layers * 2 * (adapter(wide) + adapter(narrow)), "coop": 4 * narrow,
        "parallel_adapter": layers * (adapter(wide) + adapter(narrow) + 2 * both), "apt": layers * (208 * both + 2),
        "bitfit": layers * 11 * both + 2 * wide + narrow,  # q, k, v, out, 4 inside, outer, 2 norms; norms of the towers
        "das": 11 * 2 * (adapter(wide) + 2 * wide) + 12 * 2 * (adapter(narrow) + 2 * narrow) + adapter(wide, 192) + 2 * wide,
    }[name]  # fmt: skip
    assert sum(p.numel() for p in method.trainable(own)) == wanted


def test_lora_merges_exactly() -> None:
    model = assembled("lora", TASKS["digits"]).eval()
    with torch.no_grad():
        for parameter in model.method.trainable(model.backbone):
            parameter.normal_(std=0.1)
    batch = next(iter(model.batches("test", 0)))
    before = model.predict(batch)
    assert model.method.merge(model.backbone)
    assert_close(model.predict(batch), before)


@torch.no_grad()
def test_coop_puts_its_context_behind_the_start_of_text() -> None:
    """With word embeddings as context vectors it reads the text that has these words."""
    own, plain = attached(CoOp(length=2)), mini()
    (context,) = own.attached.values()
    context.tokens.copy_(plain.model.text_model.embeddings.token_embedding.weight[[7, 8]])
    ids = torch.tensor([[1, 20, 2, 0], [1, 30, 31, 2]])
    longer = torch.cat([ids[:, :1], torch.tensor([[7, 8]]).expand(2, 2), ids[:, 1:]], 1)
    assert_close(own.text_features(ids, ids != 0), plain.text_features(longer, longer != 0))


@torch.no_grad()
def test_vpt_has_its_own_prompts_in_every_layer() -> None:
    own = attached(VPT(length=3))
    pictures, seen = torch.rand(2, 3, 64, 64), []
    for layer in own.model.vision_model.encoder.layers:
        layer.layer_norm1.register_forward_hook(lambda module, inputs, _: seen.append(inputs[0]))
    assert own.image_states(pictures).shape == (2, 68, 96)
    for x, prompt in zip(seen, own.attached.values(), strict=True):
        assert x.shape == (2, 68, 96) and x[:, 1:4].equal(prompt.tokens.expand(2, 3, 96))
    assert_close(seen[0][:, [0, *range(4, 68)]], mini().image_tokens(pictures))


@torch.no_grad()
def test_prompts_in_front_leave_the_class_token_to_be_read() -> None:
    method = discover().get("prompt_shallow")()
    own, pictures = attached(method), torch.rand(2, 3, 64, 64)
    states = own.image_states(pictures)
    assert states.shape[1] == 65 + method.resolved()["length"][0]
    read = own.model.visual_projection(own.model.vision_model.post_layernorm(states[:, -65]))
    assert_close(own.image_features(pictures), nn.functional.normalize(read, dim=-1))


def test_more_context_than_positions_is_refused() -> None:
    own = attached(CoOp(length=40))
    with pytest.raises(UserError, match="a text of 45 tokens is longer than the 32 positions of clip/mini"):
        own.text_features(torch.tensor([[1, 20, 21, 22, 2]]))


@pytest.mark.parametrize("task", TASKS.values(), ids=list(TASKS))
def test_every_task_can_be_costed(task: Task) -> None:
    cost = measure(discover().get("lora")(), "clip", task, preset="mini", memory=False)
    assert cost.extra_macs > 0 and cost.trainable > 0
