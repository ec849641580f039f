"""Tasks that choose one of several classes for each row: loss, accuracy and floors. What a row is, the subclass says."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from suite.core import Backbone
from suite.tasks import floors
from suite.tasks.base import BaseTask


@dataclass(eq=False)
class Classification(BaseTask):
    """One true class a row. Subclasses give `head`, `collate`, and `features` and `labels` of a batch."""

    metric: ClassVar[str] = "accuracy"
    _floors: dict[str, float] = field(default_factory=dict, init=False, repr=False)

    def features(self, backbone: Backbone, batch: Any) -> Tensor:
        """(B, D'): what the head reads."""
        raise NotImplementedError

    def labels(self, batch: Any) -> Tensor:
        """(B,) int64."""
        raise NotImplementedError

    def loss(self, backbone: Backbone, head: nn.Module, batch: Any) -> Tensor:
        """Cross-entropy, mean over the batch."""
        return nn.functional.cross_entropy(head(self.features(backbone, batch)), self.labels(batch))

    @torch.no_grad()
    def predict(self, backbone: Backbone, head: nn.Module, batch: Any) -> Tensor:
        """(B, C) float32 logits on the CPU. The caller chooses evaluation mode."""
        return head(self.features(backbone, batch)).float().cpu()

    def percent(self, backbone: Backbone, head: nn.Module, batch: Any) -> float:
        """Accuracy of one batch."""
        return floors.accuracy(self.predict(backbone, head, batch).argmax(1), self.labels(batch).cpu())

    def score(self, split: str, outputs: list[Tensor]) -> tuple[dict[str, float], list[bool], list[str]]:
        """Accuracy in percent from the `predict` of every unshuffled batch; a row whose logits are not finite is wrong."""
        data = self.split(split)
        logits = torch.empty(len(data), outputs[0].shape[1])
        logits[data.by_length()] = torch.cat(outputs)
        correct = (logits.argmax(1) == data.labels) & logits.isfinite().all(1)
        return {self.metric: 100 * correct.double().mean().item()}, correct.tolist(), data.clusters

    def floors(self) -> dict[str, float]:
        """Test accuracy (percent) of the commonest training answer, and of the text alone (suite/tasks/floors.py)."""
        if not self._floors:
            parts = [self.split(name) for name in ("train", "validation", "test")]
            self._floors.update(floors.of_text(*((part.texts, part.labels) for part in parts)))
        return dict(self._floors)
