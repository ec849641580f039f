"""LaVIN (Luo et al. 2023): a language model reads pictures as tokens, through adapters that a router mixes; papers.md section 3.4."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from suite.core import Backbone, Method, Plan
from suite.router import WIDTH, RouterAdapter, in_tower, routed


@dataclass
class Lavin(Method):
    """Adapters on what every self-attention reads, mixed by what token 0 says of the input; at the published size in the tower too.

    bottleneck: inner width, even. dropout: inside the adapters.
    """

    name: ClassVar[str] = "lavin"
    title: ClassVar[str] = "LaVIN"
    source: ClassVar[str] = "arXiv:2305.15023, papers.md section 3.4"
    bottleneck: int = WIDTH
    dropout: float = 0.1

    def attach(self, backbone: Backbone, plan: Plan | None = None) -> None:
        for site in (*in_tower(backbone), *backbone.sites("self")):
            site.attach("input", RouterAdapter(site.width, self.bottleneck, self.dropout))

    def not_applicable(self, backbone: Backbone, task: str) -> str | None:
        return None if routed(backbone) else "it routes by a token that says whether there is a picture; this backbone has none"
