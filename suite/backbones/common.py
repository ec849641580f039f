"""What several backbones are built from: the convolutional stem, layers of the library, masks, weights, sites of a stream."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from suite.core import Backbone, Site
from suite.errors import UserError
from suite.layers import Attention, FeedForward, Layer, Sequence


class Pretrained(Backbone):
    """A backbone with presets, whose weights are shipped or come from a checkpoint. sizes: by preset."""

    sizes: ClassVar[dict[str, Any]]

    @classmethod
    def size_of(cls, preset: str) -> Any:
        """Raises UserError for an unknown preset."""
        if preset not in cls.sizes:
            raise UserError(f"unknown preset {preset!r} of {cls.name}; there are {', '.join(cls.sizes)}")
        return cls.sizes[preset]

    @classmethod
    def checkpoints(cls) -> tuple[str, ...]:
        """What the preset `paper` is loaded from: hub repositories, or an official file below PETLBENCH_MIRROR."""
        return (cls.sizes["paper"].checkpoint,)

    def pretrained_state(self) -> dict[str, Tensor]:
        """What a weight file holds."""
        raise NotImplementedError

    def load_pretrained(self, tensors: dict[str, Tensor]) -> None:
        """Take over a weight file's tensors. Raises UserError listing what is missing, unexpected or of another shape."""
        own = self.pretrained_state()
        misfits(f"{self.name}/{self.preset}", own.keys() - tensors.keys(), tensors.keys() - own.keys(),
                [key for key in own.keys() & tensors.keys() if own[key].shape != tensors[key].shape])  # fmt: skip
        with torch.no_grad():
            for key, tensor in own.items():
                tensor.copy_(tensors[key])

    def check_length(self, tokens: int, most: int) -> None:
        """Raises UserError where the tokens that get a position, those of a text at least, are more than there are positions."""
        if tokens > most:
            raise UserError(f"a text of {tokens} tokens is longer than the {most} positions of {self.name}/{self.preset}")

    def check_pictures(self, pixels: Tensor, side: int, patch: int = 0) -> None:
        """Raises UserError where pictures (I, 3, H, W) are of another mode or type, or of another side. patch: multiples of it will do."""
        shape, fitting = tuple(pixels.shape[1:]), False
        if len(shape) == 3 and shape[0] == 3 and pixels.is_floating_point():
            fitting = all(n and n % patch == 0 for n in shape[1:]) if patch else shape[1:] == (side, side)
        if not fitting:
            found = f"{' x '.join(map(str, shape))} {str(pixels.dtype).removeprefix('torch.')}"
            sizes = f" (or other multiples of {patch})" if patch else ""
            raise UserError(f"{self.name}/{self.preset} takes pictures of 3 x {side} x {side}{sizes} floating-point numbers, not {found}")

    def stack(self, stream: str, sequence: Sequence, layers: list[Layer], path: str, width: int, norm: str, length: int, start: str = ""
              ) -> list[Site]:  # fmt: skip
        """The sites of one stream, in the order of the forward. path: of its layers below `model`. start: of the sites' names."""
        found = [Site(f"{start}sequence", "sequence", stream, 0, width, norm, sequence, self, {}, length)]  # type: ignore[arg-type]
        for depth, layer in enumerate(layers):
            where, name = (stream, depth, width, norm), f"{start}layer.{depth}"
            found.append(Site(name, "layer", *where, layer, self, {}, length))  # type: ignore[arg-type]
            for kind, part in layer.sub_layers().items():
                linears = {role: f"{path}.{depth}.{below}" for role, below in part.linears.items()}
                found.append(Site(f"{name}.{kind}", kind, *where, part, self, linears, length))  # type: ignore[arg-type]
        return found


def misfits(what: str, missing: Iterable[str], unexpected: Iterable[str], shapes: Iterable[str] = ()) -> None:
    """Raise UserError listing names of tensors that do not fit `what`, where there are any: all of them, in one line."""
    kinds = {"missing": sorted(missing), "unexpected": sorted(unexpected), "of another shape": sorted(shapes)}
    if any(kinds.values()):
        said = "; ".join(f"{len(names)} {kind}: {', '.join(names)}" for kind, names in kinds.items() if names)
        raise UserError(f"weights do not fit {what}: {said}")


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
