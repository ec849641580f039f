"""Scaled parallel adapters (He et al. 2022); papers.md section 5, golden README section 4."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from suite.core import Backbone, Method, Plan
from suite.modules import ParallelBottleneck, bottleneck_size


@dataclass
class ParallelAdapter(Method):
    """scale * up(relu(down(LN(x)))) beside every attention; behind the norm in layers that normalise after.

    bottleneck: inner width, None: an eighth of the width (the published 96; the released ViLT file holds 204).
    """

    name: ClassVar[str] = "parallel_adapter"
    title: ClassVar[str] = "Scaled PA"
    source: ClassVar[str] = "arXiv:2110.04366, papers.md section 5"
    bottleneck: int | None = None
    scale: float = 4.0

    def attach(self, backbone: Backbone, plan: Plan | None = None) -> None:
        sites = backbone.sites("self", "cross")
        self.resolve(bottleneck=[bottleneck_size(self.bottleneck, site) for site in sites])
        for site in sites:
            position = "output" if site.norm == "before" else "after_norm"
            site.attach(position, ParallelBottleneck(site.width, bottleneck_size(self.bottleneck, site), scale=self.scale))
