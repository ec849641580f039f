"""LLaMA in LaVIN's form: its sequence, its tower, LaVIN's adapters and DAS on it."""

from __future__ import annotations

import dataclasses
from typing import Any

import clips
import numpy as np
import pytest
import torch
from built import assert_close
from languages import stir
from torch import Tensor

from baselines.bitfit import BitFit
from baselines.lavin import Lavin
from baselines.prompt import ShallowPrompt
from methods.das import DAS
from suite import backbones
from suite.backbones.lavin import ClassTokens, LaVIN
from suite.core import Batch, Method, freeze
from suite.errors import UserError
from suite.router import Router, RouterAdapter

BESIDE = 1024 * 128 + 128 + 128 * 4096 + 4096 + 2 * 4096
"""Map and modality at paper size."""


def assembled(method: Method | None = None, plan: dict[str, Any] | None = None, preset: str = "mini", device: str = "cpu") -> LaVIN:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    own = LaVIN.build(preset, pretrained=False, device=device)
    freeze(own)
    with torch.device(device):
        if method is not None:
            method.attach(own, plan)
    return own.eval()


def batch(texts: int = 4, pictures: int = 4) -> Batch:
    """Texts of different lengths, [SEP] last."""
    generator = torch.Generator().manual_seed(1)
    lengths = torch.arange(texts) % 6 + 3
    mask = (torch.arange(9) < lengths[:, None]).long()
    ids = torch.randint(5, 300, (texts, 9), generator=generator)
    ids[torch.arange(texts), lengths - 1] = 2
    return Batch(ids * mask, mask, torch.rand(pictures, 3, 64, 64, generator=generator) * 2 - 1)


def test_equals_the_library_on_the_same_embeddings() -> None:
    own, b = assembled(), batch()
    stir(own.model, 0.2)
    found = own(b)
    images = own.projection(own.vision.image_states(b.pixels))
    x = torch.cat([own.modality.weight[1].expand(4, 1, -1), images, own.model.embed_tokens(b.input_ids)], 1)
    mask = torch.cat([torch.ones(4, 5, dtype=torch.long), b.text_mask], 1)
    wanted = own.model(inputs_embeds=x, attention_mask=mask, use_cache=False).last_hidden_state
    assert found.tokens.shape[1] == 1 + 4 + 9 and torch.equal(found.mask, mask.bool())
    assert_close(found.tokens[found.mask], wanted[found.mask])
    assert_close(found.pooled, wanted[torch.arange(4), 4 + b.text_mask.sum(1)])


def test_a_text_without_a_picture_sees_none() -> None:
    own, b = assembled(), batch(4, 2)
    index = torch.tensor([0, -1, 1, -1])
    mixed = own(dataclasses.replace(b, image_index=index)).pooled
    other = own(dataclasses.replace(b, image_index=index, pixels=b.pixels.flip(0) / 2)).pooled
    alone = own(dataclasses.replace(b, pixels=None)).pooled
    assert_close(mixed[[1, 3]], other[[1, 3]])
    assert_close(mixed[[1, 3]], alone[[1, 3]])
    assert not torch.allclose(mixed[[0, 2]], other[[0, 2]], atol=1e-4)


def test_the_tower_is_a_prefix() -> None:
    own, b = assembled(), batch()
    prefix = own.prefix()
    stored = dataclasses.replace(b, pixels=None, image_tokens=prefix.images(b.pixels))
    assert stored.image_tokens.shape == (4, 4, 96) and prefix.texts is None
    assert torch.equal(own(stored).pooled, own(b).pooled)
    assert {id(p) for p in prefix.parameters} == {id(p) for p in own.vision.parameters()}


def test_image_tokens_are_class_tokens_of_several_depths() -> None:
    clip = clips.tiny()
    pixels = torch.rand(2, 3, 32, 32)
    states = clip.model.vision_model(pixels * clip.pixel_scale + clip.pixel_shift, output_hidden_states=True).hidden_states
    found = ClassTokens(clip, 2).image_states(pixels)
    assert_close(found, torch.stack([state[:, 0] for state in states[1:]], 1))
    paper = assembled(preset="paper", device="meta").vision
    with torch.device("meta"):
        assert paper.image_states(torch.empty(1, 3, 224, 224)).shape == (1, 6, 1024)


def test_what_is_trained_and_stored() -> None:
    own = assembled(preset="paper", device="meta")
    assert sum(p.numel() for p in own.always_trained()) == BESIDE == 667_776
    names = set(assembled().pretrained_state())
    assert {"modality.weight", "projection.0.weight", "projection.2.bias", "heads.lm.weight"} <= names
    assert not [name for name in names if name.startswith("vision")]
    state = assembled().pretrained_state()
    own = assembled()
    own.load_pretrained({name: tensor + 1 for name, tensor in state.items()})
    assert torch.equal(own.modality.weight, state["modality.weight"] + 1)
    with pytest.raises(UserError, match="modality"):
        own.load_pretrained({name: tensor for name, tensor in state.items() if name != "modality.weight"})


def test_an_unreachable_checkpoint_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("PETLBENCH_MIRROR", str(tmp_path))
    with pytest.raises(UserError, match="llama-7b") as error:
        LaVIN.build("paper")
    assert "\n" not in str(error.value)


def sizes(method: Method, plan: dict[str, Any] | None = None) -> int:
    own = assembled(method, plan, "paper", "meta")
    return sum(p.numel() for p in method.trainable(own))


def test_sizes_at_paper_scale() -> None:
    """papers.md section 6: 3.781M in all, of which 0.492M are the adapters in CLIP; 196,632 more a skipped layer."""
    lavin = sizes(Lavin())
    assert lavin + BESIDE == 3_781_296
    for skipped in (2, 4, 6):
        assert sizes(DAS(), {"skipped": list(range(20, 20 + skipped))}) == lavin + skipped * 196_632


@pytest.mark.parametrize("method", [Lavin(), DAS()], ids=["lavin", "das"])
def test_the_tower_has_adapters_at_the_published_size_only(method: Method) -> None:
    small, own = assembled(method, {"skipped": [3]} if method.name == "das" else None), assembled()
    assert not any(name.startswith("tower/") for name in small.attached) and small.prefix() is not None
    own.preset = "paper"
    method.attach(own, {"skipped": [3]} if method.name == "das" else None)
    found = [module for name, module in own.attached.items() if name.startswith("tower/image/")]
    clip = own.vision._clip[0]
    assert len(found) == len(clip.layers["image"]) and not clip.attached and own.prefix() is None
    assert [layer.self_attention.taps["input"] for layer in clip.layers["image"]] == [[module] for module in found]
    assert {id(p) for module in found for p in module.parameters()} <= {id(p) for p in method.trainable(own)}
    before = own.vision.image_states(batch().pixels)
    torch.nn.init.normal_(found[0].up_b.weight)
    assert not torch.allclose(own.vision.image_states(batch().pixels), before, atol=1e-4)


@pytest.mark.parametrize("method", [Lavin(), DAS()], ids=["lavin", "das"])
def test_adapters_start_as_the_backbone(method: Method) -> None:
    plain, own = assembled(), assembled(method)
    own.load_state_dict(plain.state_dict(), strict=False)
    assert torch.equal(own(batch()).pooled, plain(batch()).pooled)


def test_a_skipped_layer_is_its_router_alone() -> None:
    method = DAS()
    own = assembled(method, {"skipped": [3]})
    assert method.resolved() | {"bottleneck": 8, "skip_bottleneck": 32, "skip": 1, "warmup_epochs": 5, "rate": 0.05} == method.resolved()
    taps = [layer.self_attention.taps.get("input", []) for layer in own.layers]
    assert [len(tap) for tap in taps] == [1, 1, 1, 0, 1, 1] and isinstance(taps[0][0], RouterAdapter)
    router = own.layers[3].replacement
    assert type(router) is Router and not any(layer.ffn.taps for layer in own.layers)
    calls: list[int] = []
    own.model.layers[3].mlp.register_forward_hook(lambda *_: calls.append(1))
    torch.nn.init.normal_(router.up_b.weight)
    states: list[Tensor] = []
    for layer in own.layers[3:5]:
        read = layer.self_attention.read
        layer.self_attention.read = lambda x, read=read: states.append(x) or read(x)  # type: ignore[method-assign]
    own(batch())
    assert not calls
    assert_close(states[1], states[0] + router(own.model.layers[3].input_layernorm(states[0])))


class Trial:
    """core.Trial in which skipping layer 2 costs least; a reward batch is fresh in the official protocol too."""

    official = True

    def __init__(self) -> None:
        self.rng, self.epochs, self.steps_per_epoch = np.random.default_rng(0), 10, 30
        self.trace: dict[str, Any] = {}
        self.steps, self.fresh = 0, []

    def train_step(self, choice: Any) -> float:
        self.steps += 1
        return 0.0

    def new_batch(self) -> None:
        self.fresh.append(self.steps)

    def reward_loss(self, choice: Any) -> float:
        return 0.1 if 2 in choice else 2.0


def test_the_search_of_lavin_warms_up_for_half_its_epochs() -> None:
    method, trial = DAS(), Trial()
    assembled(method)
    assert method.search(trial) == {"skipped": [2]}
    assert trial.steps == 300 and trial.fresh[0] == 5 * 30 + 1 and len(trial.fresh) == trial.trace["updates"] == 150


def test_routers_need_the_modality_token() -> None:
    for name in ("bert", "llama", "vilt"):
        assert "routes" in Lavin().not_applicable(backbones.load(name).build("mini", pretrained=False, device="meta"), "world-vqa")


def test_bitfit_has_nothing_to_train_there() -> None:
    assert BitFit().not_applicable(assembled(), "world-science") == "the backbone has no biases of its own"


@torch.no_grad()
def test_the_read_out_of_lavin_stays_at_the_end_of_the_text() -> None:
    """Texts of different lengths in one batch are read as each of them alone, which has no padding to be read by mistake."""
    own, b = assembled(ShallowPrompt(length=3)), batch()
    torch.nn.init.normal_(own.attached["sequence/insert/0/0"].tokens)
    together = own(b).pooled
    for i, length in enumerate(b.text_mask.sum(1).tolist()):
        alone = Batch(b.input_ids[i : i + 1, :length], b.text_mask[i : i + 1, :length], b.pixels[i : i + 1])
        assert_close(own(alone).pooled, together[i : i + 1])
    plain = assembled()(b).pooled
    with pytest.raises(AssertionError):
        assert_close(together, plain)
