"""The shipped sub-word tokenizer of the mini backbones: lower case, every letter in the vocabulary, so nothing is unknown."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from suite.errors import UserError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

PATH = Path(__file__).parents[1] / "weights" / "tokenizer.json"
PAD, CLS, SEP, MASK, UNK = range(5)
SPECIAL = ("[PAD]", "[CLS]", "[SEP]", "[MASK]", "[UNK]")


def train(texts: list[str], size: int = 400) -> Tokenizer:
    """A WordPiece tokenizer of at most `size` pieces over lower-cased words, with all letters and digits as pieces."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    trainer = trainers.WordPieceTrainer(vocab_size=size, special_tokens=list(SPECIAL), initial_alphabet=[*letters, *"?.,:;!'-"],
                                        show_progress=False)
    tokenizer.train_from_iterator([*texts, *(f"a{c}" for c in letters)], trainer)  # every letter also inside a word
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", SEP), ("[CLS]", CLS))
    return tokenizer


@cache
def tokenizer(path: Path = PATH) -> Tokenizer:
    """The shipped tokenizer. Raises UserError where its file is missing or damaged."""
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:
        raise UserError(f"tokenizer file {path.name} is missing or damaged: {error}") from None


def tokenize(texts: list[str], limit: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """Token ids (N, L) int64, zero-padded to the longest, and lengths (N,); [CLS] first, [SEP] last, cut to `limit` tokens."""
    encoded = [e.ids if len(e.ids) <= limit else [*e.ids[: limit - 1], SEP] for e in tokenizer().encode_batch(list(texts))]
    lengths = np.array([len(ids) for ids in encoded], np.int64)
    out = np.full((len(encoded), int(lengths.max(initial=1))), PAD, np.int64)
    for row, ids in zip(out, encoded):
        row[: len(ids)] = ids
    return out, lengths
