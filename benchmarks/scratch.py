"""The same architecture from random weights, fully tuned and under a light method: what pre-training is compared with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from baselines.full import Full
from baselines.lora import Lora
from baselines.visual_prompt import VisualPromptAdapter
from suite.core import Backbone, Plan


def draw_afresh(backbone: Backbone) -> None:
    """Replace what a weight file holds by a random start, in place. (METER's has no embedding of second pictures, which stays.)"""
    fresh = type(backbone).build(backbone.preset, pretrained=False, device=str(next(backbone.parameters()).device))
    backbone.load_pretrained(fresh.pretrained_state())


@dataclass
class Scratch(Full):
    """Full tuning, its weights drawn afresh first."""

    name: ClassVar[str] = "scratch"
    title: ClassVar[str] = "Full tuning, from scratch"

    def attach(self, backbone: Backbone, plan: Plan | None = None) -> None:
        draw_afresh(backbone)
        super().attach(backbone, plan)


@dataclass
class ScratchLora(Lora):
    """LoRA on random weights, frozen as the pre-trained ones are: the random twin of a backbone."""

    name: ClassVar[str] = "scratch_lora"
    title: ClassVar[str] = "LoRA, on random weights"

    def attach(self, backbone: Backbone, plan: Plan | None = None) -> None:
        draw_afresh(backbone)
        super().attach(backbone, plan)


@dataclass
class ScratchVisualPrompt(VisualPromptAdapter):
    """As ScratchLora, for language models that see pictures by visual prompts alone."""

    name: ClassVar[str] = "scratch_visual_prompt_adapter"
    title: ClassVar[str] = "All visual tokens, adapters, on random weights"

    def attach(self, backbone: Backbone, plan: Plan | None = None) -> None:
        draw_afresh(backbone)
        super().attach(backbone, plan)
