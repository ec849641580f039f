"""Checkpoints of the hub, or of the folder PETLBENCH_MIRROR; what is wrong with one is said in a line."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TypeVar

from safetensors import SafetensorError
from torch import nn

from suite.backbones.common import misfits
from suite.errors import UserError
from suite.hub import first_line, hub

Model = TypeVar("Model", bound=nn.Module)
_LAYER = re.compile(r"^.*?\.\d+\.")
_BUFFERS = ("inv_freq", "position_ids")
"""Constants that older versions of the libraries stored."""


def from_hub(kind: type[Model], name: str, folder: str = "") -> Model:
    """transformers' or diffusers' model with a hub checkpoint's weights, in float32. folder: of the checkpoint.

    Raises UserError where it is not there or damaged, and where tensors are missing, of another shape, or unexpected in the model's layers.
    """
    try:
        model, found = kind.from_pretrained(hub(name), subfolder=folder, output_loading_info=True, ignore_mismatched_sizes=True)
    except OSError as error:
        raise UserError(f"checkpoint {name} is neither reachable nor below PETLBENCH_MIRROR: {first_line(error)}") from None
    except (RuntimeError, ValueError, SafetensorError) as error:
        raise UserError(f"checkpoint {name} is damaged or of another model: {first_line(error)}") from None
    shapes, extra = [key for key, *_ in found["mismatched_keys"]], unexpected(found["unexpected_keys"], model.state_dict())
    misfits(f"{kind.__name__} in checkpoint {name}", found["missing_keys"], extra, shapes)
    return model.float()


def unexpected(names: Iterable[str], own: Iterable[str]) -> list[str]:
    """Of these tensors those in a stack of layers that a model with tensors `own` has, in layers beyond its own too; others are of
    unused heads."""
    stacks = {_stack(name) for name in own} - {None}
    return [name for name in names if _stack(name) in stacks and not name.endswith(_BUFFERS)]


def _stack(name: str) -> str | None:
    """`encoder.layer` of `encoder.layer.3.output.weight`."""
    found = _LAYER.match(name)
    return found and found[0].rsplit(".", 2)[0]
