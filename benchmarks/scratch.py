"""Full tuning of the same architecture from random weights: what pre-training is compared with (benchmarks/transfer.py)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from baselines.full import Full
from suite.core import Backbone, Plan


@dataclass
class Scratch(Full):
    """Full tuning, its weights drawn afresh first."""

    name: ClassVar[str] = "scratch"
    title: ClassVar[str] = "Full tuning, from scratch"

    def attach(self, backbone: Backbone, plan: Plan | None = None) -> None:
        fresh = type(backbone).build(backbone.preset, pretrained=False, device=str(next(backbone.parameters()).device))
        backbone.model.load_state_dict(fresh.model.state_dict())
        backbone.heads.load_state_dict(fresh.heads.state_dict())
        super().attach(backbone, plan)
