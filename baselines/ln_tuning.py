"""LN-tuning (Zhao et al. 2024): the norms of the frozen backbone are trained, through the peft library."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from peft import LNTuningConfig

from suite.core import Backbone
from suite.peft_tools import Injected


@dataclass
class LNTuning(Injected):
    """Scale and shift of every LayerNorm and RMSNorm, those of frozen towers too, as BitFit has their biases."""

    name: ClassVar[str] = "ln_tuning"
    title: ClassVar[str] = "LN-tuning"
    source: ClassVar[str] = "arXiv:2312.11420"
    group: ClassVar[str] = "extras"

    def config(self, backbone: Backbone) -> LNTuningConfig:
        kinds = ("layernorm", "rmsnorm")  # libraries have classes of their own, such as T5LayerNorm
        return LNTuningConfig(target_modules=[
            name for name, module in backbone.model.named_modules() if type(module).__name__.lower().endswith(kinds)])  # fmt: skip
