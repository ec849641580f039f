"""NLVR2 and Flickr30K as the papers train on them (papers.md section 1)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch

from suite import together
from suite.core import Batch
from suite.data import flickr30k, nlvr2
from suite.data.flickr30k import CAPTIONS, PHOTOGRAPHS
from suite.recipe import Recipe
from suite.tasks.base import FUSION, SEARCH_PARTS
from suite.tasks.nlvr2 import Nlvr2, Pair
from suite.tasks.real import Lazy, Real, ahead
from suite.tasks.real_vqa import of_openings
from suite.tasks.retrieval import Retrieval

if TYPE_CHECKING:
    from suite.prefix import Stored

NEGATIVES = 15
"""False captions of a photograph that is trained on."""


@dataclass(eq=False)
class RealNlvr2(Real, Nlvr2):
    """Two photographs and one statement a row. `validation` is dev, `test` is Test-P."""

    rows_of: ClassVar[int] = 2

    def blank(self, size: tuple[int, int, int]) -> Pair:
        return Pair(self.plain(size, labels=torch.zeros(self.recipe.rows, dtype=torch.long)), self.plain(size, image_type=2))

    def floors(self) -> dict[str, float]:
        """Test accuracy (percent) of the commonest training label, and of the commonest one of statements that begin alike.

        Needs neither pictures nor a tokenizer.
        """
        if not self._floors:
            self._floors.update(of_openings(self.columns("train"), self.columns("test")))
        return dict(self._floors)


@dataclass(eq=False)
class RealRetrieval(Real, Retrieval):
    """Rows are captions with their photograph; all captions of a split are scored with all photographs of it.

    As in the papers, training is on Karpathy's train and validation together: validation is not scored, being trained on, and no
    weights are chosen by it. METER's official code adds the matching loss, which is not built here.
    One photograph a block: photographs of different shapes would be padded to each other's. Each is decoded once for so many captions.
    """

    negatives: int = NEGATIVES
    gallery: int = max(PHOTOGRAPHS["validation"], PHOTOGRAPHS["test"])
    block: tuple[int, int] = (500, 1)
    rows_of: ClassVar[int] = 1 + NEGATIVES
    rated: ClassVar[bool] = False
    validates: ClassVar[bool] = False

    @property
    def sizes(self) -> dict[str, int]:
        """As BaseTask's; the search parts hold whole photographs."""
        given = self.reader.sizes
        rows = given["train"] + given["validation"]
        reward = rows // CAPTIONS // 5 * CAPTIONS
        return given | {"train": rows} | dict(zip(SEARCH_PARTS, (rows - reward, reward)))

    def passes(self, split: str) -> int:
        """Every caption with every photograph."""
        return self.sizes[split] * (self.sizes[split] // CAPTIONS)

    def columns(self, name: str) -> dict[str, list[Any]]:
        """See the class for `train`."""
        found = super().columns(name)
        if name != "train":
            return found
        later = super().columns("validation")
        return {column: cells + later[column] for column, cells in found.items()}

    def batches(self, split: str, seed: int, epoch: int = 0, shuffle: bool = False, stored: Stored | None = None) -> Iterator[Batch]:
        """Shuffled: as Real's. Otherwise all pairs, block by block, made ahead and shared out too."""
        if shuffle:
            yield from super().batches(split, seed, epoch, True)
            return
        data = self.split(split)
        blocks = self._blocks(data)

        def made(block: int) -> Batch:
            captions, pictures = blocks[block]
            return data.batch(np.repeat(captions, len(pictures)), pictures, image_index=torch.arange(len(pictures)).repeat(len(captions)))

        yield from ahead(made, together.share(range(len(blocks)), even=False))

    def collate(self, data: Lazy, rows: np.ndarray, rng: np.random.Generator) -> Batch:
        """As Retrieval's, but for how captions are drawn: there are too many for a number for each of them and each row."""
        pictures = data.image_of[:, 0].numpy()
        texts = np.concatenate([rows[:, None], false_captions(pictures, rows, self.negatives, rng)], 1).ravel()
        return data.batch(texts, pictures[rows], image_index=torch.arange(len(rows)).repeat_interleave(1 + self.negatives),
                          labels=torch.zeros(len(rows), dtype=torch.long), ids=torch.from_numpy(rows))  # fmt: skip

    def blank(self, size: tuple[int, int, int]) -> Batch:
        batch, picture = self.plain(size), torch.arange(self.recipe.rows).repeat_interleave(1 + self.negatives)
        return replace(batch, input_ids=batch.input_ids[picture], text_mask=batch.text_mask[picture], image_index=picture,
                       labels=torch.zeros(self.recipe.rows, dtype=torch.long))  # fmt: skip

    def floors(self) -> dict[str, float]:
        """Chance (percent) on test, as Retrieval's; needs no data."""
        chance = 100 / min(self.gallery, self.sizes["test"] // CAPTIONS)
        return {"majority": chance, "blind": chance}


def false_captions(picture_of: np.ndarray, rows: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """(B, count) captions of other pictures than that of each of `rows` (B,), all different within a row, every choice as likely.

    picture_of: (N,), of each caption. Raises ValueError where a picture has not so many others' captions.
    """
    own, held = picture_of[rows][:, None], np.bincount(picture_of)
    if len(picture_of) - held.max() < count:
        raise ValueError(f"{len(picture_of)} captions are too few to draw {count} of other pictures")
    found = rng.integers(len(picture_of), size=(len(rows), count))
    while (wrong := (picture_of[found] == own) | _repeated(found)).any():
        found[wrong] = rng.integers(len(picture_of), size=wrong.sum())
    return found


def _repeated(found: np.ndarray) -> np.ndarray:
    """(B, K) bool: does one of those before it in its row equal it?"""
    return np.tril(found[:, :, None] == found[:, None, :], -1).any(2)


def _nlvr2() -> RealNlvr2:
    return RealNlvr2(nlvr2.Nlvr2("nlvr2", dict(nlvr2.SIZES)), Recipe(epochs=10, batch_size=128), dataset="NLVR2", backbones=FUSION)


def _flickr30k() -> RealRetrieval:
    reader = flickr30k.Flickr30k("flickr30k", dict(flickr30k.SIZES))
    return RealRetrieval(reader, Recipe(epochs=10, batch_size=256), dataset="Flickr30K", backbones=FUSION)


TASKS = {"nlvr2": _nlvr2, "flickr30k": _flickr30k}
