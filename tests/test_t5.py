"""T5: equality with the library's model, where its position bias acts, where visual prompts stand, sites, the paper's size."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from built import assert_close
from languages import TEXTS, Prompting, assert_sites, at_paper_size, batch, named, tiny_t5
from torch import Tensor
from transformers import T5ForConditionalGeneration

from suite.backbones import t5
from suite.core import Batch
from suite.layers import additive


def library(own: t5.T5, b: Batch, said: Tensor) -> tuple[Tensor, Tensor]:
    """The library's outputs of encoder and decoder."""
    found = own.model(input_ids=b.input_ids, attention_mask=b.text_mask, decoder_input_ids=said)
    return found.encoder_last_hidden_state, found.last_hidden_state


@torch.no_grad()
@pytest.mark.parametrize("shared, layers", [(True, 3), (False, 1)], ids=["bias in every layer", "one layer"])
def test_equals_the_library(shared: bool, layers: int) -> None:
    """Whose position bias acts in every layer, and whose decoder does not look ahead."""
    own, b = tiny_t5(shared, layers).eval(), batch()
    said = torch.cat([torch.zeros(TEXTS, 1, dtype=torch.long), b.input_ids[:, 1:5]], 1)
    encoded, decoded = library(own, b, said)
    found, mask = own.encode(own.embed(b.input_ids), b.text_mask)
    assert_close(found, encoded)
    assert_close(own.decode(own.embed(said), found, mask, ahead=False).tokens, decoded)
    features = own(b)
    assert_close(features.pooled, library(own, b, said[:, :1])[1][:, 0])
    assert features.tokens.shape == (TEXTS, 1, 16) and features.mask.all()
    full = replace(b, input_ids=b.input_ids.clamp(min=5), text_mask=torch.ones_like(b.text_mask))
    assert_close(own(replace(full, text_mask=None)).pooled, own(full).pooled)


@torch.no_grad()
def test_by_default_the_position_bias_acts_in_the_first_layers_alone() -> None:
    one, all_ = tiny_t5().eval(), tiny_t5(shared_bias=True).eval()
    assert not torch.allclose(one(batch()).pooled, all_(batch()).pooled, atol=1e-3)
    for own in (one, all_):
        own.model.encoder.block[0].layer[0].SelfAttention.relative_attention_bias.weight.zero_()
    assert_close(one(batch()).pooled, all_(batch()).pooled)


@torch.no_grad()
def test_the_head_is_the_librarys() -> None:
    own, b = tiny_t5(shared_bias=True).eval(), batch()
    full = T5ForConditionalGeneration(own.model.config).eval()
    full.encoder, full.decoder = own.model.encoder, own.model.decoder
    full.lm_head.weight = own.model.shared.weight
    wanted = full(input_ids=b.input_ids, attention_mask=b.text_mask, decoder_input_ids=torch.zeros(TEXTS, 1, dtype=torch.long)).logits
    assert_close(own.heads["lm"](own(b).tokens), wanted)


@torch.no_grad()
@pytest.mark.parametrize("place", [0, 2])
def test_visual_prompts_go_before_the_start_token_at_their_layer(place: int) -> None:
    own, b = tiny_t5().eval(), batch()
    plain, encoded = own(b), own.encode(own.embed(b.input_ids), b.text_mask)[0]
    tap = own.sites("sequence")[1].attach(f"visual.{place}", Prompting(16, 2))
    features = own(b)
    ((text, query, images),) = tap.given
    assert_close(query, encoded.mean(1))
    assert_close(images, own.vision.image_states(b.pixels))
    start = own.embed(torch.zeros(TEXTS, 1, dtype=torch.long))
    assert torch.equal(text, start) == (place == 0) and text.shape == (TEXTS, 1, 16)
    prompt, x = tap(text, query, images)
    x = torch.cat([prompt, x], 1)
    for depth in range(place, 3):
        bias = own.model.decoder.block[0].layer[0].SelfAttention.compute_bias(3, 3) if depth == 0 else None
        x = own.decoder[depth](x, None if bias is None else additive(bias, None), encoded, b.text_mask.bool())
    x = own.model.decoder.final_layer_norm(x)
    assert_close(features.tokens, x)
    assert_close(features.pooled, x[:, 2])
    assert features.mask.shape == (TEXTS, 3) and features.mask.all() and not torch.allclose(features.pooled, plain.pooled, atol=1e-3)


def test_dropout_of_the_configuration_is_honoured() -> None:
    own, x = tiny_t5().train(), torch.randn(2, 5, 16)
    layer = own.decoder[0]
    assert not torch.equal(layer.self_attention(x), layer.self_attention(x)) and not torch.equal(layer.ffn(x), layer.ffn(x))
    own.eval()
    assert torch.equal(layer.ffn(x), layer.ffn(x))


def test_sites_follow_the_forward() -> None:
    own = t5.T5.build("mini", pretrained=False, vision=False)
    stacks = {"encoder": named(3, ".self", ".ffn"), "decoder": named(6, ".self", ".cross", ".ffn")}
    names = [f"{stack}.{name}" for stack, found in stacks.items() for name in found]
    assert_sites(own, names, {("text", 96, "before", 12), ("decoder", 96, "before", 1)})
    for site in own.sites("self", "cross", "ffn"):
        assert next(iter(site.linears.values())).startswith(site.name.split(".")[0])
    with pytest.raises(ValueError, match=r"a sequence site has no position 'visual\.0'"):
        own.sites("sequence")[0].attach("visual.0", Prompting(96))


def test_at_paper_scale() -> None:
    paper = at_paper_size(t5.T5, 768, tokens=2, sequence=1)
    assert sum(p.numel() for p in paper.model.parameters()) == 222_903_552  # of t5-base
    assert len(paper.sites("layer")) == 24
