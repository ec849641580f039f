"""BERT: equality with the library's model, where visual prompts stand, sites, the paper's size."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from built import assert_close
from languages import TEXTS, Prompting, assert_sites, at_paper_size, batch, named, tiny_bert
from torch import Tensor, nn
from transformers import BertForMaskedLM

from suite.backbones import bert


@torch.no_grad()
def test_equals_the_library() -> None:
    own, b = tiny_bert().eval(), batch()
    features = own(b)
    assert_close(features.tokens, own.model(input_ids=b.input_ids, attention_mask=b.text_mask).last_hidden_state)
    assert_close(features.pooled, features.tokens[:, 0])
    assert features.mask.equal(b.text_mask.bool())
    assert_close(own(replace(b, text_mask=None)).tokens, own.model(input_ids=b.input_ids).last_hidden_state)


@torch.no_grad()
def test_the_head_is_the_librarys() -> None:
    own, b = tiny_bert().eval(), batch()
    library = BertForMaskedLM(own.model.config).eval()
    library.bert, library.cls.predictions = own.model, own.heads["mlm"]
    assert own.heads["mlm"].decoder.weight is own.model.embeddings.word_embeddings.weight
    assert_close(own.heads["mlm"](own(b).tokens), library(input_ids=b.input_ids, attention_mask=b.text_mask).logits)


@torch.no_grad()
@pytest.mark.parametrize("place", [0, 2])
def test_visual_prompts_go_before_the_text_at_their_layer(place: int) -> None:
    """The library's layers on what the tap made; before it they see the text alone."""
    own, b = tiny_bert().eval(), batch()
    tap = own.sites("sequence")[0].attach(f"visual.{place}", Prompting(16, 2))
    features = own(b)
    x, mask = own.model.embeddings(input_ids=b.input_ids), b.text_mask.bool()
    for layer in own.model.encoder.layer[:place]:
        x = run(layer, x, mask)
    ((text, query, images),) = tap.given
    assert_close(text, x)
    assert_close(query, x[:, 0])
    assert_close(images, own.vision.image_states(b.pixels))
    prompt, x = tap(x, query, images)
    x, mask = torch.cat([prompt, x], 1), torch.cat([torch.ones(TEXTS, 2, dtype=torch.bool), mask], 1)
    for layer in own.model.encoder.layer[place:]:
        x = run(layer, x, mask)
    assert_close(features.tokens, x)
    assert_close(features.pooled, x[:, 2])
    assert features.mask.equal(mask)


def run(layer: nn.Module, x: Tensor, mask: Tensor) -> Tensor:
    """A layer of the library."""
    found = layer(x, mask[:, None, None].expand(-1, 1, x.shape[1], -1))
    return found[0] if isinstance(found, tuple) else found


def test_dropout_of_the_configuration_is_honoured() -> None:
    own = tiny_bert().train()
    layer, x = own.layers[0], torch.randn(2, 5, 16)
    assert not torch.equal(layer.self_attention(x), layer.self_attention(x)) and not torch.equal(layer.ffn(x), layer.ffn(x))
    own.eval()
    assert torch.equal(layer(x), layer(x))


def test_sites_follow_the_forward() -> None:
    own = bert.BERT.build("mini", pretrained=False, vision=False)
    assert_sites(own, named(6, ".self", ".ffn"), {("text", 96, "after", 12)})


def test_at_paper_scale() -> None:
    paper = at_paper_size(bert.BERT, 768, tokens=17)
    assert sum(p.numel() for p in paper.model.parameters()) == 108_891_648  # of bert-base-uncased, without the pooler's 590,592
    assert len(paper.sites("layer")) == 12 and paper.model.config.max_position_embeddings == 512
