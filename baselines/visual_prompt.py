"""What DVP argues against: all visual tokens as prompts in front of the text, from the first layer on; papers.md section 4.1.

Only the abstract describes it: one linear map, nothing else, is petlbench's reading.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from suite.core import Backbone, Plan
from suite.visual import VisualMethod, WithAdapters, prompted


class VisualTokens(nn.Module):
    """Every token of the vision tower, V wide, mapped to the width D of the language model. At `visual.<layer>`."""

    def __init__(self, visual: int, width: int):
        super().__init__()
        self.map = nn.Linear(visual, width)

    def forward(self, x: Tensor, query: Tensor, images: Tensor) -> tuple[Tensor, Tensor]:
        """x (B, N, D), images (B, M, V) -> prompts (B, M, D), and x as it is."""
        return self.map(images), x


@dataclass
class VisualPrompt(VisualMethod):
    """The place is that of DVP's prompt, at the first layer (T5: of the decoder). The whole language model is trained, as in DVP."""

    name: ClassVar[str] = "visual_prompt"
    title: ClassVar[str] = "All visual tokens"
    source: ClassVar[str] = "arXiv:2306.00409, papers.md section 4.1"

    def attach(self, backbone: Backbone, plan: Plan | None = None) -> None:
        site = prompted(backbone)
        site.attach("visual.0", VisualTokens(backbone.vision_width, site.width))
        self.resolve(**self.tune(backbone))


@dataclass
class VisualPromptAdapter(WithAdapters, VisualPrompt):
    """The language model has adapters, as in DVP's other form."""

    name: ClassVar[str] = "visual_prompt_adapter"
    title: ClassVar[str] = "All visual tokens, adapters"
