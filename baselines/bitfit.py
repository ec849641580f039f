"""BitFit (Ben Zaken et al. 2022): the biases of the frozen backbone are trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from suite.core import Backbone, Method, Plan


@dataclass
class BitFit(Method):
    """Every bias of the backbone's Linears, convolutions and norms; the always-trained ones are counted there."""

    name: ClassVar[str] = "bitfit"
    title: ClassVar[str] = "BitFit"
    source: ClassVar[str] = "arXiv:2106.10199"

    def attach(self, backbone: Backbone, plan: Plan | None = None) -> None:
        for bias in self.trainable(backbone):
            bias.requires_grad_(True)

    def trainable(self, backbone: Backbone) -> list[nn.Parameter]:
        always = {id(p) for p in backbone.always_trained()}
        return [p for name, p in backbone.model.named_parameters() if name.endswith("bias") and id(p) not in always]

    def not_applicable(self, backbone: Backbone, task: str) -> str | None:
        reason = super().not_applicable(backbone, task)
        return reason or (None if self.trainable(backbone) else "the backbone has no biases of its own")
