"""CLIP: equality with the library's model, where texts and pictures are read, sites, the hub, bad input."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from built import assert_close
from clips import END, IMAGES, TEXTS, at_paper_size, batch, mini, pixels, texts, tiny
from torch import Tensor, nn

from suite import backbones
from suite.backbones import clip, shipped
from suite.core import Batch
from suite.data.text import SEP
from suite.errors import UserError
from suite.modules import InsertedPrompt


@pytest.fixture(scope="module")
def backbone() -> clip.CLIP:
    return mini()


def as_the_library_takes(own: clip.CLIP, pictures: Tensor) -> Tensor:
    """Normalised by CLIP's mean and deviation of values from 0 to 1."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (clip.OPENAI_CLIP_MEAN, clip.OPENAI_CLIP_STD))
    return ((pictures + 1) / 2 - mean) / std


def check_against_the_library(own: clip.CLIP, model: nn.Module, pictures: Tensor, ids: tuple[Tensor, Tensor], mask: Tensor) -> None:
    """ids: as the suite's and as the library's model takes them."""
    wanted = model(input_ids=ids[1], attention_mask=mask, pixel_values=as_the_library_takes(own, pictures))
    image, text = own.image_features(pictures), own.text_features(ids[0], mask)
    assert_close(image, wanted.image_embeds)
    assert_close(text, wanted.text_embeds)
    assert_close(own.logit_scale * image @ text.T, wanted.logits_per_image)
    assert_close(own.image_states(pictures), wanted.vision_model_output.last_hidden_state)


@torch.no_grad()
def test_equals_the_library() -> None:
    own, (ids, mask) = tiny(), texts(END)
    check_against_the_library(own, own.model, pixels(32), (ids, ids), mask)
    check_against_the_library(own, own.model, pixels(32), (ids[-1:], ids[-1:]), None)


@torch.no_grad()
def test_the_mini_size_equals_the_library(backbone: clip.CLIP) -> None:
    """Which reads a text at its highest id where the configured end of text is 2, as it is here: the end gets the highest id there."""
    ids, mask = texts()
    model = copy.deepcopy(backbone.model)
    stem = model.vision_model.embeddings.patch_embedding
    stem.weight = stem[0].weight  # the library asks it for its type
    table = model.text_model.embeddings.token_embedding
    highest = len(table.weight)
    table.weight = nn.Parameter(torch.cat([table.weight, table.weight[SEP : SEP + 1]]))
    check_against_the_library(backbone, model, pixels(), (ids, ids.masked_fill(ids == SEP, highest)), mask)


@torch.no_grad()
def test_shapes(backbone: clip.CLIP) -> None:
    b = batch()
    features = backbone(b)
    assert features.pooled.shape == (IMAGES, backbone.width) == (IMAGES, 96) and features.mask.all()
    assert features.tokens.shape == backbone.image_states(b.pixels).shape == (IMAGES, 65, backbone.vision_width)
    assert_close(features.pooled, backbone.image_features(b.pixels))
    assert_close(features.pooled.norm(dim=1), torch.ones(IMAGES))
    stored = backbone.prefix().images(b.pixels)
    assert_close(backbone(Batch(b.input_ids, b.text_mask, None, image_tokens=stored)).pooled, features.pooled)
    assert_close(backbone.image_features(None, stored), features.pooled)
    shared = Batch(b.input_ids, b.text_mask, b.pixels, image_index=torch.tensor([2, 0, 0, 1]))
    assert_close(backbone(shared).pooled, features.pooled[[2, 0, 0, 1]])


@torch.no_grad()
def test_a_text_is_read_at_its_end_wherever_what_is_inserted_moves_it(backbone: clip.CLIP) -> None:
    ids, mask = texts()
    plain = backbone.text_features(ids, mask)
    assert plain.shape == (TEXTS, backbone.width)
    assert_close(plain.norm(dim=1), torch.ones(TEXTS))
    assert_close(backbone.text_features(ids[:1, :6], mask[:1, :6]), plain[:1])
    assert_close(backbone.text_features(ids), plain)  # what stands behind the end is not seen
    behind, front = copy.deepcopy(backbone), copy.deepcopy(backbone)
    behind.sites("sequence")[1].attach("insert.0", InsertedPrompt(2, 96, front=False))
    assert_close(behind.text_features(ids, mask), plain)
    prompt = front.sites("sequence")[1].attach("insert.0", InsertedPrompt(2, 96, front=True))
    prompt.tokens.data.copy_(front.model.text_model.embeddings.token_embedding.weight[[7, 8]])
    longer = torch.cat([torch.tensor([[7, 8]]).expand(TEXTS, 2), ids], 1)
    assert_close(front.text_features(ids, mask), backbone.text_features(longer))


@torch.no_grad()
def test_a_picture_is_read_at_its_class_token(backbone: clip.CLIP) -> None:
    own = copy.deepcopy(backbone)
    own.sites("sequence")[0].attach("insert.2", InsertedPrompt(5, 96, front=False))
    states = own.image_states(pixels())
    assert states.shape == (IMAGES, 70, 96)
    read = own.model.visual_projection(own.model.vision_model.post_layernorm(states[:, 0]))
    assert_close(own.image_features(pixels()), read / read.norm(dim=1, keepdim=True))
    assert not torch.allclose(own.image_features(pixels()), backbone.image_features(pixels()), atol=1e-3)


def test_a_copy_owns_its_layers(backbone: clip.CLIP) -> None:
    own = copy.deepcopy(backbone)
    before = backbone(batch()).pooled
    with torch.no_grad():
        own.model.vision_model.encoder.layers[0].mlp.fc2.weight.zero_()
    assert not torch.equal(own(batch()).pooled, before) and torch.equal(backbone(batch()).pooled, before)


def test_sites_follow_the_forward(backbone: clip.CLIP) -> None:
    sites = backbone.sites("sequence", "layer", "self", "cross", "ffn")
    inside = [f".layer.{i}{part}" for i in range(4) for part in ("", ".self", ".ffn")]
    assert [site.name for site in sites] == [f"{stream}{rest}" for stream in ("image", "text") for rest in (".sequence", *inside)]
    assert {site.norm for site in sites} == {"before"} and {site.width for site in sites} == {96}
    assert {(site.stream, site.length) for site in sites} == {("image", 65), ("text", 8)}
    for site in backbone.sites("self", "ffn"):
        assert all(isinstance(backbone.model.get_submodule(path), nn.Linear) for path in site.linears.values())
        assert clip.STREAMS[site.stream] in next(iter(site.linears.values()))


def test_at_paper_scale() -> None:
    paper = at_paper_size()
    with torch.device("meta"):
        features = paper(Batch(*(torch.zeros(2, 77, dtype=torch.long),) * 2, torch.empty(2, 3, 224, 224)))
        texts = paper.text_features(torch.zeros(5, 77, dtype=torch.long))
    assert features.pooled.shape == (2, 512) and features.tokens.shape == (2, 197, 768) and texts.shape == (5, 512)
    assert sum(p.numel() for p in paper.model.parameters()) == 149_620_737  # of openai/clip-vit-base-patch16
    assert [site.length for site in paper.sites("sequence")] == [197, 77] and [site.width for site in paper.sites("sequence")] == [768, 512]


def test_hub_checkpoints_are_read_from_the_mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tiny()
    own.model.save_pretrained(tmp_path / clip.PRESETS["paper"].checkpoint)
    monkeypatch.setenv("PETLBENCH_MIRROR", str(tmp_path))
    found = clip.CLIP.build("paper")
    assert all(tensor.equal(found.model.state_dict()[name]) for name, tensor in own.model.state_dict().items())
    assert found.end_id == 49407 and found.preset == "paper"


def test_without_hub_and_mirror_the_error_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PETLBENCH_MIRROR", raising=False)
    with pytest.raises(UserError, match="openai/clip-vit-base-patch16 is neither reachable nor below PETLBENCH_MIRROR") as raised:
        clip.CLIP.build("paper")
    assert "\n" not in str(raised.value)


def test_weight_files_go_round(backbone: clip.CLIP, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "clip-mini.safetensors"
    monkeypatch.setattr(shipped, "path_of", lambda name: tmp_path / f"{name}.safetensors")
    with pytest.raises(UserError, match="weight file clip-mini.safetensors is missing"):
        clip.CLIP.build("mini")
    shipped.save(backbone.pretrained_state(), {}, path)
    loaded = clip.CLIP.build("mini")
    assert_close(loaded.eval()(batch()).pooled, backbone(batch()).pooled)
    assert not any(mine.data_ptr() == theirs.data_ptr() for mine, theirs in zip(loaded.parameters(), backbone.parameters()))
    state = backbone.pretrained_state()
    del state["model.logit_scale"]
    with pytest.raises(UserError, match="do not fit clip/mini: 1 missing: model.logit_scale"):
        loaded.load_pretrained(state)


def test_an_unknown_preset_is_named() -> None:
    with pytest.raises(UserError, match="unknown preset 'huge' of clip; there are mini, paper"):
        clip.CLIP.build("huge")
    assert "clip" in backbones.names() and backbones.load("clip") is clip.CLIP


@pytest.mark.parametrize("wrong", [
    torch.zeros(2, 3, 32, 32), torch.zeros(2, 1, 64, 64), torch.zeros(2, 64, 64, 3), torch.zeros(2, 3, 64, 64, dtype=torch.uint8)
], ids=["size", "grey", "channels last", "bytes"])  # fmt: skip
def test_pictures_of_another_shape_or_type_are_refused(backbone: clip.CLIP, wrong: Tensor) -> None:
    with pytest.raises(UserError, match="clip/mini takes pictures of 3 x 64 x 64 floating-point numbers, not"):
        backbone.image_features(wrong)


@torch.no_grad()
def test_a_text_beyond_the_positions_is_refused(backbone: clip.CLIP) -> None:
    ids = torch.full((1, 32), 7)
    ids[:, -1] = SEP
    assert backbone.text_features(ids).shape == (1, 96)
    own = copy.deepcopy(backbone)
    own.sites("sequence")[1].attach("insert.0", InsertedPrompt(1, 96, front=True))
    for model, text in ((backbone, torch.cat([ids[:, :1], ids], 1)), (own, ids)):
        with pytest.raises(UserError, match="a text of 33 tokens is longer than the 32 positions of clip/mini"):
            model.text_features(text)
