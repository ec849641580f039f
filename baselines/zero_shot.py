"""Zero-shot classes (Radford et al. 2021): the names of the classes as they are, nothing of the backbone trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from suite.core import Backbone, Method, Plan


@dataclass
class ZeroShot(Method):
    """The factor of the similarities, which the head trains, changes no answer."""

    name: ClassVar[str] = "zero_shot"
    title: ClassVar[str] = "Zero-shot"
    source: ClassVar[str] = "arXiv:2103.00020, section 3.1"

    def attach(self, backbone: Backbone, plan: Plan | None = None) -> None:
        """Nothing to attach."""

    def not_applicable(self, backbone: Backbone, task: str) -> str | None:
        return None if hasattr(backbone, "text_features") else "a trained classifier is needed: pictures are not compared with texts here"
