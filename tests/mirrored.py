"""What the papers' tasks read, in small: photographs, and the shipped tokenizer as a folder of the mirror."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from transformers import PreTrainedTokenizerFast

from suite.data.snli_ve import LABELS, PARTS, SnliVe
from suite.data.text import PATH, tokenizer
from suite.recipe import Recipe
from suite.tasks.real_vqa import RealVqa
from suite.view import View

WORDS = tokenizer().get_vocab_size()


def colourful(size: tuple[int, int], number: int = 0) -> Image.Image:
    """Of this width and height, another one for each number; without black and white, so that no augmentation leaves it as it is."""
    coarse = np.random.default_rng(number).integers(30, 220, (5, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def photograph(path: Path, size: tuple[int, int] = (80, 64), number: int = 0) -> None:
    """A file of a colourful picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    colourful(size, number).save(path)


def put_tokenizer(home: Path, name: str = "tok") -> None:
    """The shipped one below a mirror."""
    PreTrainedTokenizerFast(tokenizer_file=str(PATH), pad_token="[PAD]").save_pretrained(home / name)


def view(**changes: object) -> View:
    """Of the mini backbones."""
    return View(**{"tokenizer": "tok", "words": WORDS, "length": 12, "side": 64} | changes)


def snli_ve(home: Path, rows: dict[str, list[tuple[str, int]]], sizes: Sequence[tuple[int, int]] = ((80, 64),)) -> RealVqa:
    """SNLI-VE of these hypotheses with the number of their photograph, split by split; photographs have these sizes in turn."""
    folder = home / "snli_ve"
    folder.mkdir(exist_ok=True)
    for split, found in rows.items():
        lines = [
            {"pairID": f"{split}{number}.jpg#{row}", "sentence2": text, "gold_label": LABELS[row % 3]}
            for row, (text, number) in enumerate(found)
        ]
        (folder / f"snli_ve_{PARTS[split]}.jsonl").write_text("\n".join(map(json.dumps, lines)))
        for number in {number for _, number in found}:
            photograph(folder / "flickr30k-images" / f"{split}{number}.jpg", sizes[number % len(sizes)], number)
    reader = SnliVe("snli-ve", {split: len(found) for split, found in rows.items()})
    return RealVqa(reader, Recipe(1, 4), evaluation_batch=3, dataset="SNLI-VE", count=len(LABELS))
