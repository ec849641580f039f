"""How a backbone of the papers' size is given what people wrote and photographed. Knows nobody else in the suite."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class View:
    """tokenizer: hub repository, or the folder of that name below PETLBENCH_MIRROR. words: the size of its vocabulary.

    ending: put behind every text. length: tokens of a text, at most; padded: every text has so many, those that are not there masked.
    side: of the picture, in pixels. fit: `square` scales the shorter side to it and crops the middle; `shorter` keeps the whole picture,
    with the shorter side so long. augment: by RandAugment(2, 9) in training. What it does: suite/data/seen.py.
    """

    tokenizer: str
    words: int
    length: int
    side: int
    fit: Literal["square", "shorter"] = "square"
    padded: bool = False
    ending: str = ""
    augment: bool = False
