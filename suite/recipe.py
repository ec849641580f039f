"""How a task is trained. Knows nobody else in the suite."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Precision = Literal["fp32", "bf16", "fp16"]


@dataclass(frozen=True)
class Recipe:
    """Updates on `batch_size` examples; lr is the method's, found by `petlbench tune` or, at the papers' size, published.

    shared_lr: of the always-trained parts, for all methods alike, as in the papers, where every method has the same rate (None: the
    method's). Else a classifier alone becomes prompt tuning by its class token, at rates that no method with modules stands.
    head_multiplier, fusion_multiplier: factors of the rate for the head, and for `Backbone.fusion_parameters`. schedule: after the
    warm-up. micro_batch: examples of a forward; gradients are accumulated (None: all at once). precision: other than fp32 under
    autocast, fp16 with scaled losses. checkpointing: layers are computed again in the backward pass, for memory.
    """

    epochs: int
    batch_size: int
    warmup: float = 0.1
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.98)
    eps: float = 1e-8
    head_multiplier: float = 1.0
    fusion_multiplier: float = 1.0
    shared_lr: float | None = 1e-3
    schedule: Literal["linear", "cosine"] = "linear"
    precision: Precision = "fp32"
    micro_batch: int | None = None
    checkpointing: bool = False
    keep: Literal["best", "last"] = "last"
    clip: float | None = 1.0

    @property
    def rows(self) -> int:
        """Examples of a forward."""
        return min(self.micro_batch or self.batch_size, self.batch_size)

    @property
    def accumulated(self) -> int:
        """Forwards of an update."""
        return -(-self.batch_size // self.rows)
