"""Small CLIPs and their input."""

from __future__ import annotations

from functools import partial

import built
import torch
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPModel

from suite.backbones import clip
from suite.core import Batch
from suite.data.text import CLS, SEP

TEXTS, WORDS, IMAGES, END = 4, 9, 3, 299
SIZES = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32, "num_hidden_layers": 2}

mini, at_paper_size = partial(built.mini, clip.CLIP), partial(built.at_paper_size, clip.CLIP)


def tiny() -> clip.CLIP:
    """The library's model with its linear patch map, towers of two widths."""
    torch.manual_seed(0)
    text = SIZES | {"vocab_size": 300, "max_position_embeddings": 20, "eos_token_id": END, "bos_token_id": 298}
    image = SIZES | {"hidden_size": 24, "image_size": 32, "patch_size": 16}
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=image, projection_dim=12))
    for name, parameter in model.named_parameters():  # norms and biases too, so that none is left out unseen
        nn.init.normal_(parameter, std=0.3 if parameter.ndim else 1.0)
    return clip.CLIP(model, "tiny", END, (5, WORDS)).eval()


def texts(end: int = SEP, lowest: int = 5) -> tuple[Tensor, Tensor]:
    """Random texts of different lengths that end with `end`: ids and mask (TEXTS, WORDS)."""
    lengths = torch.arange(TEXTS) + WORDS - TEXTS + 1
    mask = (torch.arange(WORDS) < lengths[:, None]).long()
    ids = torch.randint(lowest, 290, (TEXTS, WORDS), generator=torch.Generator().manual_seed(1)) * mask
    ids[:, 0], ids[torch.arange(TEXTS), lengths - 1] = CLS, end
    return ids, mask


def pixels(side: int = 64, images: int = IMAGES) -> Tensor:
    return torch.rand(images, 3, side, side, generator=torch.Generator().manual_seed(2)) * 2 - 1


def batch() -> Batch:
    """Pictures, and class prompts, of which there are another number."""
    return Batch(*texts(), pixels())
