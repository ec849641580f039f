"""Approximated Prompt Tuning; papers.md section 2, golden README section 3.

What deep prompts add to an attention is computed beside it: the tokens diffuse into the output with weights of their own,
without the softmax, the projections and the queries that prompts in the attention would share.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from suite.core import Backbone, Method, Plan
from suite.modules import STD, prompt_length


class ApproximatedPrompt(nn.Module):
    """tokens T (P, D), down (r, D), up (D, r), log_scale s (1,). At `output`.

    K = T + T down' up';  A = relu(u K');  m = max over prompts of A, without gradient;  y = (output + m * (A T)) * exp(s).
    """

    def __init__(self, length: int, width: int, rank: int, train_scale: bool):
        super().__init__()
        self.tokens = nn.Parameter(torch.empty(length, width).normal_(std=STD))
        self.down, self.up = nn.Linear(width, rank, bias=False), nn.Linear(rank, width, bias=False)
        for linear in (self.down, self.up):
            nn.init.normal_(linear.weight, std=STD)
        self.log_scale = nn.Parameter(torch.zeros(1), requires_grad=train_scale)

    def forward(self, output: Tensor, u: Tensor) -> Tensor:
        """output, u: (B, N, D) -> (B, N, D)."""
        keys = self.tokens + self.up(self.down(self.tokens))
        weights = torch.relu(u @ keys.T)
        strongest = weights.detach().amax(dim=-1, keepdim=True)
        return (output + strongest * (weights @ self.tokens)) * self.log_scale.exp()


@dataclass
class APT(Method):
    """length: prompt tokens (None: see prompt_length; the released ViLT file holds 50, the published size needs 200).

    train_scale: None as in the official code, which trains s in ViLT and leaves it out in METER (told apart by the norm).
    On CLIP and Stable Diffusion, of which there is no official code, one acts on each attention's output: petlbench's own reading.
    The class starts `up` at 0 and `down` at N(0, 1), but the official model then resets both to N(0, 0.02), as here.
    """

    name: ClassVar[str] = "apt"
    title: ClassVar[str] = "APT"
    source: ClassVar[str] = "github.com/DoubtedSteam/APT at d66bbc4, papers.md section 2"
    claims: ClassVar[tuple[dict[str, Any], ...]] = (
        {"text": "level with or above deep prompts", "metric": "accuracy", "better": "apt", "than": "prompt_deep", "relation": ">=",
         "source": "tables of the official README"},
        {"text": "less than half of the deep prompts' extra MACs", "metric": "extra_macs", "better": "apt", "than": "prompt_deep",
         "relation": "<", "factor": 0.5, "source": "official README: 0.91 G against 5.14 G on ViLT, a factor of 0.18 with queries of the "
         "prompts, 0.24 as counted here; half is petlbench's own bound for small sizes"},
        {"text": "above the classifier alone on every task", "metric": "accuracy", "better": "apt", "than": "head", "relation": ">",
         "every": True, "source": "petlbench's own expectation"},
    )  # fmt: skip
    length: int | None = None
    rank: int = 4
    train_scale: bool | None = None

    def attach(self, backbone: Backbone, plan: Plan | None = None) -> None:
        sites = backbone.sites("self", "cross")
        lengths = [prompt_length(self.length, site) for site in sites]
        scaled = [site.norm == "before" if self.train_scale is None else self.train_scale for site in sites]
        self.resolve(length=lengths, train_scale=scaled)
        for site, length, train_scale in zip(sites, lengths, scaled, strict=True):
            site.attach("output", ApproximatedPrompt(length, site.width, self.rank, train_scale))
