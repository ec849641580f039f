"""Visual prompt tuning, deep (Jia et al. 2022): prompts among the patches, new ones in every layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from suite.core import Backbone, Method, Plan, Site
from suite.modules import Prompt, prompt_length


class LayerPrompt(Prompt):
    """At `insert.<layer>`: behind the class token, in the place of what the layer before made of its own prompts."""

    def __init__(self, length: int, width: int, first: bool):
        super().__init__(length, width)
        self.replaced = 0 if first else length

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """x (B, N, D), mask (B, N) -> both with P visible tokens more than there are pictures' own."""
        tokens, rest = self.tokens.expand(len(x), -1, -1), 1 + self.replaced
        return torch.cat([x[:, :1], tokens, x[:, rest:]], 1), torch.cat([mask[:, :1], mask.new_ones(tokens.shape[:2]), mask[:, rest:]], 1)


@dataclass
class VPT(Method):
    """length: prompts of each layer of the pictures' tower (None: see prompt_length)."""

    name: ClassVar[str] = "vpt"
    title: ClassVar[str] = "VPT (deep)"
    source: ClassVar[str] = "arXiv:2203.12119, section 3.2"
    length: int | None = None

    def attach(self, backbone: Backbone, plan: Plan | None = None) -> None:
        (site,) = _towers(backbone)
        length = prompt_length(self.length, site)
        self.resolve(length=[length])
        for layer in range(site.target.depth):
            site.attach(f"insert.{layer}", LayerPrompt(length, site.width, first=layer == 0))

    def not_applicable(self, backbone: Backbone, task: str) -> str | None:
        return None if _towers(backbone) else "no layer that a method reaches sees pictures alone here"


def _towers(backbone: Backbone) -> list[Site]:
    """The picture's sequence, where it goes through layers that see nothing else."""
    crossed = {site.stream for site in backbone.sites("cross")}
    return [site for site in backbone.sites("sequence") if site.stream == "image" and site.stream not in crossed]
