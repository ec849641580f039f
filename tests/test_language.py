"""What BERT, T5 and LLaMA have in common: pictures, the vision tower, weights, the hub, bad input."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from built import assert_close
from languages import TEXTS, TINY, Prompting, Vision, batch, hub_folder, no_tower, tiny_bert

from suite import backbones
from suite.backbones import language, shipped
from suite.backbones.clip import CLIP
from suite.backbones.language import LanguageModel
from suite.core import Batch
from suite.data import text
from suite.errors import UserError

__all__ = ["no_tower"]
NAMES = sorted(TINY)


def see(own: LanguageModel, layer: int = 1) -> Prompting:
    """Put a visual prompt into the sequence that takes one."""
    return own.sites("sequence")[-1].attach(f"visual.{layer}", Prompting(own.width))


def tiny(name: str, *, layer: int | None = None) -> LanguageModel:
    own = TINY[name]().eval()
    if layer is not None:
        see(own, layer)
    return own


def mini(name: str, **options: bool) -> LanguageModel:
    torch.manual_seed(0)
    return backbones.load(name).build("mini", **{"pretrained": False, "vision": False} | options).eval()


@torch.no_grad()
@pytest.mark.parametrize("name", NAMES)
def test_without_a_visual_tap_no_picture_is_looked_at(name: str) -> None:
    own, b = tiny(name), batch()
    plain = own(b).pooled
    assert torch.equal(own(replace(b, pixels=None)).pooled, plain) and own.vision.asked == 0
    tap = see(own)
    own.sequence.placed = 2
    assert torch.equal(own(b).pooled, plain) and own.vision.asked == 0 and not tap.given
    own.sequence.placed = 1
    assert not torch.allclose(own(b).pooled, plain, atol=1e-3) and own.vision.asked == TEXTS and len(tap.given) == 1


@torch.no_grad()
@pytest.mark.parametrize("name", NAMES)
def test_pictures_may_be_shared_stored_or_lacking(name: str) -> None:
    own, b = tiny(name, layer=1), batch(images=2)
    index = torch.tensor([1, 0, 0, 1])
    shared = own(replace(b, image_index=index)).pooled
    assert own.vision.asked == 2
    assert_close(shared, own(replace(b, pixels=b.pixels[index])).pooled)
    stored = own.prefix().images(b.pixels)
    assert_close(own(replace(b, pixels=None, image_tokens=stored, image_index=index)).pooled, shared)
    lacking = own(replace(b, image_index=torch.tensor([1, -1, 0, -1]))).pooled
    assert_close(lacking[[0, 2]], shared[[0, 2]])
    without = own(replace(b, pixels=None)).pooled
    assert_close(lacking[[1, 3]], without[[1, 3]])
    assert_close(own(replace(b, pixels=b.pixels[:0], image_index=torch.full((TEXTS,), -1))).pooled, without)


@torch.no_grad()
@pytest.mark.parametrize("name", NAMES)
def test_a_text_without_a_picture_does_not_see_its_prompt(name: str) -> None:
    own, b = tiny(name), replace(batch(), pixels=None)
    plain = own(b).pooled
    tap = see(own)
    tap.kind.zero_()
    features = own(b)
    assert_close(features.pooled, plain)
    assert not features.mask[:, 0].any() and len(tap.given) == 1


@torch.no_grad()
@pytest.mark.parametrize("name", ["bert", "llama"])
def test_padding_does_not_change_a_text(name: str) -> None:
    """But T5's, whose picture is asked for with the mean over padding too."""
    own, b = tiny(name, layer=0), batch()
    short = Batch(b.input_ids[:1, :3], b.text_mask[:1, :3], b.pixels[:1])
    assert_close(own(short).pooled, own(b).pooled[:1])


@pytest.mark.parametrize("name", NAMES)
def test_a_copy_owns_its_layers_and_its_tower(name: str) -> None:
    first = tiny(name, layer=1)
    own, b = copy.deepcopy(first), batch()
    before = first(b).pooled
    with torch.no_grad():
        own.vision.map.weight.zero_()
        assert not torch.equal(own(b).pooled, before)
        for parameter in own.model.parameters():
            parameter.zero_()
    assert torch.equal(first(b).pooled, before)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_reach_prompt_and_layers_but_not_the_tower(name: str) -> None:
    own = tiny(name, layer=1)
    own(batch()).pooled.sum().backward()
    assert all(p.grad is None for p in own.vision.parameters()) and own.prefix().parameters == list(own.vision.parameters())
    assert all(p.grad.abs().sum() > 0 for p in own.attached.parameters())
    assert own.always_trained() == [] and any(p.grad is not None for p in own.model.parameters())


@torch.no_grad()
def test_the_vision_tower_is_clips() -> None:
    """All tokens behind its last layer; its weights belong to the backbone's hash, its text tower does not."""
    torch.manual_seed(1)
    own = mini("bert", vision=True)
    torch.manual_seed(1)
    pixels = torch.rand(2, 3, 64, 64) * 2 - 1
    clip = CLIP.build("mini", pretrained=False).eval()
    own.vision.model.load_state_dict(clip.model.vision_model.state_dict())
    assert_close(own.prefix().images(pixels), clip.image_states(pixels))
    assert own.prefix().images(pixels).shape == (2, 65, own.vision_width) == (2, 65, 96)
    held = {key for key in own.state_dict() if key.startswith("vision.")}
    assert held == {f"vision.model.{key}" for key in clip.model.vision_model.state_dict()}
    assert not any(key.startswith("vision") for key in own.pretrained_state()) and not any(p.requires_grad for p in own.vision.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_weight_files_go_round(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipped, "path_of", lambda what: tmp_path / f"{what}.safetensors")
    with pytest.raises(UserError, match=f"weight file {name}-mini.safetensors is missing"):
        backbones.load(name).build("mini")
    own, b = mini(name), batch()
    shipped.save(own.pretrained_state(), {}, tmp_path / f"{name}-mini.safetensors")
    with pytest.raises(UserError, match=r"CLIP's image tower: weight file clip-mini\.safetensors is missing") as raised:
        backbones.load(name).build("mini")
    assert "\n" not in str(raised.value)
    shipped.save(CLIP.build("mini", pretrained=False).pretrained_state(), {}, tmp_path / "clip-mini.safetensors")
    loaded = backbones.load(name).build("mini").eval()
    (mine,), (theirs,) = own.heads.values(), loaded.heads.values()
    assert_close(theirs(loaded(b).pooled), mine(own(b).pooled))
    state = own.pretrained_state()
    lost = min(state)
    del state[lost]
    with pytest.raises(UserError, match=f"weights do not fit {name}/mini: 1 missing: {lost}"):
        loaded.load_pretrained(state)


@torch.no_grad()
@pytest.mark.parametrize("name", NAMES)
def test_hub_checkpoints_are_read_from_the_mirror(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full, b = hub_folder(name, tmp_path), batch()
    monkeypatch.setenv("PETLBENCH_MIRROR", str(tmp_path))
    own = backbones.load(name).build("paper", vision=False).eval()
    b.text_mask = None
    if name == "t5":
        own.shared_bias = True
        wanted = full(input_ids=b.input_ids, decoder_input_ids=torch.zeros(TEXTS, 1, dtype=torch.long)).logits
    else:
        wanted = full(input_ids=b.input_ids).logits
    (head,) = own.heads.values()
    assert_close(head(own(b).tokens), wanted)
    assert {p.dtype for p in own.parameters()} == {torch.float32}


@pytest.mark.parametrize("name", NAMES)
def test_hub_errors_are_one_line(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = backbones.load(name)
    checkpoint = kind.sizes["paper"].checkpoint
    monkeypatch.setenv("PETLBENCH_MIRROR", str(tmp_path))
    with pytest.raises(UserError, match=f"checkpoint {checkpoint} is neither reachable nor below PETLBENCH_MIRROR") as raised:
        kind.build("paper")
    assert "\n" not in str(raised.value)
    hub_folder(name, tmp_path)
    (tmp_path / checkpoint / "model.safetensors").write_bytes(b"nonsense")
    with pytest.raises(UserError, match=f"checkpoint {checkpoint} is damaged or of another model") as raised:
        kind.build("paper")
    assert "\n" not in str(raised.value)


def test_a_checkpoint_that_lacks_a_tensor_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = hub_folder("bert", tmp_path)
    state = {key: tensor.clone() for key, tensor in full.state_dict().items() if "layer.1.output.dense.weight" not in key}
    full.save_pretrained(tmp_path / "bert-base-uncased", state_dict=state)
    monkeypatch.setenv("PETLBENCH_MIRROR", str(tmp_path))
    said = r"weights do not fit BertForMaskedLM in checkpoint bert-base-uncased: 1 missing: bert\.encoder\.layer\.1\.output\.dense\.weight"
    with pytest.raises(UserError, match=said):
        backbones.load("bert").build("paper")


@pytest.mark.parametrize("name", NAMES)
def test_an_unknown_preset_is_named(name: str) -> None:
    with pytest.raises(UserError, match=f"unknown preset 'huge' of {name}; there are mini, .*paper"):
        backbones.load(name).build("huge")
    assert name in backbones.names() and "language" not in backbones.names()


@torch.no_grad()
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("masked", [True, False])
def test_an_empty_question_is_refused(name: str, masked: bool) -> None:
    own = mini(name)
    ids, lengths = text.tokenize(["how many stars ?", "", "a star"])
    mask = torch.from_numpy((np.arange(ids.shape[1]) < lengths[:, None]).astype(np.int64)) if masked else None
    with pytest.raises(UserError, match=f"text 1 of a batch for {name}/mini is empty: no word between its marks"):
        own(Batch(torch.from_numpy(ids), mask, None))
    kept = [0, 2]
    assert own(Batch(torch.from_numpy(ids[kept]), None if mask is None else mask[kept], None)).pooled.shape == (2, 96)


@torch.no_grad()
@pytest.mark.parametrize("name", ["bert", "llama"])
def test_a_text_beyond_the_positions_is_refused(name: str) -> None:
    own = mini(name)
    ids = torch.full((1, 65), 7)
    assert own(Batch(ids[:, :64], None, None)).pooled.shape == (1, 96)
    with pytest.raises(UserError, match=f"a text of 65 tokens is longer than the 64 positions of {name}/mini"):
        own(Batch(ids, None, None))


def test_t5_reads_texts_of_any_length() -> None:
    assert mini("t5")(Batch(torch.full((1, 65), 7), None, None)).pooled.shape == (1, 96)


@torch.no_grad()
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(32, 32), (1, 64, 64)], ids=["size", "grey"])
def test_pictures_of_another_size_or_mode_are_refused(name: str, shape: tuple[int, ...]) -> None:
    own = mini(name, vision=True)
    own.sites("sequence")[-1].attach("visual.0", Prompting(96))
    pixels = torch.zeros(TEXTS, *(shape if len(shape) == 3 else (3, *shape)))
    with pytest.raises(UserError, match="clip/mini takes pictures of 3 x 64 x 64 floating-point numbers, not") as raised:
        own(replace(batch(), pixels=pixels))
    assert "\n" not in str(raised.value)


@pytest.mark.usefixtures("no_tower")
def test_build_gives_the_tower_where_it_is_asked_for() -> None:
    assert isinstance(backbones.load("bert").build("mini", pretrained=False).vision, Vision)
    assert mini("bert").vision is None and mini("bert").prefix() is None and tiny_bert().prefix() is not None
    assert language.Preset(config={"vocab_size": 7}, length=1, checkpoint="x").sizes() == {"vocab_size": 7}
