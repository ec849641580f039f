"""Dynamic Architecture Skipping; papers.md section 3, golden README section 6.

A bandit searches for layers that are not needed; a fresh run trains with a bottleneck in the place of each of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from suite.bandit import Bandit
from suite.core import Backbone, Method, Plan, Site, Trial
from suite.modules import Bottleneck, ParallelBottleneck, SkipBottleneck, bottleneck_size


@dataclass
class DAS(Method):
    """skip: layers to skip (None: a third where layers have cross-attention, METER's 4 of 12, else 1).

    bottleneck: inner width in kept layers (None: an eighth of the width). skip_bottleneck: of the adapter that replaces a layer
    (None: the sum of the widths it replaces).
    Search: `search_epochs` epochs, the first `warmup_epochs` without updates; an update after every `turn` steps, or more often
    where an epoch is so short that fewer than `updates` would happen, each on `subsets` subsets; rate: the gates' step size.
    A choice is the list of skipped layers, as indices into `backbone.sites("layer")`.
    """

    name: ClassVar[str] = "das"
    title: ClassVar[str] = "DAS"
    source: ClassVar[str] = "arXiv:2309.01479, papers.md section 3"
    class_token: ClassVar[bool] = False
    claims: ClassVar[tuple[dict[str, Any], ...]] = (
        {"text": "fewer MACs than the backbone it started from", "metric": "macs", "better": "das", "than": "head", "relation": "<"},
        {"text": "level with or above adapters", "metric": "accuracy", "better": "das", "than": "adapter", "relation": ">="},
        {"text": "above the classifier alone on every task", "metric": "accuracy", "better": "das", "than": "head", "relation": ">",
         "every": True},
    )  # fmt: skip
    skip: int | None = None
    bottleneck: int | None = None
    skip_bottleneck: int | None = None
    search_epochs: int = 3
    warmup_epochs: int = 1
    turn: int = 10
    updates: int = 15
    subsets: int = 3
    rate: float = 1.0

    def attach(self, backbone: Backbone, plan: Plan | None = None) -> None:
        """With a plan only what it uses; without one everything, for the search."""
        layers = backbone.sites("layer")
        self._arms, self._skips = len(layers), self._skip_count(backbone)
        skipped = [] if plan is None else plan["skipped"]
        for index, layer in enumerate(layers):
            inside = [s for s in backbone.sites("self", "cross", "ffn") if (s.stream, s.depth) == (layer.stream, layer.depth)]
            if plan is None or index in skipped:
                inner = self.skip_bottleneck or bottleneck_size(self.bottleneck, layer) * len(inside)
                layer.attach("replace", SkipBottleneck(layer.width, inner))
            if index not in skipped:
                for site in inside:
                    self._adapt(site)
        self.choose(backbone, skipped)

    def _adapt(self, site: Site) -> None:
        inner = bottleneck_size(self.bottleneck, site)
        if site.kind == "ffn" and site.norm == "after":
            site.attach("after_norm", ParallelBottleneck(site.width, inner))
        else:
            site.attach("around", Bottleneck(site.width, inner))

    def _skip_count(self, backbone: Backbone) -> int:
        return self.skip or (len(backbone.sites("layer")) // 3 if backbone.sites("cross") else 1)

    def choose(self, backbone: Backbone, choice: list[int]) -> None:
        for index, layer in enumerate(backbone.sites("layer")):
            layer.target.replaced = index in choice

    def search(self, trial: Trial) -> Plan:
        """Papers.md section 3.3; every reward batch is drawn afresh (the official sampler always gives the same one)."""
        bandit = Bandit(self._arms, trial.rng, "sigmoid", self.rate)
        steps = (self.search_epochs - self.warmup_epochs) * trial.steps_per_epoch
        turn = max(1, min(self.turn, steps // self.updates))
        count = updates = 0
        for step in range(self.search_epochs * trial.steps_per_epoch):
            trial.train_step(bandit.draw(self._skips))
            count += 1
            if count >= turn and step >= self.warmup_epochs * trial.steps_per_epoch:
                self._update(bandit, trial)
                count, updates = 0, updates + 1
        return {"skipped": bandit.best(self._skips), "preferences": bandit.preferences.tolist(), "updates": updates}

    def _update(self, bandit: Bandit, trial: Trial) -> None:
        trial.new_batch()
        subsets = bandit.distinct(self.subsets, self._skips)
        bandit.update(subsets, [math.exp(-trial.reward_loss(subset)) for subset in subsets])
