"""Sequential adapters (Houlsby et al. 2019); papers.md section 5, golden README section 4."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from suite.core import Backbone, Method, Plan
from suite.modules import SequentialBottleneck, bottleneck_size


@dataclass
class Adapter(Method):
    """z + up(relu(down(z))) on the output of every attention and feed-forward, before the residual.

    bottleneck: inner width, None: an eighth of the width. Starts at N(0, 0.02), to which the official model resets every Linear.
    """

    name: ClassVar[str] = "adapter"
    title: ClassVar[str] = "Adapter"
    source: ClassVar[str] = "arXiv:1902.00751, papers.md section 5"
    bottleneck: int | None = None

    def attach(self, backbone: Backbone, plan: Plan | None = None) -> None:
        sites = backbone.sites("self", "cross", "ffn")
        self.resolve(bottleneck=[bottleneck_size(self.bottleneck, site) for site in sites])
        for site in sites:
            site.attach("output", SequentialBottleneck(site.width, bottleneck_size(self.bottleneck, site), norm=False))
