"""RandAugment (Cubuk et al. 2020, arXiv:1909.13719, section 3): a few operations at one magnitude, drawn from a fixed list.

Pillow does the operations. The ranges are those of AutoAugment's search space, and levels go to 30, as in the PyTorch port that ViLT's
code has; which of the operations that one leaves out is not on record (papers.md has the two numbers alone), so all of the paper's are in.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

LEVELS = 30
GREY = (128, 128, 128)
"""Where a turned or moved picture has nothing."""

Operation = Callable[[Image.Image, float], Image.Image]


def rand_augment(image: Image.Image, rng: np.random.Generator, count: int = 2, level: float = 9) -> Image.Image:
    """`count` operations, each drawn anew, at `level` of LEVELS; where one has a direction, a coin says which."""
    for index in rng.integers(len(OPERATIONS), size=count):
        image = OPERATIONS[index](image, level / LEVELS * (1 if rng.random() < 0.5 else -1))
    return image


def _affine(image: Image.Image, *six: float) -> Image.Image:
    return image.transform(image.size, Image.Transform.AFFINE, six, fillcolor=GREY)


def _enhanced(kind: type) -> Operation:
    """Brightness and the like: from a tenth to nearly twice as it is."""
    return lambda image, part: kind(image).enhance(1 + 0.9 * part)


OPERATIONS: tuple[Operation, ...] = (
    lambda image, part: image,
    lambda image, part: ImageOps.autocontrast(image),
    lambda image, part: ImageOps.equalize(image),
    lambda image, part: image.rotate(30 * part, fillcolor=GREY),
    lambda image, part: ImageOps.solarize(image, 256 - 256 * abs(part)),
    lambda image, part: ImageOps.posterize(image, 8 - round(4 * abs(part))),
    _enhanced(ImageEnhance.Color),
    _enhanced(ImageEnhance.Contrast),
    _enhanced(ImageEnhance.Brightness),
    _enhanced(ImageEnhance.Sharpness),
    lambda image, part: _affine(image, 1, 0.3 * part, 0, 0, 1, 0),
    lambda image, part: _affine(image, 1, 0, 0, 0.3 * part, 1, 0),
    lambda image, part: _affine(image, 1, 0, 0.45 * part * image.width, 0, 1, 0),
    lambda image, part: _affine(image, 1, 0, 0, 0, 1, 0.45 * part * image.height),
)
"""(picture, part of the greatest strength, below 0 for the other direction) -> picture."""
