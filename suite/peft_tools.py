"""What methods share that the peft library injects into a backbone."""

from __future__ import annotations

import warnings

from peft import PeftConfig, inject_adapter_in_model
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

from suite.core import Backbone, Kind, Method, Plan

ADAPTER = "default"
"""The name under which peft keeps the one adapter that there is."""


class Injected(Method):
    """A method that is a configuration of peft; it can be merged."""

    def config(self, backbone: Backbone) -> PeftConfig:
        """What peft is to do, with the names of the modules (below `backbone.model`) that it replaces."""
        raise NotImplementedError

    def attach(self, backbone: Backbone, plan: Plan | None = None) -> None:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Unsupported layer type")  # norms, whose widths peft does not need
            inject_adapter_in_model(self.config(backbone), backbone.model, adapter_name=ADAPTER)

    def trainable(self, backbone: Backbone) -> list[nn.Parameter]:
        return [p for _, layer in injected(backbone) for p in layer.parameters() if p.requires_grad]

    def merge(self, backbone: Backbone) -> bool:
        for name, layer in injected(backbone):
            layer.merge()
            parent, _, child = name.rpartition(".")
            setattr(backbone.model.get_submodule(parent), child, layer.get_base_layer())
        del backbone.model.peft_config
        return True


def injected(backbone: Backbone) -> list[tuple[str, BaseTunerLayer]]:
    """The layers of peft in the model, by name."""
    return [(name, module) for name, module in backbone.model.named_modules() if isinstance(module, BaseTunerLayer)]


def linears(backbone: Backbone, roles: tuple[str, ...], *kinds: Kind) -> list[str]:
    """The names of the Linears that have these roles at the sites of these kinds."""
    return [site.linears[role] for site in backbone.sites(*kinds) for role in roles]
