"""Full tuning: every weight of the backbone is trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from suite.core import Backbone, Method, Plan


@dataclass
class Full(Method):
    """The upper reference of the papers' tables."""

    name: ClassVar[str] = "full"
    title: ClassVar[str] = "Full tuning"
    source: ClassVar[str] = "papers.md section 5"
    trains_backbone: ClassVar[bool] = True

    def attach(self, backbone: Backbone, plan: Plan | None = None) -> None:
        backbone.model.requires_grad_(True)

    def trainable(self, backbone: Backbone) -> list[nn.Parameter]:
        always = {id(p) for p in backbone.always_trained()}
        return [p for p in backbone.model.parameters() if id(p) not in always]
