"""Multiply-accumulates of a forward pass, three ways that must agree: counted, in closed form, and by fvcore.

The convention of all three: matrix products, convolutions and both products of attention; no norms, biases, activations.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from math import prod
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode


def counted(forward: Callable[[], Any]) -> int:
    """MACs of what `forward()` runs. The tensors have to be on the `meta` device: attention on a CPU is not counted by torch 2.13."""
    counter = FlopCounterMode(display=False)
    with counter, _Staying():
        forward()
    return counter.get_total_flops() // 2


class _Staying(TorchFunctionMode):
    """`.cpu()`, with which a task's `predict` ends, leaves a tensor where it is: there is nothing on the meta device to copy."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return args[0] if func is Tensor.cpu else func(*args, **(kwargs or {}))


def vilt(layers: int, width: int, tokens: int, patches: int, patch_pixels: int, inner: int | None = None) -> int:
    """A ViLT of `layers` blocks on one sequence of `tokens` (text, image class token and `patches`), with its pooler.

    patch_pixels: numbers that one patch is mapped from (3 x 32 x 32 for B/32; 0: leave the patch map out). inner: width inside the
    FFN, 4 x width by default.
    """
    block = attention(tokens, tokens, width) + 2 * tokens * width * (inner or 4 * width)
    return layers * block + patches * patch_pixels * width + width**2


def meter(layers: int, towers: tuple[int, int], width: int, tokens: tuple[int, int], patch_pixels: int, inner: int | None = None) -> int:
    """A METER of `layers` fusion layers a stream on `tokens` = (text, image with its class token), with transforms and poolers.

    towers: layers of the text and of the image tower. patch_pixels, inner: as for `vilt`.
    """
    total = (tokens[1] - 1) * patch_pixels * width + sum(tokens) * width**2 + 2 * width**2
    for tower, own, other in zip(towers, tokens, reversed(tokens), strict=True):
        ffn = 2 * own * width * (inner or 4 * width)
        total += (tower + layers) * (attention(own, own, width) + ffn) + layers * attention(own, other, width)
    return total


def attention(queries: int, keys: int, width: int) -> int:
    """An attention of so many tokens to so many, with its four projections."""
    return 2 * (queries + keys) * width**2 + 2 * queries * keys * width


def with_fvcore(model: nn.Module, inputs: tuple[Tensor, ...]) -> int:
    """fvcore's count on real tensors, norms left out and attention added, both of which it does otherwise."""
    from fvcore.nn import FlopCountAnalysis

    model = copy.deepcopy(model)
    for part in model.modules():
        if isinstance(part, nn.ModuleDict):  # fvcore cannot read names with a slash, which attached modules have
            part._modules = {name.replace("/", "_"): module for name, module in part._modules.items()}
    analysis = FlopCountAnalysis(model, inputs).set_op_handle("aten::scaled_dot_product_attention", _attention)
    for norm in ("aten::layer_norm", "aten::group_norm"):
        analysis.set_op_handle(norm, lambda inputs, outputs: 0)
    return int(analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).total())


def _attention(inputs: list[Any], outputs: list[Any]) -> int:
    """Scores and their sum of values: (B, H, N, d) queries, (B, H, M, d) keys, (B, H, M, e) values."""
    query, key, value = (item.type().sizes() for item in inputs[:3])
    return prod(query[:-1]) * key[-2] * (query[-1] + value[-1])
