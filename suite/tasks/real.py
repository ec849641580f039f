"""The papers' datasets as tasks: photographs stay files until a batch needs them, and a bound copy knows the backbone's view of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from suite import together
from suite.core import Batch
from suite.data import seen
from suite.data.published import Published
from suite.data.reader import raw_columns
from suite.errors import UserError
from suite.recipe import Recipe
from suite.tasks.base import SEARCH_PARTS, BaseTask, Split
from suite.view import View

if TYPE_CHECKING:
    from suite.prefix import Stored

THREADS = AHEAD = 8
"""Who decode photographs, and batches that are made before they are asked for."""


@dataclass(frozen=True)
class Photographs:
    """Files of pictures; None where there is none."""

    paths: Sequence[str | None]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, rows: Tensor) -> Photographs:
        return Photographs([self.paths[row] for row in rows.tolist()])

    def open(self, row: int) -> Image.Image:
        """Raises UserError for a damaged file."""
        path = self.paths[row]
        try:
            with Image.open(path) as image:
                image.load()
                return image
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise UserError(f"the picture {path} is damaged: {' '.join(str(error).split())[:160]}") from None


@dataclass
class Lazy(Split):
    """A split as its view has it: `images` are Photographs. there: (N, L) bool, which tokens are; rng: of pictures that are trained on."""

    images: Any
    there: Tensor | None = None
    view: View | None = None
    rng: np.random.Generator | None = None

    def take(self, rows: np.ndarray) -> Self:
        used, image_of = self.image_of[rows].unique(return_inverse=True)
        parts = {"tokens": self.tokens[rows], "there": self.there[rows], "images": self.images[used], "image_of": image_of}
        labels = None if self.labels is None else self.labels[rows]
        listed = {name: [getattr(self, name)[row] for row in rows] for name in ("texts", "clusters")}
        return dataclasses.replace(self, labels=labels, **parts, **listed)

    def by_length(self) -> np.ndarray:
        return np.argsort(self.there.sum(1).numpy(), kind="stable")

    def batch(self, rows: np.ndarray | Tensor, pictures: np.ndarray | Tensor, **parts: Any) -> Batch:
        """As Split's."""
        rows, pictures = torch.as_tensor(rows), torch.as_tensor(pictures)
        pixels, sizes = None, None
        if len(pictures):
            pixels, sizes = seen.pictures(self.view, [self.images.open(row) for row in pictures.tolist()], self.rng)
        there = self.there[rows]
        longest = there.shape[1] if self.view.padded else int(there.sum(1).max())
        return Batch(self.tokens[rows, :longest], there[:, :longest].long(), pixels, picture_sizes=sizes, **parts)


@dataclass(eq=False)
class Real(BaseTask):
    """Before the class that says what a row is. view: None until the task is bound to a backbone.

    also: nobody; presets: the papers' alone. joined: splits of the reader that the task's own are made of.
    """

    reader: Published
    view: View | None = None
    presets: ClassVar[tuple[str, ...]] = ("paper",)
    rows_of: ClassVar[int] = 1  # sequences of a row
    rated: ClassVar[bool] = True  # do the papers' factors for the head hold for it?
    _hash: list[str] = field(default_factory=list, init=False, repr=False)

    def bound(self, view: View | None, recipe: Recipe) -> Self:
        """A copy that is read by this view (None: not at all) and trained by this recipe, with splits of its own."""
        return dataclasses.replace(self, view=view, recipe=recipe)

    def sequences(self) -> int:
        """How many pass the backbone in an epoch; reads no data."""
        return self.rows_of * self.about("train")

    def about(self, split: str) -> int:
        """Rows of a split as far as they are known without data."""
        return self.sizes[split]

    def passes(self, split: str) -> int:
        """How many rows `predict` is given in an evaluation."""
        return self.about(split)

    def data_hash(self) -> str:
        """Of the reader's content, read once: there may be hundreds of thousands of pictures."""
        if not self._hash:
            self._hash.append(self.reader.content_hash())
        return self._hash[0]

    def split(self, name: str) -> Lazy:
        """See BaseTask. Raises UserError where data or tokenizer are not there."""
        if name not in self._splits:
            self._splits[name] = self._search_part(name) if name in SEARCH_PARTS else self.seen(self.columns(name))
        return self._splits[name]

    def columns(self, name: str) -> dict[str, list[Any]]:
        """The columns of a split, pictures as `{"path": …}` or None."""
        return raw_columns(self.reader.split(name))

    def seen(self, rows: dict[str, list[Any]]) -> Lazy:
        """These rows by the view. Rows of one `image_id` share their pictures; one that has none has no file."""
        _, first, row_of = np.unique(rows["image_id"], return_index=True, return_inverse=True)
        paths = [rows[column][row] and rows[column][row]["path"] for column in self.reader.pictures for row in first]
        image_of = np.stack([row_of + k * len(first) for k in range(len(self.reader.pictures))], 1)
        texts = self.told(rows)
        tokens, there = map(torch.from_numpy, seen.tokens(self.view, texts))
        labels = torch.tensor(rows["label"]) if "label" in rows else None
        return Lazy(tokens, Photographs(paths), torch.from_numpy(image_of), labels, texts, rows["image_id"], there=there, view=self.view)

    def told(self, rows: dict[str, list[Any]]) -> list[str]:
        """What the backbone reads of each row."""
        return rows["text"]

    def batches(self, split: str, seed: int, epoch: int = 0, shuffle: bool = False, stored: Stored | None = None) -> Iterator[Any]:
        """As BaseTask's. Batches are made ahead on threads, by generators of their own, so that they are the same however fast; of several
        processes each makes its share."""
        data = self.split(split)
        order = np.random.default_rng([seed, epoch]).permutation(len(data)) if shuffle else data.by_length()
        size = self.recipe.rows if shuffle else self.evaluation_batch

        def made(start: int) -> Any:
            rng = np.random.default_rng([seed, epoch, 1 + start])  # with 0 it would draw as the order did
            drawn = dataclasses.replace(data, rng=rng if shuffle else None)
            return self.collate(drawn, order[start : start + size], rng)

        yield from ahead(made, together.share(range(0, len(order), size), even=shuffle))

    def blank(self, size: tuple[int, int, int]) -> Any:
        """See suite.core.Task: blank pictures, full texts, and labels that are right for none."""
        raise NotImplementedError

    def plain(self, size: tuple[int, int, int], **parts: Any) -> Batch:
        """`recipe.rows` blank rows of these sizes."""
        text, height, width = size
        ids = torch.zeros(self.recipe.rows, text, dtype=torch.long)
        pixels = torch.zeros(1, 3, height, width).expand(len(ids), -1, -1, -1)
        return Batch(ids, torch.ones_like(ids), pixels, **parts)


def ahead(make: Callable[[int], Any], starts: Iterable[int]) -> Iterator[Any]:
    """`make` of each, in order, up to AHEAD of them before they are asked for."""
    with ThreadPoolExecutor(THREADS) as threads:
        left = iter(starts)
        waiting = [threads.submit(make, start) for start in islice(left, AHEAD)]
        try:
            while waiting:
                yield waiting.pop(0).result()
                waiting += [threads.submit(make, start) for start in islice(left, 1)]
        finally:
            for future in waiting:
                future.cancel()
