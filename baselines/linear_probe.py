"""Linear probe (Radford et al. 2021): a linear classifier of the frozen picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from suite.core import Backbone, Method, Plan


@dataclass
class LinearProbe(Method):
    """The head reads the class token before it is projected to the space of the texts, and no text."""

    name: ClassVar[str] = "linear_probe"
    title: ClassVar[str] = "Linear probe"
    source: ClassVar[str] = "arXiv:2103.00020, section 3.2"
    readout: ClassVar[str] = "linear"

    def attach(self, backbone: Backbone, plan: Plan | None = None) -> None:
        """Nothing to attach."""

    def not_applicable(self, backbone: Backbone, task: str) -> str | None:
        if not hasattr(backbone, "text_features"):
            return "nothing classifies pictures alone here"
        unseen = task == "world-classes" or task.endswith("-new")
        return "a linear classifier has no weights for classes that it was not trained on" if unseen else None
