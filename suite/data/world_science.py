"""world-science: multiple choice. Some questions have a picture, some a text to read, some neither."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from suite.data.reader import portable_pixmap
from suite.data.world import SIDE
from suite.data.world_kinds import WorldOfKinds
from suite.data.world_reader import pictures_of
from suite.data.world_science_text import KINDS, PLACES, Asked, of_image, of_neither, of_text
from suite.data.world_text import generator

if TYPE_CHECKING:
    from datasets import Features

BLANK = 128
"""Grey level of the picture of a row that has none. No scene has a grey background."""

_SPLITS = ("train", "validation", "test")


@dataclass(eq=False)
class WorldScience(WorldOfKinds):
    """As many questions of one of KINDS as of another; those about no picture have a blank one. `options`: the words to choose from.

    A text without a picture belongs to the split that its hash names: no split asks what another one asks.
    """

    objects: tuple[int, int] = (1, 4)
    kinds: ClassVar[tuple[str, ...]] = KINDS

    @property
    def classes(self) -> tuple[str, ...]:
        return PLACES

    def rows(self, split: str) -> dict[str, list[Any]]:
        rng, size = self.rng(split), self.sizes[split]
        kinds, dice = [KINDS[k] for k in rng.permutation(np.arange(size) % len(KINDS))], generator(rng)
        drawn = self.scenes(split, kinds.count("image"))
        shown = zip(pictures_of(drawn)["image"], drawn.digests(), (of_image(drawn.objects(i), dice) for i in range(len(drawn))))
        rows = {"image": shown, "text": own(split, of_text, dice), "none": own(split, of_neither, dice)}
        found = [next(rows[kind]) for kind in kinds]
        asked = [question for _, _, question in found]
        return {"image": [picture for picture, _, _ in found], "image_id": [name for _, name, _ in found], "text": [a.text for a in asked],
                "label": [a.right for a in asked], "options": [list(a.options) for a in asked], "kind": kinds}

    def _features(self) -> Features:
        from datasets import Features, List, Value

        return Features({**super()._features(), "options": List(Value("string"))})


def own(split: str, draw: Callable[[random.Random], Asked], dice: random.Random) -> Iterator[tuple[bytes, str, Asked]]:
    """Rows without a picture: blank picture, its id, question; each once, and only those of the split."""
    (blank,), seen = portable_pixmap(np.full((1, SIDE, SIDE, 3), BLANK, np.uint8)), set()
    while True:
        asked = draw(dice)
        digest = hashlib.sha256(asked.text.encode()).hexdigest()[:20]
        if int(digest, 16) % len(_SPLITS) == _SPLITS.index(split) and digest not in seen:
            seen.add(digest)
            yield blank, digest, asked
