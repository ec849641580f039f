"""Checkpoints of the hub, or of the folder PETLBENCH_MIRROR; what is wrong with one is said in a line."""

from __future__ import annotations

from typing import TypeVar

from safetensors import SafetensorError
from torch import nn

from suite.backbones import shipped
from suite.backbones.common import misfits
from suite.errors import UserError

Model = TypeVar("Model", bound=nn.Module)


def from_hub(kind: type[Model], name: str, folder: str = "") -> Model:
    """transformers' or diffusers' model with a hub checkpoint's weights, in float32. folder: of the checkpoint.

    Raises UserError where it is not there, damaged or incomplete.
    """
    try:
        model, found = kind.from_pretrained(shipped.hub(name), subfolder=folder, output_loading_info=True)
    except OSError as error:
        raise UserError(f"checkpoint {name} is neither reachable nor below PETLBENCH_MIRROR: {first_line(error)}") from None
    except (RuntimeError, ValueError, SafetensorError) as error:
        raise UserError(f"checkpoint {name} is damaged or of another model: {first_line(error)}") from None
    misfits(f"{kind.__name__} in checkpoint {name}", found["missing_keys"], [])  # what is unexpected belongs to heads that are not used
    return model.float()


def first_line(error: BaseException) -> str:
    """Of what it says; its class where it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
