"""The trial a method's search works with: training and reward batches, never from the evaluation splits."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
import torch

from suite import together
from suite.assemble import Trainee, assemble, derive, optimizer, steps_per_epoch, stream
from suite.core import Method, Plan, Task, seed_everything

EPOCHS = 3
"""Length of a search, as in DAS (papers.md section 3.3); less where the training itself is shorter."""
PARTS = {False: ("search-train", "search-reward"), True: ("train", "validation")}
"""What a search trains on and takes its rewards from; True: as the papers' own code does (papers.md sections 3.3 and 4.4)."""


class NonFiniteLoss(ArithmeticError):
    """A training loss that is not a number; the message names the step (counted from 1)."""


@dataclass(frozen=True)
class Found:
    """The plan, seconds, and what is noted for the record: epochs, optimiser steps, reward passes, the method's own trace."""

    plan: Plan
    seconds: float
    noted: dict[str, Any]


class SearchTrial:
    """core.Trial: updates at a constant learning rate, rewards in train mode, on fresh batches of a part of train held out for it."""

    def __init__(self, model: Trainee, seed: int, lr: float, epochs: int, official: bool = False):
        task, (train, reward) = model.task, PARTS[official]
        self.model = model.train()
        self.rng = np.random.default_rng(derive("search-choices", seed))
        self.official, self.epochs = official, epochs
        self.steps_per_epoch = -(-steps_per_epoch(task, train) // together.forwards(task.recipe))
        self.train_steps = self.reward_passes = 0
        self.trace: dict[str, Any] = {}
        self._optimizer = optimizer(model, task.recipe, lr)
        self._training = stream(model, train, derive("search-order", seed))
        self._rewarding = stream(model, reward, derive("reward-order", seed))
        self._batch: Any = None
        self._scaler = torch.amp.GradScaler(model.device.type, enabled=task.recipe.precision == "fp16")

    def train_step(self, choice: Any) -> float:
        """One update under `choice`. Raises NonFiniteLoss."""
        self.model.method.choose(self.model.backbone, choice)
        recipe = self.model.task.recipe
        parts = together.forwards(recipe)
        losses = [self._backward(parts) for _ in range(parts)]
        together.average_gradients(self.model.trained().values())
        if recipe.clip:
            self._scaler.unscale_(self._optimizer)
            torch.nn.utils.clip_grad_norm_(self.model.trained().values(), recipe.clip)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self._optimizer.zero_grad()
        self.train_steps += 1
        return self._finite(_shared(math.fsum(losses)))

    def _backward(self, parts: int) -> float:
        """One of the forwards of an update; its part of the loss."""
        loss = self.model.loss(next(self._training)) / parts
        self._scaler.scale(loss).backward()
        return loss.item()

    def new_batch(self) -> None:
        """Draw the next reward batch, as large as a training batch: as many forwards."""
        self._batch = [next(self._rewarding) for _ in range(together.forwards(self.model.task.recipe))]

    def reward_loss(self, choice: Any) -> float:
        """Loss of `choice` on the reward batch (the first call draws one). Raises NonFiniteLoss."""
        return self._finite(self._rewarded(choice, lambda batch: self.model.loss(batch).item()))

    def reward_score(self, choice: Any) -> float:
        """Percent right of `choice` on the reward batch (the first call draws one)."""
        return self._rewarded(choice, self.model.percent)

    def _rewarded(self, choice: Any, judge: Callable[[Any], float]) -> float:
        if self._batch is None:
            self.new_batch()
        self.model.method.choose(self.model.backbone, choice)
        self.reward_passes += 1
        with torch.no_grad():
            return _shared(math.fsum(map(judge, self._batch)) / len(self._batch))

    def _finite(self, loss: float) -> float:
        if not math.isfinite(loss):
            raise NonFiniteLoss(f"loss is {loss} in the search after step {self.train_steps}")
        return loss


def _shared(value: float) -> float:
    """The mean over all processes, so that they choose alike."""
    return together.mean(torch.tensor(value, dtype=torch.float64)).item() if together.count() > 1 else value


def search(method: Method, backbone_name: str, task: Task, seed: int, *, preset: str, lr: float, device: str = "cpu",
           epochs: int | None = None, official: bool = False) -> Found:
    """Run the method's search on a fresh backbone; the plan says which one. epochs: of the training, None as the recipe says.
    official: see PARTS. Raises NonFiniteLoss."""
    start = perf_counter()
    model = assemble(method, backbone_name, task, seed, preset=preset, plan=None, device=device)
    trial = SearchTrial(model, seed, lr, EPOCHS if epochs is None else min(EPOCHS, epochs), official)
    seed_everything(derive("search-dropout", seed))
    plan = method.search(trial) | {"backbone": backbone_name, "preset": preset}
    protocol = "official" if official else "held-out"
    steps = {"train_steps": trial.train_steps, "reward_passes": trial.reward_passes}
    took = {"protocol": protocol, "epochs": trial.epochs, **steps}
    return Found(plan, perf_counter() - start, trial.trace | took)
