"""Small diffusion models and their input."""

from __future__ import annotations

from functools import partial

import built
import torch
from torch import Tensor, nn

from suite.backbones import stable_diffusion
from suite.backbones.stable_diffusion import StableDiffusion
from suite.core import Method, freeze
from suite.data.text import CLS, SEP

TEXTS, WORDS = 4, 9

mini, at_paper_size = partial(built.mini, StableDiffusion), partial(built.at_paper_size, StableDiffusion)


def tuned(method: Method) -> StableDiffusion:
    """The mini size with a method whose modules start at nothing in particular."""
    backbone = mini()
    freeze(backbone)
    method.attach(backbone)
    return backbone


def saved(path: str) -> StableDiffusion:
    """The parts of a tiny Stable Diffusion as the hub has them, written below `path`."""
    torch.manual_seed(0)
    size = stable_diffusion.PRESETS["paper"]
    unet = size.unet | {"block_out_channels": (32, 32, 32, 32), "cross_attention_dim": 16, "sample_size": 8}
    text = size.text | {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32, "vocab_size": 60}
    vae = size.vae | {"block_out_channels": (32, 32, 32, 32), "layers_per_block": 1}
    small = stable_diffusion.Preset(unet, text, size.schedule, (58, 59), "", vae)
    parts = stable_diffusion.fresh(small)
    for part, folder in zip(parts, stable_diffusion.PARTS.values(), strict=True):
        part.save_pretrained(f"{path}/{folder}")
    return StableDiffusion(*parts, small.schedule, small.empty, "tiny").eval()


def texts() -> tuple[Tensor, Tensor]:
    """Random texts of different lengths: ids and mask (TEXTS, WORDS)."""
    lengths = torch.arange(TEXTS) + WORDS - TEXTS + 1
    mask = (torch.arange(WORDS) < lengths[:, None]).long()
    ids = torch.randint(5, 290, (TEXTS, WORDS), generator=torch.Generator().manual_seed(1)) * mask
    ids[:, 0], ids[torch.arange(TEXTS), lengths - 1] = CLS, SEP
    return ids, mask


def generators(count: int = TEXTS) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in range(count)]


def noisy(count: int = TEXTS) -> tuple[Tensor, Tensor]:
    """Latents with noise, and timesteps."""
    generator = torch.Generator().manual_seed(2)
    return torch.randn(count, 12, 16, 16, generator=generator), torch.randint(1000, (count,), generator=generator)


def shake(module: nn.Module) -> None:
    """Norms, biases and what starts at zero too, so that nothing is left out unseen."""
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.1)
