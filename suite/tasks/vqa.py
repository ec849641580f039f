"""Visual question answering as a choice among the answers.

Cross-entropy, not the papers' BCE x 3129: that loss is for VQA2.0, where ten people answer each question and several answers
are partly right. Here every question has exactly one right answer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from suite.core import Backbone, Batch
from suite.data.easy_vqa import EasyVqa
from suite.data.world_reader import WorldVqa
from suite.recipe import Recipe
from suite.tasks.base import FUSION, LANGUAGE, Split, classifier
from suite.tasks.classify import Classification


@dataclass(eq=False)
class Vqa(Classification):
    """One picture and one question a row."""

    def head(self, backbone: Backbone, readout: str = "task") -> nn.Module:
        """Linear(D, H)-LN-GELU-Linear(H, C), H the backbone's `head_width`."""
        return classifier(backbone.width, backbone.head_width, len(self.reader.classes))

    def features(self, backbone: Backbone, batch: Batch) -> Tensor:
        """(B, D)."""
        return backbone(batch).pooled

    def labels(self, batch: Batch) -> Tensor:
        return batch.labels

    def collate(self, data: Split, rows: np.ndarray, rng: np.random.Generator) -> Batch:
        index = torch.from_numpy(rows)
        return data.batch(index, data.image_of[index, 0], labels=data.labels[index], ids=index)


def _world() -> Vqa:
    sizes = {"train": 1000, "validation": 500, "test": 1000}
    return Vqa(WorldVqa("world-vqa", sizes), Recipe(epochs=8, batch_size=32), backbones=FUSION)


def _many() -> Vqa:
    """For language models, which first see pictures here: of fewer questions they do not learn to look."""
    sizes = {"train": 4000, "validation": 500, "test": 1000}
    return Vqa(WorldVqa("world-vqa-4000", sizes), Recipe(epochs=5, batch_size=16), backbones=LANGUAGE, also=("llama",))


def _easy() -> Vqa:
    sizes = {"train": 250, "validation": 500, "test": 2000}
    return Vqa(EasyVqa("easy-vqa", sizes), Recipe(epochs=8, batch_size=32), backbones=("vilt",),
               also=("meter", *LANGUAGE, "llama", "lavin", "minilm"))


TASKS = {"world-vqa": _world, "world-vqa-4000": _many, "easy-vqa": _easy}
