"""Dynamic Architecture Skipping; papers.md section 3, golden README section 6.

A bandit searches for layers that are not needed; a fresh run trains with a bottleneck in the place of each of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from suite.bandit import Bandit
from suite.core import Backbone, Method, Plan, Trial
from suite.errors import UserError
from suite.router import in_tower, routed
from suite.skipping import adapt, inside, replace, sizes


@dataclass
class DAS(Method):
    """skip: layers to skip (None: a third where layers have cross-attention, METER's 4 of 12, LaVIN's 6 of 32, else 1).

    bottleneck: inner width in kept layers (None: an eighth of the width). skip_bottleneck: of the adapter that replaces a layer
    (None: the sum of the widths it replaces).
    Search: the first `warmup_epochs` without updates, unless the search has no more; an update after every `turn` steps, or more
    often where epochs are so short that fewer than `updates` would happen, each on `subsets` subsets; rate: the gates' step size.
    A choice is the list of skipped layers, as indices into `backbone.sites("layer")`.
    On LaVIN (papers.md section 3.4), whose token 0 routes: LaVIN's adapters, 8 and, skipping, four times as wide, on what self-attention
    reads; a search with half its epochs for warm-up (None: so, else 1), `often` updates an epoch, a rate
    of 0.05 (None: so, else 1), and rewards in train mode all the same (the official ones are in evaluation mode).
    """

    name: ClassVar[str] = "das"
    title: ClassVar[str] = "DAS"
    source: ClassVar[str] = "arXiv:2309.01479, papers.md section 3"
    claims: ClassVar[tuple[dict[str, Any], ...]] = (
        {"text": "fewer MACs than the backbone it started from", "metric": "macs", "better": "das", "than": "head", "relation": "<",
         "source": "abstract: 11.97 % fewer on METER"},
        {"text": "level with or above adapters", "metric": "accuracy", "better": "das", "than": "adapter", "relation": ">=",
         "source": "petlbench's own expectation"},
        {"text": "level with or above LaVIN's adapters with no layer skipped", "metric": "accuracy", "better": "das", "than": "lavin",
         "relation": ">=", "source": "README of the official code: 89.41 and 89.15 on ScienceQA with 2 and 4 layers skipped, LaVIN 89.41"},
        {"text": "the layers that the search finds are better skipped than random ones", "metric": "accuracy", "better": "das",
         "than": "das_random", "relation": ">", "control": True, "source": "the paper's reason for a search; its table could not be read"},
        {"text": "above the classifier alone on every task", "metric": "accuracy", "better": "das", "than": "head", "relation": ">",
         "every": True, "source": "petlbench's own expectation"},
    )  # fmt: skip
    skip: int | None = None
    bottleneck: int | None = None
    skip_bottleneck: int | None = None
    warmup_epochs: int | None = None
    turn: int = 10
    often: int = 150
    updates: int = 30
    subsets: int = 3
    rate: float | None = None

    def class_token(self, backbone: Backbone) -> bool:
        """METER-DAS has one, ViLT-DAS has none (papers.md section 1)."""
        return bool(backbone.sites("cross"))

    def not_applicable(self, backbone: Backbone, task: str) -> str | None:
        return super().not_applicable(backbone, task) or (None if backbone.sites("layer") else "no layer can be skipped as a whole here")

    def attach(self, backbone: Backbone, plan: Plan | None = None) -> None:
        """With a plan only what it uses; without one everything, for the search. Raises UserError for what is no plan of this backbone."""
        layers, self._routed = backbone.sites("layer"), routed(backbone)
        self._arms, self._skips = len(layers), self._skip_count(backbone)
        self._warmup = self.warmup_epochs if self.warmup_epochs is not None else 5 if self._routed else 1
        self._rate = self.rate or (0.05 if self._routed else 1.0)
        skipped = [] if plan is None else _skipped(plan, len(layers))
        kept, replacing = zip(*(sizes(layer, self.bottleneck, self.skip_bottleneck) for layer in layers))
        self.resolve(skip=[self._skips], bottleneck=kept, skip_bottleneck=replacing, warmup_epochs=[self._warmup], rate=[self._rate])
        for site in in_tower(backbone) if self._routed else ():
            adapt(site, kept[0])
        for index, layer in enumerate(layers):
            if plan is None or index in skipped:
                replace(layer, replacing[index])
            if index not in skipped:
                for site in inside(layer):
                    adapt(site, kept[index])
        self.choose(backbone, skipped)

    def _skip_count(self, backbone: Backbone) -> int:
        layers = len(backbone.sites("layer"))
        return self.skip or (max(1, 3 * layers // 16) if routed(backbone) else layers // 3 if backbone.sites("cross") else 1)

    def example_plan(self, backbone: Backbone) -> Plan:
        """The first layers are skipped: what is skipped changes no cost where layers are alike, how many are does."""
        return {"skipped": list(range(self._skip_count(backbone)))}

    def choose(self, backbone: Backbone, choice: list[int]) -> None:
        for index, layer in enumerate(backbone.sites("layer")):
            layer.target.replaced = index in choice

    def search(self, trial: Trial) -> Plan:
        """Papers.md sections 3.3 and 3.4.

        Traced: preferences and mean rewards of the layers, number of updates, steps from one to the next, steps before the first.
        """
        bandit = Bandit(self._arms, trial.rng, "sigmoid", self._rate)
        warmup, total = (epochs * trial.steps_per_epoch for epochs in (min(self._warmup, trial.epochs // 2), trial.epochs))
        asked = trial.steps_per_epoch // self.often if self._routed else self.turn
        turn = max(1, min(asked, (total - warmup) // self.updates))
        count = updates = 0
        for step in range(total):
            trial.train_step(bandit.draw(self._skips))
            count += 1
            if count >= turn and step >= warmup:
                self._update(bandit, trial)
                count, updates = 0, updates + 1
        counts = {"updates": updates, "turn": turn, "warmup_steps": warmup}
        trial.trace |= {"preferences": bandit.preferences.tolist(), "rewards": bandit.means()} | counts
        return {"skipped": bandit.best(self._skips)}

    def _update(self, bandit: Bandit, trial: Trial) -> None:
        if self._routed or not trial.official:  # whose sampler, but LaVIN's, always gives the same batch
            trial.new_batch()
        subsets = bandit.distinct(self.subsets, self._skips)
        bandit.update(subsets, [math.exp(-trial.reward_loss(subset)) for subset in subsets])


def _skipped(plan: Plan, layers: int) -> list[int]:
    skipped = plan.get("skipped")
    known = isinstance(skipped, list) and all(type(layer) is int and layer in range(layers) for layer in skipped)
    if not known or len({*skipped}) < len(skipped):
        raise UserError(f'a plan of das here is {{"skipped": [different layers from 0 to {layers - 1}]}}, not {str(plan)[:80]}')
    return skipped
