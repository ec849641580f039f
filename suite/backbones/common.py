"""What several backbones are built from: the convolutional stem, layers of the library, masks, taking over weights."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from suite.errors import UserError
from suite.layers import Attention, FeedForward, Layer


def stem(channels: tuple[int, ...]) -> nn.Sequential:
    """3x3 convolutions of stride 2, group norm and GELU between: (I, channels[0], H, W) -> (I, channels[-1], H / 2^n, W / 2^n)."""
    *inner, last = [nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in itertools.pairwise(channels)]
    for convolution in (*inner, last):  # torch's own start shrinks the signal from layer to layer
        nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
        nn.init.zeros_(convolution.bias)
    return nn.Sequential(*(part for c in inner for part in (c, nn.GroupNorm(8, c.out_channels), nn.GELU())), last)


def visible(x: Tensor, mask: Tensor | None) -> Tensor:
    """The (B, N) bool mask of x (B, N, D), all True where there is none."""
    return x.new_ones(x.shape[:2], dtype=torch.bool) if mask is None else mask.bool()


def take_over(own: dict[str, Tensor], tensors: dict[str, Tensor], what: str) -> None:
    """Copy `tensors` into `own`. Raises UserError naming `what` and a tensor, where names or shapes are not the same."""
    wrong = sorted(own.keys() ^ tensors.keys()) or sorted(key for key in own if own[key].shape != tensors[key].shape)
    if wrong:
        raise UserError(f"weights do not fit {what}: {wrong[0]} ({len(wrong)} such names)")
    with torch.no_grad():
        for key, tensor in own.items():
            tensor.copy_(tensors[key])


def share_image_type(table: nn.Embedding) -> None:
    """Give a modality table its third row, the second image of NLVR2, as a copy of the first image's."""
    rows = table.weight.detach()[[0, 1, 1]]
    table.num_embeddings, table.weight = 3, nn.Parameter(rows.clone())


def post_norm(layer: nn.Module, heads: int) -> Layer:
    """A layer of BERT or RoBERTa; with cross-attention where the module has it."""

    def attention(name: str) -> Attention:
        query, key, value, drop = (f"{name}.self.{part}" for part in ("query", "key", "value", "dropout"))
        return Attention(layer, query, key, value, f"{name}.output.dense", f"{name}.output.LayerNorm", heads, norm_first=False,
                         dropout=f"{name}.output.dropout", attention_dropout=drop)  # fmt: skip

    ffn = FeedForward(layer, "intermediate.dense", "output.dense", "output.LayerNorm", "intermediate.intermediate_act_fn",
                      norm_first=False, dropout="output.dropout")  # fmt: skip
    return Layer(attention("attention"), ffn, attention("crossattention") if hasattr(layer, "crossattention") else None)


def pre_norm(layer: nn.Module, heads: int) -> Layer:
    """A layer of CLIP, which has no dropout."""
    attention = Attention(layer, *(f"self_attn.{part}_proj" for part in ("q", "k", "v", "out")), "layer_norm1", heads, norm_first=True)
    return Layer(attention, FeedForward(layer, "mlp.fc1", "mlp.fc2", "layer_norm2", "mlp.activation_fn", norm_first=True))
