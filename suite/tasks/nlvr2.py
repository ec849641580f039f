"""Is a statement about two pictures true? NLVR2's protocol: each picture in a pass of its own, the two read-outs side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from suite.core import Backbone, Batch, Recipe
from suite.data.world_reader import WorldNlvr2
from suite.tasks.base import Split, classifier
from suite.tasks.classify import Classification


class Pair(NamedTuple):
    """The same statements with the left pictures (image type 1) and with the right ones (image type 2); labels and ids in `left`."""

    left: Batch
    right: Batch


@dataclass(eq=False)
class Nlvr2(Classification):
    """Two pictures and one statement a row."""

    def head(self, backbone: Backbone) -> nn.Module:
        """Linear(2D, 2D)-LN-GELU-Linear(2D, 2)."""
        return classifier(2 * backbone.width, 2 * backbone.width, 2)

    def features(self, backbone: Backbone, batch: Pair) -> Tensor:
        """(B, 2D): left, right."""
        return torch.cat([backbone(batch.left).pooled, backbone(batch.right).pooled], 1)

    def labels(self, batch: Pair) -> Tensor:
        return batch.left.labels

    def collate(self, data: Split, rows: np.ndarray, rng: np.random.Generator) -> Pair:
        ids, mask = data.text(rows)
        index = torch.from_numpy(rows)
        left, right = (data.pixels(data.image_of[index, k]) for k in (0, 1))
        return Pair(Batch(ids, mask, left, labels=data.labels[index], ids=index), Batch(ids, mask, right, image_type=2))


def _world() -> Nlvr2:
    return Nlvr2(WorldNlvr2("world-nlvr2", {"train": 400, "validation": 300, "test": 600}), Recipe(epochs=8, batch_size=32))


TASKS = {"world-nlvr2": _world}
