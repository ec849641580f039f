"""(IA)^3 (Liu et al. 2022): learned factors, through the peft library."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from peft import IA3Config

from suite.core import Backbone
from suite.peft_tools import Injected, linears


@dataclass
class IA3(Injected):
    """A factor for every unit of keys and values of each attention, and of what each feed-forward has inside. They start at 1."""

    name: ClassVar[str] = "ia3"
    title: ClassVar[str] = "(IA)³"
    source: ClassVar[str] = "arXiv:2205.05638"
    group: ClassVar[str] = "extras"

    def config(self, backbone: Backbone) -> IA3Config:
        inside = linears(backbone, ("out",), "ffn")
        return IA3Config(target_modules=linears(backbone, ("key", "value"), "self", "cross") + inside, feedforward_modules=inside)
