"""ImageNet-1k (Russakovsky et al. 2015, arXiv:1409.0575) as CoOp has it: CLIP's class names, and the validation pictures as test."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from suite.data.coop import Labelled
from suite.errors import UserError

if TYPE_CHECKING:
    from datasets import Features

SIZES = {"train": 1_281_167, "test": 50_000}
"""There is no validation split: the labels of ImageNet's own test are not public."""
PARTS = {"train": "train", "test": "val"}
"""Split -> its folder in `images`."""


@dataclass(eq=False)
class ImageNet(Labelled):
    """`images/<part>/<WordNet id>/*.JPEG`; a line of `classnames.txt` is a WordNet id and a name. Labels follow the sorted ids.

    Two pairs of classes share a name, `missile` and `sunglasses` (github.com/openai/CLIP/issues/235): it is left as the papers have it.
    """

    count: ClassVar[int] = 1_000
    prompt: ClassVar[str] = "a photo of a {}."
    folder: ClassVar[str] = "imagenet"
    licence: ClassVar[str] = "for non-commercial research and education only, after registration"
    how: ClassVar[str] = (
        "Below imagenet put classnames.txt, which DATASETS.md of github.com/KaiyangZhou/CoOp links to, and the pictures of image-net.org as"
        " images/train and images/val, both with a folder for each class, named by its WordNet id"
    )

    def names(self) -> list[str]:
        return list(self._named.values())

    def items(self, split: str) -> list[tuple[str, int]]:
        part = f"images/{PARTS[split]}"
        return [(f"{part}/{folder}/{name}", label) for label, folder in enumerate(self._named) for name in self._listed(f"{part}/{folder}")]

    def _listed(self, path: str) -> list[str]:
        """The names of a folder's pictures, sorted. Raises UserError, with `how`, where there is no such folder."""
        if not (self.home() / path).is_dir():
            raise UserError(f"{self.name}: the folder {self.folder}/{path} is missing. {self.how} (licence: {self.licence})")
        return sorted(name for name in os.listdir(self.home() / path) if name.endswith(".JPEG"))

    @cached_property
    def _named(self) -> dict[str, str]:
        """WordNet id -> class name, sorted by the id."""
        found = [line.split(maxsplit=1) for line in self.file("classnames.txt").read_text(encoding="utf-8").splitlines() if line.strip()]
        return {folder: name.strip() for folder, name in sorted(found)}

    def _features(self) -> Features:
        """Labels are called by WordNet ids, since ClassLabel takes no name twice."""
        from datasets import ClassLabel, Features, Image, Value

        columns = {"image": Image()} | {name: Value("string") for name in ("id", "image_id", "text")}
        return Features(columns | {"label": ClassLabel(names=list(self._named))})
