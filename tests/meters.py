"""Small METERs and their input."""

from __future__ import annotations

from functools import partial

import built
import torch
from torch import nn
from transformers import BertConfig, CLIPVisionConfig, RobertaConfig

from suite.backbones import meter
from suite.core import Batch

TEXTS, WORDS, SIDE = 4, 9, 64
SIZES = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32}

mini, at_paper_size = partial(built.mini, meter.METER), partial(built.at_paper_size, meter.METER)


def tiny(layers: int = 2) -> meter.METER:
    """All parts of the official model, CLIP's linear patch map included, with dropout as in the paper."""
    torch.manual_seed(0)
    text = RobertaConfig(**SIZES, vocab_size=300, num_hidden_layers=2, max_position_embeddings=20, type_vocab_size=1)
    image = CLIPVisionConfig(**SIZES, num_hidden_layers=2, image_size=32, patch_size=16)
    fusion = BertConfig(**SIZES, vocab_size=300, num_hidden_layers=layers, is_decoder=True, add_cross_attention=True)
    own = meter.METER(meter.MeterModel(text, image, fusion), "tiny")
    for parameter in own.parameters():  # norms and biases too, so that none is left out unseen
        nn.init.normal_(parameter, std=0.3)
    return own


def batch(texts: int = TEXTS, images: int | None = None, sides: tuple[int, int] = (SIDE, SIDE)) -> Batch:
    """Random texts of different lengths with a picture each."""
    generator = torch.Generator().manual_seed(1)
    lengths = torch.arange(texts) % WORDS + 1
    mask = (torch.arange(WORDS) < lengths[:, None]).long()
    ids = torch.randint(5, 300, (texts, WORDS), generator=generator)
    return Batch(ids * mask, mask, torch.randn(images or texts, 3, *sides, generator=generator))
