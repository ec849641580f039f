"""LoRA (Hu et al. 2022) on queries and values, through the peft library."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from torch import nn

from suite.core import Backbone, Method, Plan

ADAPTER = "default"


@dataclass
class Lora(Method):
    """q and v of every attention: W x + B A x, A ~ N(0, 1), B = 0, scale 1, as the official code has it (golden README section 4).

    The released files hold ranks 27 and 204; the published sizes need 4, which is used here. dropout: on LoRA's input.
    """

    name: ClassVar[str] = "lora"
    title: ClassVar[str] = "LoRA"
    source: ClassVar[str] = "arXiv:2106.09685, papers.md section 5"
    rank: int = 4
    dropout: float = 0.1
    init_std: float = 1.0

    def attach(self, backbone: Backbone, plan: Plan | None = None) -> None:
        names = [site.linears[role] for site in backbone.sites("self", "cross") for role in ("query", "value")]
        config = LoraConfig(r=self.rank, lora_alpha=self.rank, lora_dropout=self.dropout, target_modules=names)
        inject_adapter_in_model(config, backbone.model, adapter_name=ADAPTER)
        for _, layer in _layers(backbone):
            nn.init.normal_(layer.lora_A[ADAPTER].weight, std=self.init_std)

    def trainable(self, backbone: Backbone) -> list[nn.Parameter]:
        return [p for _, layer in _layers(backbone) for part in (layer.lora_A, layer.lora_B) for p in part.parameters()]

    def merge(self, backbone: Backbone) -> bool:
        for name, layer in _layers(backbone):
            layer.merge()
            parent, _, child = name.rpartition(".")
            setattr(backbone.model.get_submodule(parent), child, layer.get_base_layer())
        del backbone.model.peft_config
        return True


def _layers(backbone: Backbone) -> list[tuple[str, LoraLayer]]:
    return [(name, module) for name, module in backbone.model.named_modules() if isinstance(module, LoraLayer)]
