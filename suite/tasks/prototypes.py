"""Few-shot classes whose names are the classifier: each class's text, read by the backbone, is its prototype (papers.md section 1, CLIP).

The protocol is CoOp's (Zhou et al. 2022, arXiv:2109.01134): 16 pictures a class; from base to new classes as in CoCoOp (arXiv:2203.05557).
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import harmonic_mean
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from suite.core import Backbone, Batch, Features
from suite.data.classes import Digits, WorldClasses
from suite.data.text import PAD, tokenize
from suite.errors import UserError
from suite.recipe import Recipe
from suite.tasks.base import Split
from suite.tasks.classify import Classification

SHOTS = 16
"""Training pictures of a class."""
NO_CHOICE = -1e4
"""The logit of a class that is no choice."""


class Prototypes(nn.Module):
    """Cosine similarities of pictures with texts, by the backbone's own factor and a trained one that starts at 1.

    The texts are read anew at every call, since methods may act on them. ids: (C, N) tokens; there: (C, N) bool, which of them are.
    """

    def __init__(self, ids: Tensor, there: Tensor):
        super().__init__()
        self.register_buffer("ids", ids, persistent=False)
        self.register_buffer("there", there, persistent=False)
        self.log_scale = nn.Parameter(torch.zeros(1))

    def forward(self, backbone: Backbone, features: Features) -> Tensor:
        """-> (B, C)."""
        texts = backbone.text_features(self.ids, self.there)
        return backbone.logit_scale * self.log_scale.exp() * features.pooled @ texts.T


def prototypes(texts: list[str]) -> Prototypes:
    """Of texts in the shipped vocabulary."""
    ids = torch.from_numpy(tokenize(texts)[0])
    return Prototypes(ids, ids != PAD)


class Probe(nn.Linear):
    """A linear classifier of the class token before the projection (Radford et al. 2021, section 3.2)."""

    def forward(self, backbone: Backbone, features: Features) -> Tensor:
        """-> (B, C)."""
        return super().forward(features.tokens[:, 0])


@dataclass(eq=False)
class FewShot(Classification):
    """One picture a row and no text; the classes' names, with an article, are the prompts."""

    def head(self, backbone: Backbone, readout: str = "task") -> nn.Module:
        """Prototypes, or a linear probe where `readout` is "linear". Raises UserError where there are fewer than two classes."""
        names = self.reader.classes
        if len(names) < 2:
            raise UserError(f"{self.name} has {len(names)} class: there is nothing to choose from")
        return Probe(backbone.vision_width, len(names)) if readout == "linear" else prototypes([f"a {name}" for name in names])

    def logits(self, backbone: Backbone, head: nn.Module, batch: Batch) -> Tensor:
        """(B, C)."""
        return head(backbone, backbone(batch))

    def among(self, logits: Tensor, labels: Tensor | None) -> Tensor:
        """The logits (B, C) of rows with these labels (None: not known), NO_CHOICE for classes that are none there."""
        return logits

    def loss(self, backbone: Backbone, head: nn.Module, batch: Batch) -> Tensor:
        """Cross-entropy, mean over the batch."""
        return nn.functional.cross_entropy(self.among(self.logits(backbone, head, batch), batch.labels), batch.labels)

    @torch.no_grad()
    def predict(self, backbone: Backbone, head: nn.Module, batch: Batch) -> Tensor:
        """(B, C) float32 logits on the CPU, NO_CHOICE for what is none. The caller chooses evaluation mode."""
        return self.among(self.logits(backbone, head, batch), batch.labels).float().cpu()

    def labels(self, batch: Batch) -> Tensor:
        return batch.labels

    def collate(self, data: Split, rows: np.ndarray, rng: np.random.Generator) -> Batch:
        index = torch.from_numpy(rows)
        return data.batch(index, data.image_of[index, 0], labels=data.labels[index], ids=index)


@dataclass(eq=False)
class BaseToNew(FewShot):
    """Trained on the base classes; a picture of a base class is put among these, one of a new class among the new ones.

    The headline is the harmonic mean of the accuracies on base and new classes; of a split with base classes alone, their accuracy.
    """

    metric: ClassVar[str] = "h_mean"

    def among(self, logits: Tensor, labels: Tensor | None) -> Tensor:
        if labels is None:  # a pass that is only costed
            return logits
        base = torch.tensor(self.reader.base, device=labels.device)
        return logits.masked_fill(base != base[labels][:, None], NO_CHOICE)

    def score(self, split: str, outputs: list[Tensor]) -> tuple[dict[str, float], list[bool], list[str]]:
        """As Classification's, with the metrics `base`, `new` where the split has such rows, and `h_mean`."""
        _, correct, clusters = super().score(split, outputs)
        right, base = torch.tensor(correct).double(), torch.tensor(self.reader.base)[self.split(split).labels]
        found = {name: 100 * right[rows].mean().item() for name, rows in (("base", base), ("new", ~base)) if rows.any()}
        return found | {self.metric: harmonic_mean(list(found.values()))}, correct, clusters

    def floors(self) -> dict[str, float]:
        """One answer for all base and one for all new classes (percent): nothing is known without the picture."""
        base = sum(self.reader.base)
        chance = harmonic_mean([100 / base, 100 / (len(self.reader.classes) - base)])
        return {"majority": chance, "blind": chance}


def _world() -> BaseToNew:
    """16 pictures of each of 20 base classes; in the test 20 of each class."""
    reader = WorldClasses("world-classes", {"train": 20 * SHOTS, "validation": 200, "test": 800})
    return BaseToNew(reader, Recipe(epochs=8, batch_size=16), backbones=("clip",))


def _digits() -> FewShot:
    """16 pictures of each digit."""
    reader = Digits("digits", {"train": 10 * SHOTS, "validation": 400, "test": 1200})
    return FewShot(reader, Recipe(epochs=16, batch_size=16), backbones=("clip",))


TASKS = {"world-classes": _world, "digits": _digits}
