"""Is a statement about two pictures true? NLVR2's protocol: each picture in a pass of its own, the two read-outs side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from suite.core import Backbone, Batch
from suite.data.world_reader import WorldNlvr2
from suite.recipe import Recipe
from suite.tasks.base import FUSION, Split, classifier
from suite.tasks.classify import Classification


class Pair(NamedTuple):
    """The same statements with the left pictures (image type 1) and with the right ones (image type 2); labels and ids in `left`."""

    left: Batch
    right: Batch


@dataclass(eq=False)
class Nlvr2(Classification):
    """Two pictures and one statement a row."""

    def head(self, backbone: Backbone, readout: str = "task") -> nn.Module:
        """Linear(2D, H)-LN-GELU-Linear(H, 2), H the backbone's `head_width`."""
        return classifier(2 * backbone.width, backbone.head_width, 2)

    def features(self, backbone: Backbone, batch: Pair) -> Tensor:
        """(B, 2D): left, right."""
        return torch.cat([backbone(batch.left).pooled, backbone(batch.right).pooled], 1)

    def labels(self, batch: Pair) -> Tensor:
        return batch.left.labels

    def collate(self, data: Split, rows: np.ndarray, rng: np.random.Generator) -> Pair:
        index = torch.from_numpy(rows)
        left, right = data.image_of[index].unbind(1)
        return Pair(data.batch(index, left, labels=data.labels[index], ids=index), data.batch(index, right, image_type=2))


def _world() -> Nlvr2:
    sizes = {"train": 400, "validation": 300, "test": 600}
    return Nlvr2(WorldNlvr2("world-nlvr2", sizes), Recipe(epochs=8, batch_size=32), backbones=FUSION)


TASKS = {"world-nlvr2": _world}
