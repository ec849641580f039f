"""Stable Diffusion: equality with the library's UNet, sites, sampling, the paper preset without data, bad input."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from built import assert_close
from diffusions import TEXTS, at_paper_size, generators, mini, noisy, saved, shake, texts, tuned
from torch import nn

from baselines.full import Full
from baselines.head import Head
from baselines.lora import Lora
from baselines.prompt import DeepPrompt, ShallowPrompt
from methods.apt import APT
from suite import backbones, macs
from suite.backbones import stable_diffusion
from suite.backbones.stable_diffusion import StableDiffusion
from suite.core import Method
from suite.errors import UserError

METHODS = {"full": Full, "lora": Lora, "apt": APT}


@pytest.fixture(scope="module")
def backbone() -> StableDiffusion:
    own = mini()
    shake(own.model)
    return own


@torch.no_grad()
@pytest.mark.parametrize("masked", [True, False])
def test_the_unet_equals_the_librarys(backbone: StableDiffusion, masked: bool) -> None:
    library = UNet2DConditionModel(**stable_diffusion.PRESETS["mini"].unet).eval()
    library.load_state_dict(backbone.model.state_dict())
    ids, mask = texts()
    states, (z, t) = backbone.text_states(ids), noisy()
    shown = mask if masked else None
    found = backbone.predict(z, t, states, shown)
    assert_close(found, library(z, t, states, encoder_attention_mask=shown).sample)
    assert found.shape == z.shape and (not masked or not torch.allclose(found, backbone.predict(z, t, states), atol=1e-4))


@torch.no_grad()
def test_padding_changes_nothing(backbone: StableDiffusion) -> None:
    ids, mask = texts()
    length, (z, t) = int(mask[0].sum()), noisy(1)
    alone = backbone.predict(z, t, backbone.text_states(ids[:1, :length]))
    assert_close(backbone.predict(z, t, backbone.text_states(ids[:1]), mask[:1]), alone)
    stored = backbone.prefix().texts(ids, mask)
    assert_close(stored[0, :length], backbone.text_states(ids[:1, :length])[0])


def test_sites_follow_the_forward(backbone: StableDiffusion) -> None:
    sites = backbone.sites("self", "cross", "ffn")
    assert [site.name for site in sites] == [f"layer.{i}.{kind}" for i in range(4) for kind in ("self", "cross", "ffn")]
    assert not backbone.sites("sequence", "layer") and backbone.always_trained() == []
    order, handles = [], []
    for site in sites:
        assert site.target.owner is backbone.model.get_submodule(site.target.path)
        module = backbone.model.get_submodule(site.linears["out"])
        handles.append(module.register_forward_hook(lambda _, args, out, site=site: order.append((site.name, out.shape[1:]))))
        assert all(isinstance(backbone.model.get_submodule(path), nn.Linear) for path in site.linears.values())
    ids, mask = texts()
    with torch.no_grad():
        backbone.predict(*noisy(), backbone.text_states(ids), mask)
    for handle in handles:
        handle.remove()
    assert order == [(site.name, (site.length, site.width)) for site in sites]


@pytest.mark.parametrize("position", ["input", "output"])
@pytest.mark.parametrize("kind", ["self", "cross", "ffn"])
def test_what_is_attached_acts(kind: str, position: str) -> None:
    class Tap(nn.Module):
        def forward(self, x: torch.Tensor, *rest: torch.Tensor) -> torch.Tensor:
            seen.append([x.shape, *(r.shape for r in rest)])
            return 2 * x

    own, seen = mini(), []
    site, (ids, mask) = own.sites(kind)[1], texts()
    with torch.no_grad():
        states = own.text_states(ids)
        before = own.predict(*noisy(), states, mask)
        site.attach(position, Tap())
        after = own.predict(*noisy(), states, mask)
    assert seen == [[(TEXTS, site.length, site.width)] * (2 if position == "output" else 1)] and not torch.allclose(before, after)
    with pytest.raises(ValueError, match="no position"):
        site.attach("after_norm", Tap())


def test_extra_keys_go_into_self_attention_alone(backbone: StableDiffusion) -> None:
    assert all(("key_value" in site.target.positions) == (site.kind == "self") for site in backbone.sites("self", "cross", "ffn"))


@pytest.mark.parametrize("kind", METHODS.values(), ids=METHODS)
def test_a_training_step_of_each_method(kind: type[Method]) -> None:
    method = kind()
    own = tuned(method)
    ids, mask = texts()
    states, (z, t) = own.text_states(ids), noisy()
    optim = torch.optim.AdamW(method.trainable(own), lr=1e-3)
    losses = []
    for _ in range(4):
        loss = (own.predict(z, t, states, mask) - 1).square().mean()
        loss.backward()
        optim.step()
        optim.zero_grad()
        losses.append(loss.item())
    assert all(p.isfinite().all() for p in own.parameters()) and losses[-1] < losses[0]
    assert not any(p.requires_grad for p in own.text_model.parameters())
    if kind is not Full:
        frozen = [p for name, p in own.model.named_parameters() if "lora" not in name]
        assert not any(p.requires_grad for p in frozen)


def test_what_makes_no_sense_is_told(backbone: StableDiffusion) -> None:
    reasons = {kind.name: kind().not_applicable(backbone, "world-subject") for kind in (*METHODS.values(), Head, ShallowPrompt, DeepPrompt)}
    assert [name for name, reason in reasons.items() if reason is None] == list(METHODS)
    assert "no head" in reasons["head"] and "no sequence" in reasons["prompt_shallow"] and "text states" in reasons["prompt_deep"]
    other = backbones.load("vilt").build("mini", pretrained=False)
    assert not any(kind().not_applicable(other, "world-vqa") for kind in (Head, ShallowPrompt, DeepPrompt))


def test_apt_has_one_prompt_an_attention_output() -> None:
    own = tuned(APT())
    assert len(own.attached) == 8 and all(key.endswith(f"output/{i}") for i, key in enumerate(own.attached))


def test_lora_acts_on_queries_and_values_and_can_be_folded_in() -> None:
    method = Lora(dropout=0.0)
    own = tuned(method)
    assert len(method.trainable(own)) == 2 * 2 * 8
    for p in method.trainable(own):
        nn.init.normal_(p, std=0.1)
    ids, mask = texts()
    with torch.no_grad():
        states = own.text_states(ids)
        wanted = own.predict(*noisy(), states, mask)
        assert method.merge(own)
        assert_close(own.predict(*noisy(), states, mask), wanted)


def test_a_copy_owns_its_blocks(backbone: StableDiffusion) -> None:
    own, (ids, mask) = copy.deepcopy(backbone), texts()
    with torch.no_grad():
        states = backbone.text_states(ids)
        before = backbone.predict(*noisy(), states, mask)
        for site in own.sites("cross", "ffn"):
            own.model.get_submodule(site.linears["out"]).weight.zero_()
        assert not torch.allclose(own.predict(*noisy(), states, mask), before)
        assert torch.equal(backbone.predict(*noisy(), states, mask), before)


def test_samples_depend_on_text_and_generator_alone(backbone: StableDiffusion) -> None:
    ids, mask = texts()
    states = backbone.text_states(ids)
    one = backbone.sample(states, mask, 3, generators(), 2.0)
    assert one.shape == (TEXTS, 3, 32, 32) and one.abs().max() <= 1
    assert torch.equal(one, backbone.sample(states, mask, 3, generators(), 2.0))
    torch.testing.assert_close(backbone.sample(states[1:2], mask[1:2], 3, generators()[1:2], 2.0)[0], one[1], atol=1e-3, rtol=0)
    assert not torch.allclose(backbone.sample(states, mask, 3, generators()[::-1], 2.0), one)
    plain = backbone.sample(states, mask, 3, generators(), 1.0)
    assert not torch.allclose(plain, one) and not torch.allclose(backbone.sample(states.flip(0), mask.flip(0), 3, generators(), 1.0), plain)


def test_guidance_starts_from_the_empty_text(backbone: StableDiffusion) -> None:
    empty = torch.tensor([backbone.empty])
    states = backbone.text_states(empty)
    found = backbone.sample(states, torch.ones_like(empty), 3, generators(1), 5.0)
    torch.testing.assert_close(found, backbone.sample(states, torch.ones_like(empty), 3, generators(1), 1.0), atol=1e-3, rtol=0)


def test_a_perfect_prediction_gives_the_picture_back(backbone: StableDiffusion, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(3)) * 2 - 1
    z = backbone.latents(picture)
    assert torch.equal(backbone.pixels(z), picture)

    def perfect(noisy: torch.Tensor, t: torch.Tensor, *_: object) -> torch.Tensor:
        alpha = backbone.schedule.alphas_cumprod[t].view(-1, 1, 1, 1)
        noise = (noisy - alpha.sqrt() * z) / (1 - alpha).sqrt()
        return backbone.target(z.expand_as(noisy), t, noise)

    monkeypatch.setattr(backbone, "predict", perfect)
    states, mask = backbone.text_states(torch.tensor([backbone.empty])), torch.ones(1, 2, dtype=torch.long)
    torch.testing.assert_close(backbone.sample(states, mask, 10, generators(1), 1.0), picture, atol=0.02, rtol=0)


def test_noise_grows_with_the_timestep(backbone: StableDiffusion) -> None:
    z = torch.ones(1, 12, 16, 16)
    first, last = (backbone.noise(z, torch.tensor([t]), torch.zeros_like(z)).mean().item() for t in (0, backbone.timesteps - 1))
    assert first > 0.99 and last < 0.01


def test_paper_preset_runs_on_meta() -> None:
    own = at_paper_size()
    assert sum(p.numel() for p in own.model.parameters()) == 859_520_964 and len(own.sites("self", "cross")) == 32
    assert own.papers_input() == (77, 512, 512) and mini().papers_input() is None
    with torch.device("meta"):
        z, states = own.latents(torch.empty(1, 3, 512, 512)), own.text_states(torch.zeros(1, 77, dtype=torch.long))
        assert z.shape == (1, 4, 64, 64) and states.shape == (1, 77, 768) and own.pixels(z).shape == (1, 3, 512, 512)
        found = macs.counted(lambda: own.predict(z, torch.zeros(1, dtype=torch.long), states))
    assert found == pytest.approx(401.6e9, rel=1e-3)  # design.md section 7


def test_a_checkpoint_from_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = stable_diffusion.PRESETS["paper"].checkpoint
    own = saved(str(tmp_path / name))
    monkeypatch.setenv("PETLBENCH_MIRROR", str(tmp_path))
    read = StableDiffusion.build("paper").eval()
    z, states = torch.randn(2, 4, 8, 8), own.text_states(torch.tensor([[58, 3, 59], [58, 4, 59]]))
    assert_close(read.text_states(torch.tensor([[58, 3, 59], [58, 4, 59]])), states)
    with torch.no_grad():
        assert_close(read.predict(z, torch.tensor([0, 500]), states), own.predict(z, torch.tensor([0, 500]), states))
        assert_close(read.pixels(z), own.pixels(z))


def test_a_checkpoint_that_cannot_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delenv("PETLBENCH_MIRROR", raising=False)
    with pytest.raises(UserError, match="stable-diffusion-v1-5 is neither reachable nor below PETLBENCH_MIRROR") as caught:
        StableDiffusion.build("paper")
    assert "\n" not in str(caught.value)


def test_weights_go_round() -> None:
    own, other = mini(), StableDiffusion.build("mini", pretrained=False)
    state = own.pretrained_state()
    other.load_pretrained(state)
    assert all(torch.equal(tensor, state[key]) for key, tensor in other.pretrained_state().items())
    with pytest.raises(UserError, match="weights do not fit stable_diffusion/mini"):
        other.load_pretrained({key: tensor for key, tensor in state.items() if "conv_in" not in key})


@pytest.mark.parametrize("pixels", [torch.zeros(1, 3, 64, 64), torch.zeros(1, 1, 32, 32), torch.zeros(1, 3, 32, 32, dtype=torch.uint8)],
                         ids=["size", "mode", "type"])  # fmt: skip
def test_a_wrong_picture_is_refused(backbone: StableDiffusion, pixels: torch.Tensor) -> None:
    with pytest.raises(UserError, match="takes pictures of 3 x 32 x 32 floating-point numbers, not"):
        backbone.latents(pixels)


def test_a_text_that_is_too_long_is_refused(backbone: StableDiffusion) -> None:
    with pytest.raises(UserError, match="a text of 33 tokens is longer than the 32 positions of stable_diffusion/mini"):
        backbone.text_states(torch.ones(1, 33, dtype=torch.long))


def test_unknown_preset() -> None:
    assert "stable_diffusion" in backbones.names() and "unet" not in backbones.names()
    with pytest.raises(UserError, match="unknown preset 'midi'"):
        StableDiffusion.build("midi")
