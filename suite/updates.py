"""How weights are updated: mmengine's optimiser wrapper and scheduler, for what the recipe asks."""

from __future__ import annotations

import math
from typing import Any

import torch
from mmengine.optim import AmpOptimWrapper, OptimWrapper, _ParamScheduler
from mmengine.optim.scheduler.lr_scheduler import LRSchedulerMixin

from suite import together
from suite.recipe import Recipe


def wrapped(optimiser: torch.optim.Optimizer, recipe: Recipe, epoch: int) -> OptimWrapper:
    """The optimiser with clipping, accumulation over all processes and, for fp16, scaled losses. epoch: see QuietWrapper."""
    kind = QuietScaledWrapper if recipe.precision == "fp16" else QuietWrapper
    clip = {"max_norm": recipe.clip} if recipe.clip else None
    found = kind(optimizer=optimiser, clip_grad=clip, accumulative_counts=together.forwards(recipe))
    found.epoch = epoch
    return found


class QuietWrapper(OptimWrapper):
    """mmengine's wrapper that clips without noting the norm in its global hub, which would wait for the device at every step; of several
    processes all update by the same gradients. No update goes over the end of an epoch.

    epoch: forwards of an epoch, that a process makes.
    """

    epoch: int = 1

    def should_update(self) -> bool:
        return self._inner_count % self.epoch % self._accumulative_counts == 0

    def scale_loss(self, loss: torch.Tensor) -> torch.Tensor:
        """Its share of the update: the last one of an epoch may have fewer forwards."""
        whole = self.epoch // self._accumulative_counts * self._accumulative_counts
        last = self._inner_count % self.epoch >= whole
        return loss / (self.epoch - whole if last else self._accumulative_counts)

    def step(self, **kwargs: Any) -> None:
        together.average_gradients(p for group in self.param_groups for p in group["params"])
        super().step(**kwargs)

    def _clip_grad(self) -> None:
        self.clip_func([p for group in self.param_groups for p in group["params"] if p.grad is not None], **self.clip_grad_kwargs)


class QuietScaledWrapper(QuietWrapper, AmpOptimWrapper):
    """With losses scaled for fp16, whose small gradients would be lost; on a GPU alone."""


def factor(step: int, total: int, warmup: float, schedule: str = "linear") -> float:
    """Part of the base learning rate at a step (from 0): linear from 0 over the warm-up, then by the schedule to 0 at `total`."""
    rise = max(1, round(total * warmup)) if warmup else 0
    if step < rise:
        return step / rise
    left = max(0.0, (total - step) / max(1, total - rise))
    return left if schedule == "linear" else (1 - math.cos(math.pi * left)) / 2


class Warmup(LRSchedulerMixin, _ParamScheduler):
    """`factor` as a per-step mmengine scheduler, in closed form, so that no rounding adds up. It counts updates, not forwards.
    epoch: see QuietWrapper."""

    def __init__(self, wrapper: OptimWrapper, epoch: int, recipe: Recipe):
        self.epoch, self.parts, self.warmup, self.schedule = epoch, together.forwards(recipe), recipe.warmup, recipe.schedule
        self.updates = -(-epoch // self.parts)
        self.total = recipe.epochs * self.updates
        super().__init__(wrapper, by_epoch=False)

    def _get_value(self) -> list[float]:
        return [base * factor(self._update(), self.total, self.warmup, self.schedule) for base in self.base_values]

    def _update(self) -> int:
        """The number, from 0, of the one that this forward belongs to."""
        epochs, within = divmod(self.last_step, self.epoch)
        return epochs * self.updates + within // self.parts
