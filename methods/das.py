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
from suite.record import UserError


@dataclass
class DAS(Method):
    """skip: layers to skip (None: a third where layers have cross-attention, METER's 4 of 12, else 1).

    bottleneck: inner width in kept layers (None: an eighth of the width). skip_bottleneck: of the adapter that replaces a layer
    (None: the sum of the widths it replaces).
    Search: the first `warmup_epochs` without updates, unless the search has no more; an update after every `turn` steps, or more
    often where epochs are so short that fewer than `updates` would happen, each on `subsets` subsets; rate: the gates' step size.
    A choice is the list of skipped layers, as indices into `backbone.sites("layer")`.
    """

    name: ClassVar[str] = "das"
    title: ClassVar[str] = "DAS"
    source: ClassVar[str] = "arXiv:2309.01479, papers.md section 3"
    class_token: ClassVar[bool] = False
    claims: ClassVar[tuple[dict[str, Any], ...]] = (
        {"text": "fewer MACs than the backbone it started from", "metric": "macs", "better": "das", "than": "head", "relation": "<",
         "source": "abstract: 11.97 % fewer on METER"},
        {"text": "level with or above adapters", "metric": "accuracy", "better": "das", "than": "adapter", "relation": ">=",
         "source": "petlbench's own expectation"},
        {"text": "above the classifier alone on every task", "metric": "accuracy", "better": "das", "than": "head", "relation": ">",
         "every": True, "source": "petlbench's own expectation"},
    )  # fmt: skip
    skip: int | None = None
    bottleneck: int | None = None
    skip_bottleneck: int | None = None
    warmup_epochs: int = 1
    turn: int = 10
    updates: int = 30
    subsets: int = 3
    rate: float = 1.0

    def attach(self, backbone: Backbone, plan: Plan | None = None) -> None:
        """With a plan only what it uses; without one everything, for the search. Raises UserError for what is no plan of this backbone."""
        if backbone.sites("cross"):
            backbone.add_class_token()  # papers.md section 1: METER-DAS has one, ViLT-DAS has none
        layers = backbone.sites("layer")
        self._arms, self._skips = len(layers), self._skip_count(backbone)
        skipped = [] if plan is None else _skipped(plan, len(layers))
        inside = [_inside(layer) for layer in layers]
        kept = [bottleneck_size(self.bottleneck, layer) for layer in layers]
        replacing = [self.skip_bottleneck or size * len(sites) for size, sites in zip(kept, inside, strict=True)]
        self.resolve(skip=[self._skips], bottleneck=kept, skip_bottleneck=replacing)
        for index, layer in enumerate(layers):
            if plan is None or index in skipped:
                layer.attach("replace", SkipBottleneck(layer.width, replacing[index]))
            if index not in skipped:
                for site in inside[index]:
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

    def example_plan(self, backbone: Backbone) -> Plan:
        """The first layers are skipped: what is skipped changes no cost where layers are alike, how many are does."""
        return {"skipped": list(range(self._skip_count(backbone)))}

    def choose(self, backbone: Backbone, choice: list[int]) -> None:
        for index, layer in enumerate(backbone.sites("layer")):
            layer.target.replaced = index in choice

    def search(self, trial: Trial) -> Plan:
        """Papers.md section 3.3; every reward batch is drawn afresh (the official sampler always gives the same one).

        Traced: preferences and mean rewards of the layers, number of updates, steps from one to the next.
        """
        bandit = Bandit(self._arms, trial.rng, "sigmoid", self.rate)
        warmup = min(self.warmup_epochs, trial.epochs - 1) * trial.steps_per_epoch
        total = trial.epochs * trial.steps_per_epoch
        turn = max(1, min(self.turn, (total - warmup) // self.updates))
        count = updates = 0
        for step in range(total):
            trial.train_step(bandit.draw(self._skips))
            count += 1
            if count >= turn and step >= warmup:
                self._update(bandit, trial)
                count, updates = 0, updates + 1
        trial.trace |= {"preferences": bandit.preferences.tolist(), "rewards": bandit.means(), "updates": updates, "turn": turn}
        return {"skipped": bandit.best(self._skips)}

    def _update(self, bandit: Bandit, trial: Trial) -> None:
        trial.new_batch()
        subsets = bandit.distinct(self.subsets, self._skips)
        bandit.update(subsets, [math.exp(-trial.reward_loss(subset)) for subset in subsets])


def _inside(layer: Site) -> list[Site]:
    """The sub-layers of a layer."""
    return [s for s in layer.backbone.sites("self", "cross", "ffn") if (s.stream, s.depth) == (layer.stream, layer.depth)]


def _skipped(plan: Plan, layers: int) -> list[int]:
    skipped = plan.get("skipped")
    if not isinstance(skipped, list) or any(layer not in range(layers) for layer in skipped):
        raise UserError(f'a plan of das here is {{"skipped": [layers from 0 to {layers - 1}]}}, not {str(plan)[:80]}')
    return skipped
