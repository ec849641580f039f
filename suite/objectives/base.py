"""What a mini backbone is pre-trained on; `suite/pretrain.py` does it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from suite import backbones
from suite.core import Backbone


@dataclass(frozen=True)
class Plan:
    """ranks: processes. lr: of AdamW, muon_lr: of Muon, which has the matrices of the layers.

    The learning rate falls linearly over the last `decay` of the steps before `again`, and once more, from `restart` of its height, over
    all that follow; a killed run goes on from the last multiple of `save`. One object more comes in at each step of `stages`.
    """

    steps: int = 10_000
    ranks: int = 2
    seed: int = 0
    lr: float = 3e-3
    muon_lr: float = 2e-2
    warmup: int = 200
    decay: int = 3_000
    again: int = 8_000
    restart: float = 0.3
    save: int = 500
    stages: tuple[int, ...] = ()

    def scale(self, step: int) -> float:
        """Learning-rate factor: warm-up, plateau, linear decay, and a second decay from a lower height."""
        if step >= self.again:
            return self.restart * (self.steps - step) / (self.steps - self.again)
        return min((step + 1) / self.warmup, (self.again - step) / self.decay, 1.0)

    def objects(self, step: int) -> tuple[int, int]:
        """The range of object counts at this step."""
        return (1, 1 + sum(step >= first for first in self.stages))

    def draw(self, step: int, rank: int) -> int:
        """The seed of the draws of one step in one process."""
        return (self.seed * 10**9 + step) * 64 + rank


class Objective:
    """A backbone's objective and plan. losses: names of what `gradients` returns. told: `objective` and `data`, for the card."""

    losses: ClassVar[tuple[str, ...]]
    told: ClassVar[dict[str, str]]

    def __init__(self, backbone: str, plan: Plan):
        self.backbone, self.plan = backbone, plan

    def build(self) -> Backbone:
        """The mini backbone with random weights."""
        return backbones.load(self.backbone).build("mini", pretrained=False)

    def prepare(self, backbone: Backbone) -> None:
        """What is done to fresh weights, the same in every process, before the first step."""

    def matrices(self, backbone: Backbone) -> list[nn.Parameter]:
        """The weights that Muon trains: the matrices of the layers."""
        return [p for name, p in backbone.model.named_parameters() if "layer" in name and p.ndim == 2 and "norm" not in name.lower()]

    def gradients(self, backbone: Backbone, step: int, rank: int) -> Tensor:
        """Accumulate this process's gradients of one step; its mean losses."""
        raise NotImplementedError

    def settle(self, backbone: Backbone) -> None:
        """What is done to the trained weights, once, behind the last step."""

    def scores(self, backbone: Backbone) -> dict[str, float]:
        """What the backbone knows of held-out data, in percent; for the card."""
        raise NotImplementedError

    def seen(self) -> dict[str, Any]:
        """How much was seen, for the card."""
        return {}
