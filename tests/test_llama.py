"""LLaMA: equality with the library's model, where a text is read, where visual prompts stand, sites, the paper's size."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from built import assert_close
from languages import TEXTS, Prompting, assert_sites, at_paper_size, batch, named, tiny_llama
from transformers import LlamaForCausalLM

from suite.backbones import llama
from suite.core import Batch


@torch.no_grad()
def test_equals_the_library() -> None:
    """On what is there: of padding, which nothing reads, the library makes something else."""
    own, b = tiny_llama().eval(), batch()
    features, there = own(b), b.text_mask.bool()
    wanted = own.model(input_ids=b.input_ids, attention_mask=b.text_mask).last_hidden_state
    assert_close(features.tokens[there], wanted[there])
    assert_close(features.pooled, wanted[torch.arange(TEXTS), b.text_mask.sum(1) - 1])
    assert features.mask.equal(there)
    assert_close(own(replace(b, text_mask=None)).tokens, own.model(input_ids=b.input_ids).last_hidden_state)


@torch.no_grad()
def test_the_head_is_the_librarys() -> None:
    own, b = tiny_llama().eval(), batch()
    full = LlamaForCausalLM(own.model.config).eval()
    full.model, full.lm_head = own.model, own.heads["lm"]
    b.text_mask = None
    assert_close(own.heads["lm"](own(b).tokens), full(input_ids=b.input_ids).logits)


@torch.no_grad()
def test_a_text_is_read_at_its_first_end_or_else_its_last_token() -> None:
    own = tiny_llama().eval()
    ids = torch.tensor([[1, 7, 2, 8, 2], [1, 7, 8, 9, 7], [1, 7, 8, 0, 0], [1, 7, 2, 0, 0]])
    mask = (ids != 0).long()
    assert own.end(ids, mask).tolist() == [2, 4, 2, 2]
    assert own.end(ids, None).tolist() == [2, 4, 4, 2]
    features = own(Batch(ids, mask, None))
    assert_close(features.pooled, features.tokens[torch.arange(4), torch.tensor([2, 4, 2, 2])])


@torch.no_grad()
@pytest.mark.parametrize("place", [0, 2])
def test_visual_prompts_go_before_the_text_whose_positions_count_on(place: int) -> None:
    """Places 0 and 2 by the library's own layers."""
    own, b = tiny_llama().eval(), batch()
    tap = own.sites("sequence")[0].attach(f"visual.{place}", Prompting(16, 2))
    features = own(b)
    ((text, query, images),) = tap.given
    ends = b.text_mask.sum(1) - 1
    assert_close(query, text[torch.arange(TEXTS), ends])
    assert_close(images, own.vision.image_states(b.pixels))
    prompt, x = tap(text, query, images)
    x, mask = torch.cat([prompt, x], 1), torch.cat([torch.ones(TEXTS, 2, dtype=torch.long), b.text_mask], 1)
    before = own.model.layers
    own.model.layers = before[place:]
    wanted = own.model(inputs_embeds=x, attention_mask=mask).last_hidden_state
    own.model.layers = before
    assert_close(features.tokens[mask.bool()], wanted[mask.bool()])
    assert_close(features.pooled, wanted[torch.arange(TEXTS), ends + 2])
    assert features.mask.equal(mask.bool())


def test_sites_follow_the_forward() -> None:
    own = llama.LLaMA.build("mini", pretrained=False, vision=False)
    assert_sites(own, named(6, ".self", ".ffn"), {("text", 96, "before", 12)})


def test_at_paper_scale() -> None:
    paper = at_paper_size(llama.LLaMA, 4096, tokens=17)
    assert sum(p.numel() for p in paper.model.parameters()) + paper.heads["lm"].weight.numel() == 6_738_415_616  # of LLaMA-7B
    assert len(paper.sites("layer")) == 32 and paper.head_width == 512
