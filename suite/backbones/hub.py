"""Checkpoints of the hub, or of the folder PETLBENCH_MIRROR; what is wrong with one is said in a line."""

from __future__ import annotations

import torch
from safetensors import SafetensorError
from transformers import PreTrainedModel

from suite.backbones import shipped
from suite.backbones.common import misfits
from suite.errors import UserError


def from_hub(kind: type[PreTrainedModel], name: str) -> PreTrainedModel:
    """The library's model with a hub checkpoint's weights, in float32. Raises UserError where it is not there, damaged or incomplete."""
    try:
        model, found = kind.from_pretrained(shipped.hub(name), dtype=torch.float32, output_loading_info=True)
    except OSError as error:
        raise unreachable(name, error) from None
    except (RuntimeError, ValueError, SafetensorError) as error:
        raise UserError(f"checkpoint {name} is damaged or of another model: {_first_line(error)}") from None
    misfits(f"{kind.__name__} in checkpoint {name}", found["missing_keys"], [])  # what is unexpected belongs to heads that are not used
    return model


def unreachable(name: str, error: OSError) -> UserError:
    """To be raised for a checkpoint that is nowhere."""
    return UserError(f"checkpoint {name} is neither reachable nor below PETLBENCH_MIRROR: {_first_line(error)}")


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0]
