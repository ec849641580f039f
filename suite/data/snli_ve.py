"""SNLI-VE (Xie et al., arXiv:1901.06706): does a sentence follow from a photograph, contradict it, or neither?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from suite.data.published import Published, lines

SIZES = {"train": 529_527, "validation": 17_858, "test": 17_901}
PARTS = {"train": "train", "validation": "dev", "test": "test"}
"""Split -> what the release calls it."""

LABELS = ("entailment", "neutral", "contradiction")


@dataclass(eq=False)
class SnliVe(Published):
    """A row is a hypothesis of SNLI; its premise is the photograph whose caption was SNLI's premise.

    A pair's id begins with the photograph's file name; the key that names it alone differs between releases (Flikr30kID, Flickr30K_ID).
    DVP's source, OFA's tables, read with pandas, loses the hypotheses that look like a missing value ("n/a").
    """

    version: ClassVar[str] = "1.0"
    folder: ClassVar[str] = "snli_ve"
    licence: ClassVar[str] = "SNLI CC-BY-SA-4.0; photographs under the Flickr Terms of Use, for non-commercial research and education only"
    how: ClassVar[str] = (
        "Put snli_ve_train.jsonl, snli_ve_dev.jsonl and snli_ve_test.jsonl, which the README of github.com/necla-ml/SNLI-VE links to, and"
        " the folder flickr30k-images, which shannon.cs.illinois.edu/DenotationGraph says how to ask for, or a link to it, below snli_ve"
    )

    @property
    def classes(self) -> tuple[str, ...]:
        return LABELS

    def rows(self, split: str) -> dict[str, list[Any]]:
        found = lines(self.file(f"snli_ve_{PARTS[split]}.jsonl"))
        names = [row["pairID"].partition("#")[0] for row in found]
        return {
            "id": [row["pairID"] for row in found], "image_id": names, "image": [self.home() / "flickr30k-images" / name for name in names],
            "text": [row["sentence2"] for row in found], "label": [LABELS.index(row["gold_label"]) for row in found],
        }  # fmt: skip
