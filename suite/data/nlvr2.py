"""NLVR2 (Suhr et al., ACL 2019): is a sentence true of a pair of photographs?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from suite.data.published import Published, lines

SIZES = {"train": 86_373, "validation": 6_982, "test": 6_967}
PARTS = {"train": "train", "validation": "dev", "test": "test1"}
"""Split -> what the release calls it; test1 is Test-P."""

LABELS = {"False": 0, "True": 1}


@dataclass(eq=False)
class Nlvr2(Published):
    """`data/<part>.json` of the repository, one row a line. Rows that share a pair of pictures have one `image_id`."""

    version: ClassVar[str] = "1.0"
    pictures: ClassVar[tuple[str, ...]] = ("left", "right")
    folder: ClassVar[str] = "nlvr2"
    licence: ClassVar[str] = "annotations CC-BY-4.0; photographs belong to their owners, for research only"
    how: ClassVar[str] = (
        "Put data/train.json, data/dev.json and data/test1.json of github.com/lil-lab/nlvr (folder nlvr2), and the pictures, which its"
        " README says how to ask for, as images/train, images/dev and images/test1 below nlvr2"
    )

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(LABELS)

    def rows(self, split: str) -> dict[str, list[Any]]:
        part = PARTS[split]
        found = lines(self.file(f"data/{part}.json"))
        pairs = [row["identifier"].rpartition("-")[0] for row in found]
        columns = {side: [self._picture(part, row, pair, k) for row, pair in zip(found, pairs)] for k, side in enumerate(self.pictures)}
        return columns | {
            "id": [row["identifier"] for row in found], "image_id": pairs, "text": [row["sentence"] for row in found],
            "label": [LABELS[row["label"]] for row in found],
        }  # fmt: skip

    def _picture(self, part: str, row: dict[str, Any], pair: str, side: int) -> Path:
        """Training pictures lie in numbered folders."""
        folder = self.home() / "images" / part
        return (folder / str(row["directory"]) if part == "train" else folder) / f"{pair}-img{side}.png"
