"""Trainable modules that several methods share, and the sizes that follow the backbone. Shapes as in suite/layers.py."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from suite.core import Site
from suite.layers import extend_mask

STD = 0.02
"""Deviation of the normal initialisation in the official code of APT and DAS (golden README sections 3, 4 and 6)."""


def bottleneck_size(asked: int | None, site: Site) -> int:
    """Inner width of an adapter: what was asked, else an eighth of the width (96 at 768, the papers' size)."""
    return asked or site.width // 8


def prompt_length(asked: int | None, site: Site) -> int:
    """Number of prompt tokens: what was asked, else the papers' 200 at their size and a quarter of the sequence at others."""
    return asked or (200 if site.backbone.preset == "paper" else max(1, round(site.length / 4)))


class Bottleneck(nn.Module):
    """scale * up(relu(down(LN(x)))), LN left out where `norm` is false. Weights N(0, 0.02), biases 0."""

    def __init__(self, width: int, inner: int, norm: bool = True, scale: float = 1.0):
        super().__init__()
        self.ln = nn.LayerNorm(width, eps=1e-5) if norm else nn.Identity()
        self.down, self.up, self.scale = nn.Linear(width, inner), nn.Linear(inner, width), scale
        for linear in (self.down, self.up):
            nn.init.normal_(linear.weight, std=STD)
            nn.init.zeros_(linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D), without residual."""
        y = self.up(torch.relu(self.down(self.ln(x))))
        return y if self.scale == 1 else self.scale * y


class SequentialBottleneck(Bottleneck):
    """At `output`: works on the sub-layer's own output."""

    def forward(self, output: Tensor, u: Tensor) -> Tensor:
        return output + super().forward(output)


class ParallelBottleneck(Bottleneck):
    """At `output` or `after_norm`: reads the sub-layer's input, adds to what it gives."""

    def forward(self, output: Tensor, x: Tensor) -> Tensor:
        return output + super().forward(x)


class SkipBottleneck(Bottleneck):
    """At `replace`: stands in for a whole layer."""

    def forward(self, x: Tensor) -> Tensor:
        return x + super().forward(x)


class Prompt(nn.Module):
    """`tokens` (P, D), uniform in +-sqrt(6 / (3 * 16 * 16 + D)) (golden README section 5). At `key_value`."""

    def __init__(self, length: int, width: int):
        super().__init__()
        bound = math.sqrt(6 / (3 * 16 * 16 + width))
        self.tokens = nn.Parameter(torch.empty(length, width).uniform_(-bound, bound))

    def forward(self) -> Tensor:
        return self.tokens


class InsertedPrompt(Prompt):
    """At `insert.<layer>`: puts the tokens, visible, in front of the sequence, or behind it."""

    def __init__(self, length: int, width: int, front: bool):
        super().__init__(length, width)
        self.front = front

    def forward(self, x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """x (B, N, D), mask (B, N) or None -> both with P tokens more."""
        tokens = self.tokens.expand(len(x), -1, -1)
        if not self.front:
            return torch.cat([x, tokens], dim=1), extend_mask(mask, tokens.shape[1])
        return torch.cat([tokens, x], dim=1), None if mask is None else torch.cat([mask.new_ones(tokens.shape[:2]), mask], dim=1)
