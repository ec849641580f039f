"""Dynamic Visual Prompting; papers.md section 4, golden README section 7.

A language model sees a picture as one token, made by cross-attention from what the text is about, and put in front of the text at a layer
that a bandit searches for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from suite.bandit import Bandit
from suite.core import Backbone, Plan, Trial
from suite.errors import UserError
from suite.visual import PromptGenerator, VisualMethod, WithAdapters, prompted


def _claims(own: str, than: str) -> tuple[dict[str, Any], ...]:
    """What the abstract says, with the baseline trained as `own` is."""
    return (
        {"text": "above all visual tokens as prompts", "metric": "accuracy", "better": own, "than": than, "relation": ">",
         "source": "arXiv 2306.00409 v2, abstract: 2.28 points more on VQA2.0"},
        {"text": "fewer MACs than all visual tokens as prompts", "metric": "macs", "better": own, "than": than, "relation": "<",
         "source": "abstract: 80 % fewer FLOPs, by an unknown convention; papers.md section 6 derives 47 % with the vision tower"},
    )  # fmt: skip


def _searched(than: str, where: str) -> dict[str, Any]:
    return {"text": f"the layer that the search finds is above {where}", "metric": "accuracy", "better": "dvp", "than": than,
            "relation": ">", "control": True,
            "source": "abstract: the search finds the best place for each model; the table that shows it could not be read"}  # fmt: skip


@dataclass
class DVP(VisualMethod):
    """The whole language model is trained.

    inner: width of the generator, None: the language model's; for a decoder-only one, LLaMA, which also has no type embeddings, two thirds
    of the vision tower's (512 of 768 at paper size). heads: None: the language model's, in LLaMA half of them (16 at paper size).
    dropout: on the attention map.
    Search: `epochs`, unless the search has fewer; each step trains with the prompt at a layer drawn evenly and is followed by `draws`
    rewards, in percent right, on a new reward batch, by which the preferences move (rate: step size). draws: None: 5, in LLaMA 10.
    A choice is the layer; a plan {"layer": layer}.
    """

    name: ClassVar[str] = "dvp"
    title: ClassVar[str] = "DVP"
    source: ClassVar[str] = "arXiv:2306.00409, papers.md section 4"
    claims: ClassVar[tuple[dict[str, Any], ...]] = (
        *_claims("dvp", "visual_prompt"), _searched("dvp_first", "the first layer"), _searched("dvp_random", "random layers, in the mean")
    )  # fmt: skip
    inner: int | None = None
    heads: int | None = None
    dropout: float = 0.1
    epochs: int = 2
    draws: int | None = None
    rate: float = 0.005

    def attach(self, backbone: Backbone, plan: Plan | None = None) -> None:
        """With a plan one generator; without one a generator for each layer, for the search. Raises UserError for what is no plan here."""
        site = prompted(backbone)
        self._arms = site.target.depth
        layers = range(self._arms) if plan is None else [_layer(plan, self._arms)]
        typed, attention = not backbone.decoder_only, backbone.sites("self")[-1].target.heads
        inner = self.inner or (site.width if typed else backbone.vision_width * 2 // 3)
        heads, self._draws = self.heads or (attention if typed else attention // 2), self.draws or (5 if typed else 10)
        for layer in layers:
            generator = PromptGenerator(site.width, backbone.vision_width, inner, heads, typed, self.dropout)
            site.attach(f"visual.{layer}", generator)
        self.choose(backbone, layers[0])
        self.resolve(inner=[inner], heads=[heads], draws=[self._draws], **self.tune(backbone))

    def choose(self, backbone: Backbone, choice: int) -> None:
        prompted(backbone).target.placed = choice

    def example_plan(self, backbone: Backbone) -> Plan:
        """The first layer, where a prompt costs most."""
        return {"layer": 0}

    def search(self, trial: Trial) -> Plan:
        """Papers.md section 4.4. Traced: preferences and mean rewards of the layers, number of updates."""
        bandit = Bandit(self._arms, trial.rng, "softmax", self.rate)
        steps = min(self.epochs, trial.epochs) * trial.steps_per_epoch
        for _ in range(steps):
            trial.train_step(int(trial.rng.integers(self._arms)))
            trial.new_batch()
            drawn = [bandit.draw() for _ in range(self._draws)]
            bandit.update(drawn, [trial.reward_score(layer) for (layer,) in drawn])
        trial.trace |= {"preferences": bandit.preferences.tolist(), "rewards": bandit.means(), "updates": steps}
        return {"layer": bandit.best()[0]}


@dataclass
class DVPAdapter(WithAdapters, DVP):
    """The language model has adapters."""

    name: ClassVar[str] = "dvp_adapter"
    title: ClassVar[str] = "DVP, adapters"
    claims: ClassVar[tuple[dict[str, Any], ...]] = _claims("dvp_adapter", "visual_prompt_adapter")


def _layer(plan: Plan, layers: int) -> int:
    layer = plan.get("layer")
    if type(layer) is not int or layer not in range(layers):
        raise UserError(f'a plan of dvp here is {{"layer": one of 0 to {layers - 1}}}, not {str(plan)[:80]}')
    return layer
