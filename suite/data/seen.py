"""Texts and photographs as a View has them given: token ids, and pixels in [-1, 1]."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from suite.data.augment import rand_augment
from suite.errors import UserError
from suite.hub import first_line, hub
from suite.view import View

LONGEST = 1333 / 800
"""The longer side of a whole picture, at most, as a multiple of the shorter one (papers.md section 1: 384 and 639)."""
MULTIPLE = 32
"""Of this many pixels are both sides of a whole picture: ViLT's patches."""


def tokens(view: View, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Token ids (N, L) int64, padded to the longest (or to the view's length), and which of them are there, (N, L) bool.

    Raises UserError where the tokenizer is not there, damaged, or of another vocabulary.
    """
    found = tokenizer(view.tokenizer, view.words)(
        [text + view.ending for text in texts], truncation=True, max_length=view.length, padding="max_length" if view.padded else True,
        return_tensors="np", return_attention_mask=True)  # fmt: skip
    return found["input_ids"].astype(np.int64), found["attention_mask"].astype(bool)


@cache
def tokenizer(name: str, words: int) -> Any:
    """transformers' tokenizer, padding on the right. Raises UserError where it is not there, damaged, or has not `words` words."""
    from transformers import AutoTokenizer

    try:
        found = AutoTokenizer.from_pretrained(hub(name), padding_side="right")
    except OSError as error:
        raise UserError(f"tokenizer {name} is neither reachable nor below PETLBENCH_MIRROR: {first_line(error)}") from None
    except Exception as error:  # whatever the library raises for a damaged file
        raise UserError(f"tokenizer {name} is damaged: {first_line(error)}") from None
    if len(found) != words:
        raise UserError(f"tokenizer {name} has {len(found):,} words, not {words:,}: it does not match the checkpoint")
    if found.pad_token_id is None:
        found.pad_token = found.eos_token  # LLaMA's has none; what is padded is masked
    return found


def pictures(view: View, images: Sequence[Image.Image], rng: np.random.Generator | None = None) -> tuple[Tensor, Tensor | None]:
    """(I, 3, H, W), zeros below and right of the smaller ones, and their sizes (I, 2) int64; None where all are of one size.

    rng: of pictures that are trained on.
    """
    made = [picture(view, image, rng) for image in images]
    sizes = torch.tensor([one.shape[1:] for one in made])
    if (sizes == sizes[0]).all():
        return torch.stack(made), None
    pixels = torch.zeros(len(made), 3, *sizes.amax(0).tolist())
    for place, one in zip(pixels, made):
        place[:, : one.shape[1], : one.shape[2]] = one
    return pixels, sizes


def picture(view: View, image: Image.Image, rng: np.random.Generator | None = None) -> Tensor:
    """(3, H, W) float32 in [-1, 1]. rng: of a picture that is trained on."""
    image = image.convert("RGB")
    if view.augment and rng is not None:
        image = rand_augment(image, rng)
    image = _square(image, view.side) if view.fit == "square" else image.resize(whole(image.size, view.side), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float().mul_(2 / 255).sub_(1)


def whole(size: tuple[int, int], side: int) -> tuple[int, int]:
    """Width and height of a picture of this width and height whose shorter side is scaled to `side`, see LONGEST and MULTIPLE."""
    scale = min(side / min(size), int(LONGEST * side) / max(size))
    width, height = (max(MULTIPLE, int(scale * n + 0.5) // MULTIPLE * MULTIPLE) for n in size)
    return width, height


def _square(image: Image.Image, side: int) -> Image.Image:
    width, height = (int(side * n / min(image.size)) for n in image.size)
    left, top = (width - side) // 2, (height - side) // 2
    return image.resize((width, height), Image.Resampling.BICUBIC).crop((left, top, left + side, top + side))
