"""Small language models, a stand-in for their vision tower, and their input."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import built
import pytest
import torch
from torch import Tensor, nn
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertModel,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaModel,
    T5Config,
    T5ForConditionalGeneration,
    T5Model,
)

from suite import backbones
from suite.backbones import bert, language, llama, t5
from suite.core import Batch

TEXTS, WORDS, SIDE, VISION = 4, 9, 16, 6
VOCABULARY = 300


class Vision(nn.Module):
    """Five states a picture, by an elementwise rule: what a tower gives, and how often it was asked."""

    vision_width = VISION

    def __init__(self) -> None:
        super().__init__()
        self.map, self.asked = nn.Linear(3, 5 * VISION), 0

    def image_states(self, pixels: Tensor) -> Tensor:
        self.asked += len(pixels)
        return self.map(pixels.mean((2, 3))).unflatten(1, (5, VISION))


class Prompting(nn.Module):
    """A visual tap: `count` prompts made of query and picture, and something added to the text; keeps what it was given."""

    def __init__(self, width: int, count: int = 1):
        super().__init__()
        self.query, self.image, self.kind = nn.Linear(width, width), nn.Linear(VISION, width), nn.Parameter(torch.randn(width))
        self.count, self.given = count, []

    def forward(self, x: Tensor, query: Tensor, images: Tensor) -> tuple[Tensor, Tensor]:
        self.given.append((x, query, images))
        prompt = self.query(query)[:, None] + self.image(images.mean(1, keepdim=True))
        return prompt.expand(-1, self.count, -1), x + self.kind


@pytest.fixture
def no_tower(monkeypatch: pytest.MonkeyPatch) -> None:
    """`build` with the stand-in."""
    monkeypatch.setattr(language, "tower", lambda *_: Vision())


def stir(model: nn.Module, std: float = 0.3) -> None:
    """All parameters at random, norms and biases too, so that none is left out unseen."""
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=std)


def tiny_bert() -> bert.BERT:
    torch.manual_seed(0)
    config = BertConfig(vocab_size=VOCABULARY, hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=24,
                        max_position_embeddings=20)  # fmt: skip
    own = bert.BERT(BertModel(config, add_pooling_layer=False), "tiny", Vision())
    stir(own.model)
    return own


def tiny_t5(shared_bias: bool = False, layers: int = 3) -> t5.T5:
    torch.manual_seed(0)
    sizes = {"d_model": 16, "d_kv": 6, "d_ff": 24, "num_layers": layers - layers // 2, "num_decoder_layers": layers, "num_heads": 2}
    config = T5Config(vocab_size=VOCABULARY, **sizes, relative_attention_num_buckets=8, relative_attention_max_distance=10,
                      decoder_start_token_id=0)  # fmt: skip
    own = t5.T5(T5Model(config), "tiny", Vision(), shared_bias=shared_bias)
    stir(own.model)
    return own


def tiny_llama() -> llama.LLaMA:
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=VOCABULARY, hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=24,
                         max_position_embeddings=20, pad_token_id=0, bos_token_id=1, eos_token_id=2)  # fmt: skip
    own = llama.LLaMA(LlamaModel(config), "tiny", Vision())
    stir(own.model)
    return own


TINY = {"bert": tiny_bert, "t5": tiny_t5, "llama": tiny_llama}
FULL = {"bert": BertForMaskedLM, "t5": T5ForConditionalGeneration, "llama": LlamaForCausalLM}


def hub_folder(name: str, folder: Path) -> nn.Module:
    """A small model of the library where the mirror has the preset's."""
    torch.manual_seed(3)
    full = FULL[name](TINY[name]().model.config)
    full.save_pretrained(folder / backbones.load(name).sizes["paper"].checkpoint)
    return full.eval()


def batch(texts: int = TEXTS, images: int | None = None) -> Batch:
    """Random texts of different lengths, [CLS] first and [SEP] last, with a picture each."""
    generator = torch.Generator().manual_seed(1)
    lengths = torch.arange(texts) % (WORDS - 2) + 3
    mask = (torch.arange(WORDS) < lengths[:, None]).long()
    ids = torch.randint(5, VOCABULARY, (texts, WORDS), generator=generator)
    ids[:, 0] = 1
    ids[torch.arange(texts), lengths - 1] = 2
    return Batch(ids * mask, mask, torch.randn(images or texts, 3, SIDE, SIDE, generator=generator))


def assert_sites(own: language.LanguageModel, names: Sequence[str], kinds: set[tuple[str, int, str, int]]) -> None:
    """Of a mini size: the sites in the order of the forward, each one's (stream, width, norm, length), their Linears, and widths."""
    sites = own.sites("sequence", "layer", "self", "cross", "ffn")
    assert [site.name for site in sites] == list(names)
    assert {(site.stream, site.width, site.norm, site.length) for site in sites} == kinds
    for site in own.sites("self", "cross", "ffn"):
        assert site.linears and all(isinstance(own.model.get_submodule(path), nn.Linear) for path in site.linears.values())
    assert own.width == 96 and own.head_width == 192 and own.sequence.depth == 6


def named(layers: int, *parts: str) -> list[str]:
    """Names of a stack's sites."""
    return ["sequence", *(f"layer.{i}{part}" for i in range(layers) for part in ("", *parts))]


def at_paper_size(kind: type[language.LanguageModel], width: int, tokens: int, sequence: int = 0) -> language.LanguageModel:
    """The paper's size on `meta`, whose forward of 16 tokens with a prompt at layer 5 has that shape."""
    paper = built.at_paper_size(kind)
    assert paper.papers_input() == (16, 224, 224) and paper.vision_width == 768
    tap = paper.sites("sequence")[sequence].attach("visual.5", Prompting(width).to("meta"))
    tap.image = nn.Linear(768, width, device="meta")
    with torch.device("meta"):
        ids = torch.zeros(2, 16, dtype=torch.long)
        features = paper(Batch(ids, ids, torch.empty(2, 3, 224, 224)))
    assert features.pooled.shape == (2, width) and features.tokens.shape == (2, tokens, width)
    return paper
