"""What the frozen part of a backbone makes of a task's pictures and texts: computed once, shared by methods, seeds and workers.

Stored as .npy files under the hash of what they depend on, mapped into memory; to lose them costs time, nothing else. Where a backbone
has a tokenizer of its own, it cuts the texts here too.
"""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from suite.core import Backbone, Prefix, normalise
from suite.plugins import source_hash

if TYPE_CHECKING:
    from suite.tasks.base import BaseTask, Split

FOLDER = Path(".cache/prefix")
CHUNK = 128
"""Pictures or texts of a forward."""

Tokenize = Callable[[list[str]], tuple[np.ndarray, np.ndarray]]
"""As suite.data.text.tokenize."""


class Stored:
    """The splits of a task with the results of one backbone's prefix; see `of`."""

    def __init__(self, prefix: Prefix, tokenize: Tokenize | None, backbone_hash: str):
        self.prefix, self.tokenize, self.hash = prefix, tokenize, backbone_hash
        self._splits: dict[tuple[str, str], Split] = {}

    @classmethod
    def of(cls, backbone: Backbone) -> Stored | None:
        """None where the backbone has no prefix, or trains a part of it, and no tokenizer of its own."""
        prefix = backbone.prefix()
        if prefix is None or any(p.requires_grad for p in prefix.parameters):
            if backbone.tokenize is None:
                return None
            prefix = Prefix([])
        total = hashlib.sha256(f"{source_hash(Path(inspect.getfile(type(backbone))))} {torch.__version__}".encode())
        for parameter in prefix.parameters:
            total.update(parameter.detach().cpu().contiguous().numpy().tobytes())
        return cls(prefix, backbone.tokenize, total.hexdigest())

    def split(self, task: BaseTask, name: str) -> Split:
        """The split with `image_tokens` and `text_tokens`, of texts as the backbone's own tokenizer cuts them."""
        key = task.name, name
        if key not in self._splits:
            data = task.split(name)
            if self.tokenize:
                data = dataclasses.replace(data, tokens=torch.from_numpy(self.tokenize(data.texts)[0]))
            if self.prefix.images:
                data = dataclasses.replace(data, image_tokens=self._table(data.images, lambda part: self.prefix.images(normalise(part))))
            if self.prefix.texts:
                data = dataclasses.replace(data, text_tokens=self._table(data.tokens, lambda part: self.prefix.texts(part, part != 0)))
            self._splits[key] = data
        return self._splits[key]

    def _table(self, inputs: Tensor, compute: Callable[[Tensor], Tensor]) -> Tensor:
        """`compute` of all rows of `inputs`, read from the file that holds it or written there."""
        content = hashlib.sha256(f"{self.hash} {list(inputs.shape)}".encode())
        content.update(inputs.contiguous().numpy().tobytes())
        path = FOLDER / f"{content.hexdigest()}.npy"
        try:
            return torch.from_numpy(np.load(path, mmap_mode="c"))
        except (OSError, ValueError):  # not there, or damaged
            pass
        device = self.prefix.parameters[0].device
        with torch.no_grad():
            found = torch.cat([compute(part.to(device)).cpu() for part in inputs.split(CHUNK)])
        _keep(path, found.numpy())
        return found


def _keep(path: Path, array: np.ndarray) -> None:
    """Write the file as a whole or, where that cannot be done, not at all: it only saves time."""
    draft = path.with_suffix(f".{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(draft, "wb") as file:
            np.save(file, array)
        os.replace(draft, path)
    except OSError:
        draft.unlink(missing_ok=True)
