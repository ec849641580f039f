"""CoOp (Zhou et al. 2022): learned context vectors in front of the classes' names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from suite.core import Backbone, Method, Plan
from suite.modules import STD


class Context(nn.Module):
    """`tokens` (P, D), N(0, 0.02^2). At `insert.0` of texts: behind their first token, the start of text."""

    def __init__(self, length: int, width: int):
        super().__init__()
        self.tokens = nn.Parameter(torch.empty(length, width).normal_(std=STD))

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """x (B, N, D), mask (B, N) -> both with P visible tokens more."""
        tokens = self.tokens.expand(len(x), -1, -1)
        return torch.cat([x[:, :1], tokens, x[:, 1:]], 1), torch.cat([mask[:, :1], mask.new_ones(tokens.shape[:2]), mask[:, 1:]], 1)


@dataclass
class CoOp(Method):
    """length: context vectors, shared by all classes; 4 as from base to new classes in arXiv:2203.05557 (16 in the first paper).

    They stand in front of the whole prompt, which is the name with its article.
    """

    name: ClassVar[str] = "coop"
    title: ClassVar[str] = "CoOp"
    source: ClassVar[str] = "arXiv:2109.01134, section 3.2"
    length: int = 4

    def attach(self, backbone: Backbone, plan: Plan | None = None) -> None:
        (site,) = [site for site in backbone.sites("sequence") if site.stream == "text"]
        site.attach("insert.0", Context(self.length, site.width))

    def not_applicable(self, backbone: Backbone, task: str) -> str | None:
        return None if hasattr(backbone, "text_features") else "the classifier is not made of texts here"
