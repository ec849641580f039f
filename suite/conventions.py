"""What may be counted beside matrix products, so that a published number of FLOPs can be traced to what it holds; papers.md section 6.

Each convention is the matrix products (suite/macs.py) and one kind of term more. Terms are counted in the forward that runs; none is
fitted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from suite import macs

PRODUCTS = "matrix products"
NORMS, BIASES, WEIGHTINGS, QUERIES = "norms, 5 an element", "bias adds", "elementwise products", "queries of the prompts"

TERMS = (NORMS, BIASES, WEIGHTINGS, QUERIES)
"""Norms as fvcore counts them. Elementwise products: of two tensors, not by a number. Queries: deep prompts as tokens of the sequence,
whose queries are computed and thrown away, as the official code does."""

_PER_NORM = 5
_ATEN = torch.ops.aten


def counted(forward: Callable[[], Any], backbone: nn.Module) -> dict[str, int]:
    """MACs of the matrix products of what `forward()` runs on meta tensors, and each of TERMS, under its name."""
    terms = _Terms()
    with terms:
        products = macs.counted(forward)
    return {PRODUCTS: products, **terms.found, QUERIES: prompt_queries(backbone)}


def prompt_queries(backbone: nn.Module) -> int:
    """P x D x D for every set of P prompts that attention sees as keys and values only."""
    prompts = [module.tokens for name, module in backbone.attached.items() if "/key_value/" in f"{name}/"]
    return sum(tokens.numel() * tokens.shape[1] for tokens in prompts)


class _Terms(TorchDispatchMode):
    """Counts elements of norms, bias adds and elementwise products as they are dispatched."""

    def __init__(self) -> None:
        super().__init__()
        self.found = dict.fromkeys((NORMS, BIASES, WEIGHTINGS), 0)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        packet = func.overloadpacket
        if packet in (_ATEN.native_layer_norm, _ATEN.native_group_norm):
            self.found[NORMS] += _PER_NORM * args[0].numel()
        elif packet in (_ATEN.addmm, _ATEN.baddbmm) or (packet is _ATEN.convolution and args[2] is not None):
            self.found[BIASES] += result.numel()
        elif packet is _ATEN.mul and all(isinstance(part, Tensor) and part.numel() > 1 for part in args[:2]):
            self.found[WEIGHTINGS] += result.numel()
        return result
