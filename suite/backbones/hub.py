"""Checkpoints of the hub, or of the folder PETLBENCH_MIRROR; what is wrong with one is said in a line."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TypeVar

from safetensors import SafetensorError
from torch import nn

from suite.backbones import shipped
from suite.backbones.common import misfits
from suite.errors import UserError

Model = TypeVar("Model", bound=nn.Module)
_LAYER = re.compile(r"\.\d+\.")


def from_hub(kind: type[Model], name: str, folder: str = "") -> Model:
    """transformers' or diffusers' model with a hub checkpoint's weights, in float32. folder: of the checkpoint.

    Raises UserError where it is not there or damaged, and where tensors are missing, of another shape, or of layers beyond the model's.
    """
    try:
        model, found = kind.from_pretrained(shipped.hub(name), subfolder=folder, output_loading_info=True, ignore_mismatched_sizes=True)
    except OSError as error:
        raise UserError(f"checkpoint {name} is neither reachable nor below PETLBENCH_MIRROR: {first_line(error)}") from None
    except (RuntimeError, ValueError, SafetensorError) as error:
        raise UserError(f"checkpoint {name} is damaged or of another model: {first_line(error)}") from None
    shapes, deeper = [key for key, *_ in found["mismatched_keys"]], beyond(found["unexpected_keys"], model.state_dict())
    misfits(f"{kind.__name__} in checkpoint {name}", found["missing_keys"], deeper, shapes)
    return model.float()


def beyond(names: Iterable[str], own: Iterable[str]) -> list[str]:
    """Of these tensors those of layers that a model with tensors `own` would have if it were deeper; others are of unused heads."""
    kinds = {_LAYER.sub(".*.", name) for name in own}
    return [name for name in names if _LAYER.search(name) and _LAYER.sub(".*.", name) in kinds]


def first_line(error: BaseException) -> str:
    """Of what it says; its class where it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
