"""A backbone at its two sizes, in a form for tracing, and when two of its outputs are the same."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn

from suite.core import Backbone, Batch

Kind = TypeVar("Kind", bound=Backbone)


def mini(kind: type[Kind]) -> Kind:
    """The mini size, randomly initialised, for evaluation."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    return kind.build("mini", pretrained=False).eval()


def at_paper_size(kind: type[Kind]) -> Kind:
    """The papers' size, without memory."""
    return kind.build("paper", pretrained=False, device="meta")


def assert_close(found: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


class Pooled(nn.Module):
    """Tensors in, tensor out, for tracing."""

    def __init__(self, backbone: Backbone):
        super().__init__()
        self.backbone = backbone

    def forward(self, ids: Tensor, mask: Tensor, pixels: Tensor) -> Tensor:
        return self.backbone(Batch(ids, mask, pixels)).pooled
