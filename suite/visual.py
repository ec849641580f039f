"""What DVP and the baseline it argues against share: how a language model with visual prompts is trained; papers.md section 4.3."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from suite.core import Backbone, Method, Site
from suite.modules import bottleneck_size

STD = 0.01
"""Deviation of the adapters' weights at the start."""


class VisualMethod(Method):
    """A method of language models, which see pictures through visual prompts alone. The whole language model is trained.

    Backbones whose sequences have no position for such prompts, those that see pictures on their own, do not run it.
    """

    trains_backbone: ClassVar[bool] = True

    def not_applicable(self, backbone: Backbone, task: str) -> str | None:
        if prompted(backbone) is None:
            return "visual prompts are for language models that see no picture otherwise"
        if self.trains_backbone and backbone.preset == "paper" and backbone.decoder_only:
            return "a model of this size is trained with adapters only, as in the paper"
        return None

    def tune(self, backbone: Backbone) -> dict[str, list[int]]:
        """Have the language model trained besides the prompts; the sizes that came of it, for `resolve`."""
        backbone.model.requires_grad_(True)
        return {}

    def trainable(self, backbone: Backbone) -> list[nn.Parameter]:
        always = {id(p) for p in backbone.always_trained()}
        parts = [p for part in (backbone.model, backbone.attached) for p in part.parameters()]
        return [p for p in parts if p.requires_grad and id(p) not in always]


@dataclass
class WithAdapters(VisualMethod):
    """The language model stays frozen but for its norms, with an adapter behind every attention and feed-forward.

    bottleneck: None: an eighth of the width; of a decoder-only model, LLaMA, 1/64 at paper size.
    """

    trains_backbone: ClassVar[bool] = False
    bottleneck: int | None = None

    def tune(self, backbone: Backbone) -> dict[str, list[int]]:
        sites = backbone.sites("self", "cross", "ffn")
        sizes = [self.bottleneck or _size(site) for site in sites]
        for site, inner in zip(sites, sizes, strict=True):
            site.attach("output", LanguageAdapter(site.width, inner, silu=backbone.decoder_only))
        for module in backbone.model.modules():
            if "norm" in type(module).__name__.lower():
                module.requires_grad_(True)
        return {"bottleneck": sizes}


class LanguageAdapter(nn.Module):
    """z + up(act(down(z))) at `output`: ReLU and weights N(0, 0.01), or, as in LLaMA, SiLU and Xavier's start. Biases 0."""

    def __init__(self, width: int, inner: int, silu: bool = False):
        super().__init__()
        self.down, self.up, self.activation = nn.Linear(width, inner), nn.Linear(inner, width), nn.SiLU() if silu else nn.ReLU()
        for linear in (self.down, self.up):
            nn.init.xavier_uniform_(linear.weight) if silu else nn.init.normal_(linear.weight, std=STD)
            nn.init.zeros_(linear.bias)

    def forward(self, output: Tensor, u: Tensor) -> Tensor:
        return output + self.up(self.activation(self.down(output)))


class PromptGenerator(nn.Module):
    """out(MHA(query(q); key(F), value(F))): one visual token. At `visual.<layer>`.

    width: D; visual: V; inner: of queries, keys and values. types: are type embeddings added, row 0 to the text, row 1 to the prompt?
    """

    def __init__(self, width: int, visual: int, inner: int, heads: int, types: bool, dropout: float):
        super().__init__()
        self.query, self.out = nn.Linear(width, inner), nn.Linear(inner, width)
        self.key, self.value = nn.Linear(visual, inner), nn.Linear(visual, inner)
        self.types = nn.Embedding(2, width) if types else None
        self.heads, self.dropout = heads, dropout

    def make(self, queries: Tensor, images: Tensor) -> Tensor:
        """queries (B, Q, D), images (B, M, V) -> (B, Q, D), without residual and norm."""
        parts = [self.query(queries), self.key(images), self.value(images)]
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
        y = F.scaled_dot_product_attention(q, k, v, dropout_p=self.dropout if self.training else 0.0)
        return self.out(y.transpose(1, 2).flatten(2))

    def forward(self, x: Tensor, query: Tensor, images: Tensor) -> tuple[Tensor, Tensor]:
        """x (B, N, D), query (B, D), images (B, M, V) -> the prompt (B, 1, D), and x as it goes on."""
        prompt = self.make(query[:, None], images)
        return (prompt, x) if self.types is None else (prompt + self.types.weight[1], x + self.types.weight[0])


def prompted(backbone: Backbone) -> Site | None:
    """The sequence that takes visual prompts, T5's in the decoder; None where there is no such one."""
    return next((site for site in backbone.sites("sequence") if "visual.0" in site.target.taps), None)


def _size(site: Site) -> int:
    wide = site.backbone.preset == "paper" and site.backbone.decoder_only
    return site.width // 64 if wide else bottleneck_size(None, site)
