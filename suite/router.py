"""LaVIN's adapter (RepAdapter with a router); papers.md section 3.4, golden README section 6. LaVIN and DAS on LaVIN have it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from suite.core import Backbone, Site

WIDTH = 8
"""Inner width of the adapters in LaVIN, at 4096 as at 1024; 8 here too where nothing else is asked for."""


def routed(backbone: Backbone) -> bool:
    """Does token 0 of this backbone's sequence say which modalities the input has? Routers read it."""
    return getattr(backbone, "modality_token", False)


def in_tower(backbone: Backbone) -> list[Site]:
    """Attentions of the image tower that LaVIN adapts too, at the published size; none at others, where the tower is computed once."""
    return backbone.tower_sites() if backbone.preset == "paper" else []


class Router(nn.Module):
    """w_0 up_b(z) + w_1 up_d(z), z = down(u), w = softmax(Linear(u of token 0) / 10), in float16 as in the official code.

    down, up_b, up_d: 1x1 convolutions; each half of z feeds a half of the width (inner has to be even). Starts at 0: `up_*` do.
    """

    temperature = 10.0

    def __init__(self, width: int, inner: int, dropout: float = 0.1):
        super().__init__()
        self.down, self.dropout = nn.Conv1d(width, inner, 1), nn.Dropout(dropout)
        self.up_b, self.up_d = (nn.Conv1d(inner, width, 1, groups=2) for _ in range(2))
        self.router = nn.Linear(width, 2)
        nn.init.xavier_uniform_(self.down.weight)
        for parameter in (self.down.bias, *self.up_b.parameters(), *self.up_d.parameters()):
            nn.init.zeros_(parameter)

    def forward(self, u: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D), without residual. At `skip`."""
        weights = torch.softmax(self.router(u[:, 0]) / self.temperature, dim=-1).half().to(u.dtype)
        z = self.dropout(self.down(u.transpose(1, 2)))
        y = weights[:, 0, None, None] * self.up_b(z) + weights[:, 1, None, None] * self.up_d(z)
        return y.transpose(1, 2)


class RouterAdapter(Router):
    """At `input`: joins what the attention reads."""

    def forward(self, u: Tensor) -> Tensor:
        return u + super().forward(u)
