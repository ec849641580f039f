"""DoRA (Liu et al. 2024) on queries and values, through the peft library."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from peft import LoraConfig

from suite.core import Backbone
from suite.peft_tools import Injected, linears


@dataclass
class Dora(Injected):
    """LoRA on the direction of each row of W, and a trained magnitude m: m (W + B A) / |W + B A| x. A as in peft, B = 0, scale 1.

    rank, dropout and places are those of `lora`, with which it is to be compared.
    """

    name: ClassVar[str] = "dora"
    title: ClassVar[str] = "DoRA"
    source: ClassVar[str] = "arXiv:2402.09353"
    group: ClassVar[str] = "extras"
    rank: int = 4
    dropout: float = 0.1

    def config(self, backbone: Backbone) -> LoraConfig:
        names = linears(backbone, ("query", "value"), "self", "cross")
        return LoraConfig(r=self.rank, lora_alpha=self.rank, lora_dropout=self.dropout, use_dora=True, target_modules=names)
