"""Weight files: the ones that petlbench ships (safetensors with a card), and where hub checkpoints are taken from."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from suite.errors import UserError

FOLDER = Path(__file__).parents[1] / "weights"
TOKENIZER = FOLDER / "tokenizer.json"


def sha256(path: Path) -> str:
    """Of a file's content."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def path_of(name: str) -> Path:
    """The shipped weights `name`, e.g. `vilt-mini`; its card is the .json beside it."""
    return FOLDER / f"{name}.safetensors"


def save(tensors: dict[str, Tensor], card: dict[str, Any], path: Path) -> None:
    """Write tensors and their card; the card's `sha256` and the shipped tokenizer's are filled in."""
    save_file({key: tensor.detach().contiguous().clone() for key, tensor in tensors.items()}, path)
    card = {**card, "sha256": sha256(path), "tokenizer_sha256": sha256(TOKENIZER)}
    path.with_suffix(".json").write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n")


def load(path: Path) -> dict[str, Tensor]:
    """The tensors of a weight file. Raises UserError where it or its card is missing, or a sha256 is not the card's."""
    card = path.with_suffix(".json")
    for file in (path, card):
        if not file.is_file():
            raise UserError(f"weight file {file.name} is missing from {file.parent}")
    try:
        wanted = json.loads(card.read_text())
    except ValueError as error:
        raise UserError(f"weight card {card.name} is damaged: {error}") from None
    for file, key in ((path, "sha256"), (TOKENIZER, "tokenizer_sha256")):
        if (found := sha256(file)) != wanted.get(key):
            said = f"its sha256 is {found}, the card {card.name} says {wanted.get(key)}"
            raise UserError(f"{file.name} is damaged or another version: {said}")
    return load_file(path)
