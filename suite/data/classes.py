"""Pictures to be put into classes: generated scenes with a large object, and scikit-learn's handwritten digits. Rows have no text."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any, ClassVar

import numpy as np

from suite.data.reader import Reader, portable_pixmap, ranked
from suite.data.wording import NUMBERS, phrase
from suite.data.world import COLOURS, SHAPES, SIDE, SIZES, Scenes, render
from suite.data.world_reader import World
from suite.errors import UserError

KINDS = tuple(product(range(len(COLOURS)), range(len(SHAPES))))
"""Colour and shape of each class of world-classes."""
GROWTH = 5
"""Pixels from a small object's radius to a large one's."""
PEN = 16
"""Darkest value of a digit's pixel."""


@dataclass(eq=False)
class WorldClasses(World):
    """Which large object is in the scene, among small ones? Every class has the same number of rows, or one less.

    Train and validation show the base classes only, test shows all. objects: closed range, the large one included.
    """

    texts: ClassVar[bool] = False
    objects: tuple[int, int] = (2, 3)

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(phrase({"size": SIZES.index("large"), "colour": colour, "shape": shape}) for colour, shape in KINDS)

    @property
    def base(self) -> tuple[bool, ...]:
        """Is a class one of those that are trained on? Every colour and shape is in as many base classes as new ones, or in one more."""
        return tuple((colour + shape) % 2 == 0 for colour, shape in KINDS)

    def rows(self, split: str) -> dict[str, list[Any]]:
        shown = [k for k, base in enumerate(self.base) if base or split == "test"]
        labels = [shown[row % len(shown)] for row in range(self.sizes[split])]
        drawn = _with_large(self.scenes(split, len(labels)), np.array([KINDS[k] for k in labels]).T)
        return {"image": portable_pixmap(render(drawn)), "image_id": drawn.digests(), "text": [""] * len(labels), "label": labels}


def _with_large(drawn: Scenes, kinds: np.ndarray) -> Scenes:
    """The scenes with a large first object of these colours and shapes (2, N); all others small."""
    size = np.zeros_like(drawn.size)
    size[:, 0] = SIZES.index("large")
    drawn.radius += GROWTH * (size - drawn.size)
    drawn.size, (drawn.colour[:, 0], drawn.shape[:, 0]) = size, kinds
    for place in (drawn.x, drawn.y):
        np.clip(place, drawn.radius, SIDE - 1 - drawn.radius, out=place)
    return drawn


@dataclass(eq=False)
class Digits(Reader):
    """The 1,797 handwritten digits of scikit-learn (8 x 8 pixels; UCI, Alpaydin and Kaynak 1998), dark on white, at 64 x 64.

    Splits are consecutive parts of one fixed order in which every class comes equally often until the rarest runs out: a training split
    of 160 rows has 16 of each.
    """

    version: ClassVar[str] = "1"
    texts: ClassVar[bool] = False

    @property
    def classes(self) -> tuple[str, ...]:
        return (*NUMBERS, "eight", "nine")

    def rows(self, split: str) -> dict[str, list[Any]]:
        images, labels = _digits()
        order, first = _order(labels), sum(self.sizes[name] for name in list(self.sizes)[: list(self.sizes).index(split)])
        drawn = order[first : first + self.sizes[split]]
        if len(drawn) < self.sizes[split]:
            raise UserError(f"{self.name}/{split}: {len(order)} digits there are, {sum(self.sizes.values())} asked for")
        pictures = [_enlarged(images[row]) for row in drawn]
        ids = [hashlib.sha256(picture.tobytes()).hexdigest()[:20] for picture in pictures]
        return {"image": portable_pixmap(np.stack(pictures)), "image_id": ids, "text": [""] * len(drawn), "label": labels[drawn].tolist()}


@cache
def _digits() -> tuple[np.ndarray, np.ndarray]:
    """(N, 8, 8) uint8 of 0 to PEN, and the digits (N,)."""
    from sklearn.datasets import load_digits  # a second to import

    data = load_digits()
    return data.images.astype(np.uint8), data.target


def _order(labels: np.ndarray) -> list[int]:
    """All rows, those that are the first of their class in a random order before the second ones, and so on."""
    seen: defaultdict[int, int] = defaultdict(int)
    turn = {}
    for row in ranked(map(str, range(len(labels))), "digits"):
        turn[int(row)] = seen[labels[int(row)]]
        seen[labels[int(row)]] += 1
    return sorted(turn, key=turn.__getitem__)


def _enlarged(digit: np.ndarray) -> np.ndarray:
    """(8, 8) of 0 to PEN -> (SIDE, SIDE, 3) uint8, interpolated in whole numbers, the same on every machine."""
    from PIL import Image

    gray = (255 - digit.astype(np.int64) * 255 // PEN).astype(np.uint8)
    return np.repeat(np.asarray(Image.fromarray(gray).resize((SIDE, SIDE), Image.Resampling.BILINEAR))[..., None], 3, 2)
