"""Classifier only: the head and the always-trained parts, no module of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from suite.core import Backbone, Method, Plan


@dataclass
class Head(Method):
    """The lower reference of the papers' tables (`*_baseline` in the official code)."""

    name: ClassVar[str] = "head"
    title: ClassVar[str] = "Classifier only"
    source: ClassVar[str] = "papers.md section 5"

    def attach(self, backbone: Backbone, plan: Plan | None = None) -> None:
        """Nothing to attach."""

    def not_applicable(self, backbone: Backbone, task: str) -> str | None:
        if hasattr(backbone, "text_features"):
            return "the classifier is made of texts, which are not trained alone: see zero_shot"
        sites = backbone.sites("self", "cross", "layer", "sequence")
        if sites and all(site.stream == "latent" for site in sites):
            return "the backbone's own output is the result: there is no head, and nothing to train"
        return super().not_applicable(backbone, task)
