"""The smallest backbone, task and method that training accepts: milliseconds a cell."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from suite.core import Backbone, Batch, Features, Method, Plan, Trial
from suite.recipe import Recipe

WIDTH = 8
SIZES = {"train": 36, "validation": 24, "test": 30, "search-train": 24, "search-reward": 12}


class TinyBackbone(Backbone):
    """Features of three pixels through a frozen layer with dropout, an adapter where one is attached, and a trained pooler."""

    name = "tiny"

    @classmethod
    def build(cls, preset: str, pretrained: bool = True, device: str = "cpu") -> TinyBackbone:
        torch.manual_seed(0)
        model = nn.ModuleDict({"body": nn.Linear(3, WIDTH), "norm": nn.LayerNorm(WIDTH), "pooler": nn.Linear(WIDTH, WIDTH)})
        return cls(model.to(device), preset)

    @property
    def width(self) -> int:
        return WIDTH

    def sites(self, *kinds: str) -> list:
        return []

    def forward(self, batch: Batch) -> Features:
        hidden = nn.functional.dropout(self.model["norm"](self.model["body"](batch.pixels.mean((2, 3)))), 0.3, self.training)
        for adapter in self.attached.values():
            hidden = hidden + adapter(hidden)
        return Features(torch.tanh(self.model["pooler"](hidden)), hidden[:, None], torch.ones(len(hidden), 1))

    def always_trained(self) -> list[nn.Parameter]:
        return list(self.model["pooler"].parameters())


@dataclass
class TinyAdapter(Method):
    name: ClassVar[str] = "tiny_adapter"
    title: ClassVar[str] = "Tiny adapter"
    rank: int = 4

    def attach(self, backbone: Backbone, plan: Plan | None = None) -> None:
        backbone.attached["adapter"] = nn.Sequential(nn.Linear(WIDTH, self.rank), nn.ReLU(), nn.Linear(self.rank, WIDTH))


@dataclass
class TinySearch(TinyAdapter):
    """Searches by training both choices and taking the one of the lower loss."""

    name: ClassVar[str] = "tiny_search"

    def choose(self, backbone: Backbone, choice: Any) -> None:
        backbone.attached["adapter"][0].weight.data.mul_(1.0 if choice else 0.5)

    def search(self, trial: Trial) -> Plan:
        for _ in range(trial.epochs * trial.steps_per_epoch):
            trial.train_step(bool(trial.rng.integers(2)))
        trial.new_batch()
        losses = [trial.reward_loss(False), trial.reward_loss(True)]
        trial.trace["losses"] = losses
        return {"choice": int(np.argmin(losses))}


@dataclass
class TinyTask:
    """Which of three channels is brightest. `read` notes every split that is opened; `stop_at` = (epoch, step) calls `stop` there."""

    name: str = "tiny"
    metric: str = "accuracy"
    presets: tuple[str, ...] = ("mini", "paper")
    backbones: tuple[str, ...] = ("tiny",)
    also: tuple[str, ...] = ()
    group: str = ""
    dataset: str = ""
    unscored: tuple[str, ...] = ()
    validates: bool = True
    recipe: Recipe = field(default_factory=lambda: Recipe(epochs=4, batch_size=8))
    sizes: dict[str, int] = field(default_factory=lambda: dict(SIZES))
    read: list[str] = field(default_factory=list)
    stop_at: tuple[int, int] | None = None
    stop: Any = None

    def sequences(self) -> int:
        return self.sizes["train"]

    def blank(self, size: tuple[int, int, int]) -> None:
        return None

    def head(self, backbone: Backbone, readout: str = "task") -> nn.Module:
        return nn.Linear(backbone.width, 3)

    def pixels(self, split: str) -> Tensor:
        rng = np.random.default_rng([len(split), self.sizes[split]])
        return torch.from_numpy(rng.standard_normal((self.sizes[split], 3, 2, 2), dtype=np.float32))

    def batches(self, split: str, seed: int, epoch: int = 0, shuffle: bool = False, stored: Any = None) -> Iterator[Batch]:
        self.read.append(split)
        pixels = self.pixels(split)
        order = np.random.default_rng([seed, epoch]).permutation(len(pixels)) if shuffle else np.arange(len(pixels))
        for step, start in enumerate(range(0, len(order), self.recipe.batch_size)):
            if split == "train" and self.stop_at == (epoch, step):
                self.stop()
            ids = torch.from_numpy(order[start : start + self.recipe.batch_size])
            empty = torch.zeros(len(ids), 1, dtype=torch.long)
            yield Batch(empty, empty, pixels[ids], labels=brightest(pixels[ids]), ids=ids)

    def loss(self, backbone: Backbone, head: nn.Module, batch: Batch) -> Tensor:
        return nn.functional.cross_entropy(head(backbone(batch).pooled), batch.labels)

    def predict(self, backbone: Backbone, head: nn.Module, batch: Batch) -> Tensor:
        return head(backbone(batch).pooled).argmax(1).cpu()

    def percent(self, backbone: Backbone, head: nn.Module, batch: Batch) -> float:
        return 100 * (self.predict(backbone, head, batch) == batch.labels).double().mean().item()

    def score(self, split: str, outputs: list[Tensor]) -> tuple[dict[str, float], list[bool], list[str]]:
        correct = (torch.cat(outputs) == brightest(self.pixels(split))).tolist()
        return {"accuracy": 100 * sum(correct) / len(correct)}, correct, [str(i) for i in range(len(correct))]

    def kept(self, split: str, outputs: list[Tensor]) -> dict[str, np.ndarray]:
        return {}

    def floors(self) -> dict[str, float]:
        return {"majority": 34.0, "blind": 35.0}

    def data_hash(self) -> str:
        return "tiny"


def brightest(pixels: Tensor) -> Tensor:
    """(N, 3, H, W) -> (N,) the channel with the highest mean."""
    return pixels.mean((2, 3)).argmax(1)
