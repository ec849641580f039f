"""Flickr30K (Young et al., TACL 2014) in the split of Karpathy and Fei-Fei (CVPR 2015): photographs with five captions each."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import Any, ClassVar

from suite.data.published import PARTS, Published
from suite.errors import UserError

CAPTIONS = 5
"""Of each photograph."""

PHOTOGRAPHS = {"train": 29_000, "validation": 1_014, "test": 1_000}
SIZES = {split: CAPTIONS * count for split, count in PHOTOGRAPHS.items()}


@dataclass(eq=False)
class Flickr30k(Published):
    """A row is a caption, as it was written (`raw`), with its photograph, whose file name is `image_id`.

    The papers train on train and validation together (papers.md section 1).
    """

    version: ClassVar[str] = "1.0"
    folder: ClassVar[str] = "flickr30k"
    licence: ClassVar[str] = "photographs under the Flickr Terms of Use, for non-commercial research and education only"
    how: ClassVar[str] = (
        "Put dataset_flickr30k.json of cs.stanford.edu/people/karpathy/deepimagesent/caption_datasets.zip, and the folder flickr30k-images,"
        " which shannon.cs.illinois.edu/DenotationGraph says how to ask for, below flickr30k"
    )

    def rows(self, split: str) -> dict[str, list[Any]]:
        """Raises UserError for a photograph that has not CAPTIONS captions, in whichever split."""
        found = json.loads(self.file("dataset_flickr30k.json").read_text(encoding="utf-8"))["images"]
        self._five_each(found)
        part, folder = PARTS[split], self.home() / "flickr30k-images"
        rows = [(image["filename"], caption) for image in found if image["split"] == part for caption in image["sentences"]]
        return {
            "id": [str(caption["sentid"]) for _, caption in rows], "image_id": [name for name, _ in rows],
            "image": [folder / name for name, _ in rows], "text": [caption["raw"] for _, caption in rows],
        }  # fmt: skip

    def _five_each(self, images: list[dict[str, Any]]) -> None:
        counts: Counter[str] = Counter()
        for image in images:
            counts[image["filename"]] += len(image["sentences"])
        for name, count in counts.items():
            if count != CAPTIONS:
                raise UserError(f"{self.name}: {name} has {count} captions, expected {CAPTIONS}")
