"""Every method on a small ViLT: what it trains, what it costs in parameters, merging, skipping, searching."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from baselines.lora import Lora
from methods.apt import APT
from methods.das import DAS
from suite.backbones.vilt import ViLT
from suite.core import Batch, Method, freeze
from suite.modules import bottleneck_size, prompt_length
from suite.plugins import discover

METHODS = ("full", "head", "bitfit", "prompt_shallow", "prompt_deep", "lora", "adapter", "parallel_adapter", "apt", "das")
PAPER = {  # papers.md section 6, exact
    "head": 0, "apt": 1_916_940, "lora": 147_456, "adapter": 3_559_680, "parallel_adapter": 1_798_272, "prompt_deep": 1_843_200,
    "prompt_shallow": 153_600, "das": 11 * 2 * 149_856 + 297_408,
}  # fmt: skip
PLAN = {"skipped": [2]}


def assembled(method: Method, plan: dict[str, Any] | None = None) -> ViLT:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    backbone = ViLT.build("mini", pretrained=False)
    freeze(backbone)
    if method.class_token(backbone):
        backbone.add_class_token()
    torch.manual_seed(1)
    method.attach(backbone, plan)
    return backbone


def batch(texts: int = 3) -> Batch:
    generator = torch.Generator().manual_seed(2)
    ids = torch.randint(5, 300, (texts, 7), generator=generator)
    mask = torch.ones_like(ids)
    mask[0, 4:] = 0
    return Batch(ids, mask, torch.randn(texts, 3, 64, 64, generator=generator))


def make(name: str) -> Method:
    return discover().get(name)()


def plan_for(name: str) -> dict[str, Any] | None:
    return PLAN if name == "das" else None


@pytest.mark.parametrize("name", METHODS)
def test_trains_only_what_it_should(name: str) -> None:
    method = make(name)
    backbone = assembled(method, plan_for(name))
    own = {id(p) for p in method.trainable(backbone)}
    trained = {id(p) for part in (backbone.model, backbone.attached) for p in part.parameters() if p.requires_grad}
    assert own == trained - {id(p) for p in backbone.always_trained()}
    assert own.isdisjoint(id(p) for p in backbone.heads.parameters() if p is not backbone.heads["mlm"].decoder.weight)
    frozen = {n: p.clone() for n, p in backbone.model.named_parameters() if not p.requires_grad}
    parameters = method.trainable(backbone)
    for parameter in backbone.always_trained():
        parameter.requires_grad_(True)
    pooled = backbone.train()(batch()).pooled
    pooled.square().sum().backward()
    assert torch.isfinite(pooled).all() and all(p.grad is not None for p in backbone.always_trained())
    assert bool(parameters) == (name != "head")
    if parameters:
        torch.optim.SGD(parameters, 0.1).step()
        assert not torch.equal(backbone.eval()(batch()).pooled, pooled)
    assert all(torch.equal(p, frozen[n]) for n, p in backbone.model.named_parameters() if n in frozen)


@pytest.mark.parametrize("name", [n for n in METHODS if n not in ("full", "head", "bitfit")])
def test_every_attached_parameter_gets_a_gradient(name: str) -> None:
    method = make(name)
    backbone = assembled(method, plan_for(name)).eval()
    backbone(batch()).pooled.square().sum().backward()
    assert all(p.grad is not None for p in method.trainable(backbone))


def test_no_two_methods_train_the_same() -> None:
    signatures = {}
    for name in METHODS:
        backbone = assembled(make(name), plan_for(name))
        shapes = sorted((n, tuple(p.shape)) for n, p in backbone.named_parameters() if p.requires_grad)
        signatures.setdefault(hashlib.sha256(repr(shapes).encode()).hexdigest(), []).append(name)
    assert all(len(names) == 1 for names in signatures.values()), signatures


@pytest.mark.parametrize("name", METHODS)
def test_sizes_at_paper_scale(name: str) -> None:
    method = make(name)
    backbone = ViLT.build("paper", pretrained=False, device="meta")
    with torch.device("meta"):
        freeze(backbone)
        method.attach(backbone, plan_for(name))
    count = sum(p.numel() for p in method.trainable(backbone))
    if name in PAPER:
        assert count == PAPER[name]
    elif name == "full":
        assert count + sum(p.numel() for p in backbone.always_trained()) == 111_595_776
    else:  # 12 x (q, k, v, out, outer, 2 norms) x 768, 12 x 3072, last norm, embedding norm, patches; the pooler is always trained
        assert count == 12 * (7 * 768 + 3072) + 3 * 768


def test_sizes_at_mini_scale_follow_the_width() -> None:
    site = ViLT.build("mini", pretrained=False).sites("self")[0]
    assert (bottleneck_size(None, site), bottleneck_size(5, site), prompt_length(None, site), prompt_length(3, site)) == (12, 5, 7, 3)


def test_lora_merges_exactly() -> None:
    method = Lora()
    backbone = assembled(method).eval()
    with torch.no_grad():
        for parameter in method.trainable(backbone):
            parameter.normal_(std=0.1)
        before = backbone(batch()).pooled
        assert method.merge(backbone)
        torch.testing.assert_close(backbone(batch()).pooled, before, atol=1e-6, rtol=0)
    for site in backbone.sites("self"):
        assert all(type(backbone.model.get_submodule(path)) is nn.Linear for path in site.linears.values())
    assert not method.trainable(backbone)


@pytest.mark.parametrize("name", ["lora", "apt"])
def test_starting_point(name: str) -> None:
    """LoRA starts as the backbone itself, APT does not: its tokens are not zero."""
    method = make(name)
    backbone = assembled(method).eval()
    plain = assembled(make("head")).eval()
    same = torch.equal(backbone(batch()).pooled, plain(batch()).pooled)
    assert same == (name == "lora")


def test_apt_trains_its_scale_where_the_layer_normalises_before() -> None:
    for asked, wanted in ((None, True), (False, False)):
        attached = assembled(APT(train_scale=asked)).attached.values()
        assert {module.log_scale.requires_grad for module in attached} == {wanted}


def test_deep_prompts_leave_the_sequence_as_it_is() -> None:
    plain, deep = (assembled(make(name)).eval() for name in ("head", "prompt_deep"))
    assert deep(batch()).tokens.shape == plain(batch()).tokens.shape
    shallow = assembled(make("prompt_shallow")).eval()(batch())
    assert shallow.tokens.shape[1] == plain(batch()).tokens.shape[1] + 7 and shallow.mask[:, -7:].all()


class Trial:
    """core.Trial in which skipping layer 4 costs least."""

    official = False

    def __init__(self, epochs: int = 3) -> None:
        self.rng, self.epochs, self.steps_per_epoch = np.random.default_rng(0), epochs, 20  # of 640 examples, four fifths of 800
        self.trace: dict[str, Any] = {}
        self.choices: list[Any] = []
        self.batches = 0

    def train_step(self, choice: Any) -> float:
        self.choices.append(choice)
        return 0.0

    def new_batch(self) -> None:
        self.batches += 1

    def reward_loss(self, choice: Any) -> float:
        return 0.1 if 4 in choice else 1.0


def test_das_finds_the_layer_that_is_not_needed() -> None:
    method, trial = DAS(), Trial()
    assembled(method)
    plan = method.search(trial)
    assert plan == {"skipped": [4]} and len(trial.choices) == 60
    assert trial.batches == trial.trace["updates"] >= 30
    rewards = trial.trace["rewards"]
    assert np.argmax(trial.trace["preferences"]) == np.argmax([r or 0.0 for r in rewards]) == 4
    assert rewards[4] == pytest.approx(np.exp(-0.1)) and rewards[0] == pytest.approx(np.exp(-1.0))
    assert all(len(choice) == 1 for choice in trial.choices) and len({choice[0] for choice in trial.choices}) == 6


def test_the_official_protocol_keeps_the_first_reward_batch() -> None:
    method, trial = DAS(), Trial()
    trial.official = True
    assembled(method)
    assert method.search(trial) == {"skipped": [4]}
    assert trial.batches == 0 and trial.trace["updates"] >= 30


def test_a_das_search_of_one_epoch_has_no_warm_up() -> None:
    method, trial = DAS(), Trial(epochs=1)
    assembled(method)
    method.search(trial)
    assert len(trial.choices) == trial.batches == 20


@pytest.mark.parametrize("name", METHODS)
def test_no_size_is_left_open_in_the_record(name: str) -> None:
    method = make(name)
    asked = dataclasses.asdict(method)
    for plan in (None, plan_for(name)):
        assembled(method, plan)
        assert None not in method.resolved().values() and method.resolved().keys() == asked.keys()
    assert dataclasses.asdict(method) == asked
    wanted = {"adapter": {"bottleneck": 12}, "das": {"skip": 1, "bottleneck": 12, "skip_bottleneck": 24}, "prompt_deep": {"length": 7},
              "apt": {"length": 7, "train_scale": True}, "prompt_shallow": {"length": 7}}  # fmt: skip
    assert wanted.get(name, {}).items() <= method.resolved().items()


def test_sizes_that_differ_are_listed() -> None:
    method = APT()
    method.resolve(length=[7, 9, 7])
    assert method.resolved() == {"length": [7, 9], "rank": 4, "train_scale": None}


def test_das_switches_layers() -> None:
    method = DAS()
    backbone = assembled(method).eval()
    everything = backbone(batch()).pooled
    method.choose(backbone, [2])
    calls = []
    handle = backbone.model.encoder.layer[2].intermediate.dense.register_forward_hook(lambda *_: calls.append(1))
    skipped = backbone(batch()).pooled
    assert not calls and not torch.equal(skipped, everything)
    method.choose(backbone, [])
    assert torch.equal(backbone(batch()).pooled, everything) and calls
    handle.remove()


def test_das_with_a_plan_holds_what_the_plan_uses() -> None:
    method = DAS()
    planned, searching = assembled(method, PLAN), assembled(method)
    bottleneck = 2 * 96 * 12 + 12 + 3 * 96
    skip = 2 * 96 * 24 + 24 + 3 * 96
    assert sum(p.numel() for p in planned.attached.parameters()) == 10 * bottleneck + skip
    assert sum(p.numel() for p in searching.attached.parameters()) == 12 * bottleneck + 6 * skip
    assert [layer.replaced for layer in planned.layers] == [i == 2 for i in range(6)]


def test_claims_name_methods_that_exist() -> None:
    methods = discover().methods
    for name in methods:
        for claim in make(name).claims:
            assert {"text", "metric", "better", "than", "relation", "source"} <= claim.keys()
            assert claim["better"] in methods and claim["than"] in methods and claim["better"] != claim["than"]
