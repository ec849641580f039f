"""The methods of the group `extras`, through peft: places, sizes, training, merging, on small backbones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from built import assert_close
from meters import batch
from peft import LoraConfig
from torch import nn

from baselines.dora import Dora
from baselines.oft import OFT
from suite import backbones, macs
from suite.core import Backbone, Method, freeze
from suite.peft_tools import Injected, injected, linears
from suite.plugins import discover

BACKBONES = ("vilt", "meter", "bert")
ALL = (*BACKBONES, "t5", "llama", "lavin")
EXTRAS = ("dora", "ia3", "oft", "ln_tuning")


def assembled(backbone: str, name: str, preset: str = "mini", device: str = "cpu") -> tuple[Backbone, Method]:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    own, method = backbones.load(backbone).build(preset, pretrained=False, device=device), discover().get(name)()
    with torch.device(device):
        freeze(own)
        own.add_class_token()
        method.attach(own)
    return own.eval(), method


def trained(own: Backbone, method: Method) -> int:
    return sum(p.numel() for p in method.trainable(own))


def widths(own: Backbone, *kinds: str) -> list[int]:
    return [site.width for site in own.sites(*kinds)]


def closed_form(name: str, own: Backbone) -> int:
    """Width D at each site: rank 4 and a magnitude; factors of keys, values and 4 D units; blocks of 16; 2 D a norm."""
    attention = widths(own, "self", "cross")
    return {
        "dora": sum(2 * (4 * 2 * d + d) for d in attention),
        "ia3": sum(2 * d for d in attention) + sum(4 * d for d in widths(own, "ffn")),
        "oft": sum(2 * (d // 16) * (16 * 15 // 2) for d in attention),
    }[name]


@pytest.mark.parametrize("preset", ["mini", "paper"])
@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("name", ["dora", "ia3", "oft"])
def test_sizes_equal_their_closed_forms(name: str, backbone: str, preset: str) -> None:
    own, method = assembled(backbone, name, preset, device="meta")
    assert trained(own, method) == closed_form(name, own)


@pytest.mark.parametrize(("backbone", "preset", "norms"), [
    ("vilt", "mini", 2 * 6 + 2), ("vilt", "paper", 2 * 12 + 2),  # of the embeddings, and the last one
    ("meter", "mini", (2 * 4 + 1) + (2 * 5 + 2) + 2 * 3 * 3), ("meter", "paper", (2 * 12 + 1) + (2 * 11 + 2) + 2 * 6 * 3),
    ("bert", "mini", 2 * 6 + 1), ("bert", "paper", 2 * 12 + 1)])  # fmt: skip
def test_ln_tuning_has_every_norm(backbone: str, preset: str, norms: int) -> None:
    own, method = assembled(backbone, "ln_tuning", preset, device="meta")
    assert trained(own, method) == norms * 2 * own.sites("layer")[0].width
    assert all(isinstance(layer.get_base_layer(), nn.LayerNorm) for _, layer in injected(own))


@pytest.mark.parametrize("backbone", ALL)
@pytest.mark.parametrize("name", EXTRAS)
def test_they_start_as_the_backbone_and_learn(name: str, backbone: str) -> None:
    plain, (own, method) = assembled(backbone, "head")[0](batch()).pooled, assembled(backbone, name)
    pooled = own(batch()).pooled
    assert_close(pooled, plain)
    parameters = method.trainable(own)
    assert {id(p) for p in parameters} == {id(p) for p in own.model.parameters() if p.requires_grad}
    frozen = [(p, p.clone()) for p in own.model.parameters() if not p.requires_grad]
    optimizer = torch.optim.Adam(parameters, 0.01)
    target = torch.randn_like(pooled) / 2
    losses = []
    for _ in range(6):
        loss = (own(batch()).pooled - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert all(torch.equal(p, before) for p, before in frozen)


@pytest.mark.parametrize("backbone", ALL)
@pytest.mark.parametrize("name", EXTRAS)
def test_they_merge_exactly(name: str, backbone: str) -> None:
    plain = assembled(backbone, "head")[0]
    (own, method), kinds = assembled(backbone, name), [type(module) for module in plain.model.modules()]
    with torch.no_grad():
        for parameter in method.trainable(own):
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
        before = own(batch()).pooled
        assert not torch.allclose(before, plain(batch()).pooled, atol=1e-3)
        assert method.merge(own)
        assert_close(own(batch()).pooled, before)
    assert [type(module) for module in own.model.modules()] == kinds and not method.trainable(own)


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("name", EXTRAS)
def test_costs_are_counted_without_data(name: str, backbone: str) -> None:
    """On the meta device, as full sizes are; what only scales costs nothing."""
    counts = {}
    for method in ("head", name):
        own, _ = assembled(backbone, method, device="meta")
        with torch.device("meta"):
            b = batch()
            counts[method] = macs.counted(lambda own=own, b=b: own(b))
    assert counts["head"] <= counts[name]
    assert (counts[name] == counts["head"]) == (name in ("ia3", "ln_tuning"))


def test_they_are_no_part_of_the_default_grid() -> None:
    found = discover()
    assert all(found.get(name).group == "extras" for name in EXTRAS) and found.get("lora").group == ""


def test_dora_and_oft_act_where_lora_does() -> None:
    own = assembled("meter", "head")[0]
    wanted = set(linears(own, ("query", "value"), "self", "cross"))
    assert len(wanted) == 2 * len(own.sites("self", "cross"))
    for method in (Dora(), OFT()):
        assert set(method.config(own).target_modules) == wanted


def test_a_further_method_of_peft_is_its_configuration() -> None:
    @dataclass
    class OnKeys(Injected):
        name: ClassVar[str] = "on_keys"
        title: ClassVar[str] = "On keys"

        def config(self, backbone: Backbone) -> LoraConfig:
            return LoraConfig(r=2, target_modules=linears(backbone, ("key",), "self"))

    own, method = assembled("vilt", "head")[0], OnKeys()
    method.attach(own)
    assert trained(own, method) == sum(2 * 2 * d for d in widths(own, "self"))
