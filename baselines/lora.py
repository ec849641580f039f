"""LoRA (Hu et al. 2022) on queries and values, through the peft library."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from peft import LoraConfig
from torch import nn

from suite.core import Backbone, Plan
from suite.peft_tools import ADAPTER, Injected, injected, linears


@dataclass
class Lora(Injected):
    """q and v of every attention: W x + B A x, A ~ N(0, 1), B = 0, scale 1, as the official code has it (golden README section 4).

    The released files hold ranks 27 and 204; the published sizes need 4, which is used here. dropout: on LoRA's input.
    """

    name: ClassVar[str] = "lora"
    title: ClassVar[str] = "LoRA"
    source: ClassVar[str] = "arXiv:2106.09685, papers.md section 5"
    rank: int = 4
    dropout: float = 0.1
    init_std: float = 1.0

    def config(self, backbone: Backbone) -> LoraConfig:
        names = linears(backbone, ("query", "value"), "self", "cross")
        return LoraConfig(r=self.rank, lora_alpha=self.rank, lora_dropout=self.dropout, target_modules=names)

    def attach(self, backbone: Backbone, plan: Plan | None = None) -> None:
        super().attach(backbone, plan)
        for _, layer in injected(backbone):
            nn.init.normal_(layer.lora_A[ADAPTER].weight, std=self.init_std)
