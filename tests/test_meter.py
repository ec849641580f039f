"""METER: equality with the library's layers and towers, masks, shared pictures, class token, sites."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from built import assert_close
from meters import TEXTS, WORDS, at_paper_size, batch, mini, tiny
from torch import Tensor, nn

from suite.backbones import meter
from suite.core import Batch


@pytest.fixture(scope="module")
def backbone() -> meter.METER:
    return mini()


def additive(mask: Tensor) -> Tensor:
    return (~mask[:, None, None, :]).float() * torch.finfo(torch.float32).min


@torch.no_grad()
def test_fusion_equals_the_librarys_layers() -> None:
    own, b = tiny().eval(), batch()
    x, y = torch.randn(TEXTS, WORDS, 16), torch.randn(TEXTS, 5, 16)
    text_mask, image_mask = b.text_mask.bool(), torch.ones(TEXTS, 5, dtype=torch.bool)
    features = own.encode(x, y, text_mask)
    masks = additive(text_mask), additive(image_mask)
    for text_layer, image_layer in zip(own.model.cross_modal_text_layers, own.model.cross_modal_image_layers, strict=True):
        x, y = text_layer(x, masks[0], y, masks[1]), image_layer(y, masks[1], x, masks[0])
    assert_close(features.tokens, torch.cat([x, y], 1))
    assert_close(features.pooled, torch.cat([own.model.cross_modal_text_pooler(x), own.model.cross_modal_image_pooler(y)], 1))
    assert features.mask.equal(torch.cat([text_mask, image_mask], 1))


@torch.no_grad()
def test_the_text_tower_equals_the_librarys() -> None:
    own, b = tiny().eval(), batch()
    wanted = own.model.text_transformer(input_ids=b.input_ids, attention_mask=b.text_mask).last_hidden_state
    assert_close(own.text_tokens(b.input_ids, b.text_mask.bool()), own.model.cross_modal_text_transform(wanted))


@torch.no_grad()
@pytest.mark.parametrize("sides", [(32, 32), (64, 48)], ids=["its own size", "positions interpolated"])
def test_the_image_tower_equals_the_librarys(sides: tuple[int, int]) -> None:
    """Whose pictures come normalised by CLIP's mean and deviation of values from 0 to 1, and whose last norm sees the first token only."""
    own, pixels = tiny().eval(), batch(sides=sides).pixels
    mean, std = (torch.tensor(values)[:, None, None] for values in (meter.OPENAI_CLIP_MEAN, meter.OPENAI_CLIP_STD))
    vision = own.model.vit_model
    wanted = vision(pixel_values=((pixels + 1) / 2 - mean) / std, interpolate_pos_encoding=True)
    found = own.image_tokens(pixels)
    assert_close(found, own.model.cross_modal_image_transform(vision.post_layernorm(wanted.last_hidden_state)))
    assert_close(found[:, 0], own.model.cross_modal_image_transform(wanted.pooler_output))


def test_dropout_of_the_configuration_is_honoured() -> None:
    own, x, y = tiny().train(), torch.randn(2, 5, 16), torch.randn(2, 3, 16)
    layer = own.layers["image"][0]
    for part, context in ((layer.self_attention, ()), (layer.cross_attention, (y, None)), (layer.ffn, ())):
        assert not torch.equal(part(x, *context), part(x, *context))
    own.eval()
    assert torch.equal(layer(x, None, y, None), layer(x, None, y, None))


@torch.no_grad()
def test_shapes_and_masks(backbone: meter.METER) -> None:
    b = batch()
    features = backbone(b)
    assert features.pooled.shape == (TEXTS, backbone.width) == (TEXTS, 2 * 80) and features.tokens.shape == (TEXTS, WORDS + 17, 80)
    assert features.mask[:, :WORDS].equal(b.text_mask.bool()) and features.mask[:, WORDS:].all()
    assert_close(backbone(Batch(b.input_ids[:1, :1], b.text_mask[:1, :1], b.pixels[:1])).pooled, features.pooled[:1])
    full = replace(b, input_ids=b.input_ids.clamp(min=5), text_mask=torch.ones_like(b.text_mask))
    assert_close(backbone(replace(full, text_mask=None)).tokens, backbone(full).tokens)


@torch.no_grad()
def test_texts_may_share_an_image(backbone: meter.METER) -> None:
    b = batch(images=2)
    b.image_index = torch.tensor([1, 0, 0, 1])
    seen: list[int] = []
    handle = backbone.model.cross_modal_image_transform.register_forward_hook(lambda _, args, __: seen.append(len(args[0])))
    shared, own = backbone(b).pooled, backbone(Batch(b.input_ids, b.text_mask, b.pixels[b.image_index])).pooled
    handle.remove()
    assert seen == [2, 4]
    assert_close(shared, own)


@torch.no_grad()
def test_the_second_image_has_a_modality_of_its_own_that_starts_as_the_first(backbone: meter.METER) -> None:
    own, b = copy.deepcopy(backbone), batch()
    second = replace(b, image_type=2)
    before = own(b).pooled
    assert torch.equal(own(second).pooled, before)
    own.model.token_type_embeddings.weight[2] += 1
    assert torch.equal(own(b).pooled, before) and not torch.allclose(own(second).pooled, before)


@torch.no_grad()
def test_class_token(backbone: meter.METER) -> None:
    own, b = copy.deepcopy(backbone), batch()
    own.add_class_token()
    assert any(p is own.class_token for p in own.always_trained()) and backbone.class_token is None
    assert_close(own.class_token, own.model.text_transformer.embeddings(input_ids=torch.tensor([[own.class_id]])))
    pooled, plain = own(b).pooled, backbone(b).pooled
    assert not torch.allclose(pooled, plain)
    b.input_ids[0, 0] = 7  # of a text of one token nothing but the class token is left
    assert torch.equal(own(b).pooled[0], pooled[0]) and not torch.allclose(backbone(b).pooled[0], plain[0])


def test_a_copy_owns_its_layers(backbone: meter.METER) -> None:
    own = copy.deepcopy(backbone)
    before = backbone(batch()).pooled
    with torch.no_grad():
        own.model.cross_modal_image_layers[0].output.dense.weight.zero_()
    assert not torch.equal(own(batch()).pooled, before) and torch.equal(backbone(batch()).pooled, before)


def test_sites_follow_the_forward(backbone: meter.METER) -> None:
    sites = backbone.sites("sequence", "layer", "self", "cross", "ffn")
    first = ["text.sequence", "image.sequence"]
    first += [f"{s}.layer.0{part}" for s in ("text", "image") for part in ("", ".self", ".cross", ".ffn")]
    assert [site.name for site in sites[: len(first)]] == first and len({site.name for site in sites}) == len(sites)
    layers = backbone.sites("layer")
    assert [(site.depth, site.stream) for site in layers] == [(d, s) for d in range(len(layers) // 2) for s in ("text", "image")]
    assert {site.norm for site in sites} == {"after"} and {site.width for site in sites} == {80}
    tokens = backbone(batch(1)).tokens.shape[1] - WORDS
    assert {(site.stream, site.length) for site in sites} == {("text", 12), ("image", tokens)}
    for site in backbone.sites("self", "cross", "ffn"):
        assert all(isinstance(backbone.model.get_submodule(path), nn.Linear) for path in site.linears.values())
        assert site.stream in next(iter(site.linears.values()))


def test_forward_at_paper_scale() -> None:
    paper = at_paper_size()
    with torch.device("meta"):
        features = paper(Batch(torch.zeros(2, 50, dtype=torch.long), torch.ones(2, 50, dtype=torch.long), torch.empty(2, 3, 288, 288)))
    assert features.pooled.shape == (2, 1536) and features.tokens.shape == (2, 50 + 325, 768) and features.mask.shape == (2, 375)
    assert len(paper.sites("self", "cross")) == 24 and len(paper.sites("layer")) == 12
