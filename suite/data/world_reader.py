"""The generated datasets: questions, statements about two pictures, and captions. Every split has a domain of its own."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from suite.data.reader import Reader, portable_pixmap
from suite.data.world import VERSION, Scenes, render, scenes
from suite.data.world_text import ANSWERS, captions, questions, statements
from suite.errors import UserError


@dataclass(eq=False)
class World(Reader):
    """objects: closed range of the number of objects in a scene. A row's `image_id` is the digest of what it shows."""

    objects: tuple[int, int] = (1, 3)
    version: ClassVar[str] = str(VERSION)

    def scenes(self, split: str, count: int) -> Scenes:
        """`count` scenes of the split's domain; another count gives other scenes."""
        return scenes(f"{self.name}/{split}", count, self.objects)

    def rng(self, split: str) -> np.random.Generator:
        """The generator of the split's texts."""
        return np.random.default_rng([VERSION, *hashlib.sha256(f"{self.name}/{split}/text".encode()).digest()])


@dataclass(eq=False)
class WorldVqa(World):
    """One question a scene."""

    @property
    def classes(self) -> tuple[str, ...]:
        return ANSWERS

    def rows(self, split: str) -> dict[str, list[Any]]:
        drawn = self.scenes(split, self.sizes[split])
        asked, answers = questions(drawn, self.rng(split))
        return pictures_of(drawn) | {"text": asked, "label": [ANSWERS.index(a) for a in answers]}


@dataclass(eq=False)
class WorldNlvr2(World):
    """One statement a pair of scenes; no scene is in two pairs."""

    pictures: ClassVar[tuple[str, ...]] = ("left", "right")

    @property
    def classes(self) -> tuple[str, ...]:
        return ("false", "true")

    def rows(self, split: str) -> dict[str, list[Any]]:
        drawn = self.scenes(split, 2 * self.sizes[split])
        pair = np.arange(0, len(drawn), 2)
        left, right = drawn.take(pair), drawn.take(pair + 1)
        texts, truth = statements(left, right, self.rng(split))
        one, two = pictures_of(left), pictures_of(right)
        ids = [f"{a}+{b}" for a, b in zip(one["image_id"], two["image_id"])]
        return {"left": one["image"], "right": two["image"], "image_id": ids, "text": texts, "label": truth.astype(int).tolist()}


@dataclass(eq=False)
class WorldRetrieval(World):
    """One caption a scene. No two rows of a split have the same caption: the second one is left out."""

    def rows(self, split: str) -> dict[str, list[Any]]:
        drawn = self.scenes(split, 4 * self.sizes[split])
        texts = captions(drawn, self.rng(split))
        first = dict(zip(reversed(texts), reversed(range(len(texts)))))
        kept = np.array(sorted(first.values())[: self.sizes[split]])
        if len(kept) < self.sizes[split]:
            raise UserError(f"{self.name}/{split}: {len(kept)} different captions, {self.sizes[split]} asked for; allow more objects")
        return pictures_of(drawn.take(kept)) | {"text": [texts[i] for i in kept]}


def pictures_of(drawn: Scenes) -> dict[str, list[Any]]:
    """The columns `image` and `image_id` of these scenes."""
    return {"image": portable_pixmap(render(drawn)), "image_id": drawn.digests()}
