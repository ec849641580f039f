"""The one forward of a transformer layer, with the places where methods act.

The objects here describe: they hold no weights. A backbone says where in its library's module the Linears, norms and dropouts
lie (dotted paths below `owner`); they are looked up at every call, so a Linear may be replaced meanwhile. Shapes: B batch,
N tokens, D width, P extra tokens. Masks are (B, N) bool, True = visible, or None = everything is visible (no mask is passed on).

Positions of a sub-layer (x = what enters it, u = LN(x) where it normalises before, else x):
  input       u -> u                         what is read
  output      (output, u) -> output          after the output projection, before dropout, residual and norm
  around      x -> addition                  joins the residual sum
  after_norm  (y, x) -> y                    only where the layer normalises after
  key_value   () -> (P, D) or (B, P, D)      only attention: extra keys and values, always visible, normalised like x
Of a layer: `replace`, x -> y. Of a sequence: `insert.<layer>`, (x, mask) -> (x, mask) before that layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def _no_position(what: str, position: str, positions: tuple[str, ...]) -> ValueError:
    return ValueError(f"a {what} site has no position {position!r}, only {', '.join(positions)}")


def extend_mask(mask: Tensor | None, extra: int) -> Tensor | None:
    """The (B, N) mask with `extra` visible tokens behind it; None stays None."""
    return None if mask is None else torch.cat([mask, mask.new_ones(mask.shape[0], extra)], dim=1)


class SubLayer:
    """Norm, residual, dropout and taps around what a sub-layer computes.

    owner: the module below which all paths lie. norm, dropout: paths (dropout may be None). norm_first: pre- or post-norm.
    linears: role -> path, as in `Site.linears` but below `owner`.
    """

    kind = "sub-layer"
    own_positions: tuple[str, ...] = ()

    def __init__(self, owner: nn.Module, linears: dict[str, str], norm: str, norm_first: bool, dropout: str | None = None):
        self.owner, self.linears, self.norm_first = owner, linears, norm_first
        self._linears = attrgetter(*linears.values())
        self._norm = attrgetter(norm)
        self._dropout = attrgetter(dropout) if dropout else None
        self.taps: dict[str, list[nn.Module]] = {}

    @property
    def positions(self) -> tuple[str, ...]:
        """The positions that this sub-layer has."""
        return ("input", "output", "around", *(() if self.norm_first else ("after_norm",)), *self.own_positions)

    def tap(self, position: str, module: nn.Module) -> None:
        """Let `module` act at `position`, after those already there. Raises ValueError for a position it does not have."""
        if position not in self.positions:
            raise _no_position(self.kind, position, self.positions)
        self.taps.setdefault(position, []).append(module)

    def core(self, u: Tensor, *context: Tensor | None) -> Tensor:
        """(B, N, D) -> (B, N, D), from the (normalised) input to the output projection."""
        raise NotImplementedError

    def inside(self, u: Tensor, *context: Tensor | None) -> Tensor:
        """`core` between the taps `input` and `output`."""
        for tap in self.taps.get("input", ()):
            u = tap(u)
        y = self.core(u, *context)
        for tap in self.taps.get("output", ()):
            y = tap(y, u)
        return y

    def __call__(self, x: Tensor, *context: Tensor | None) -> Tensor:
        """(B, N, D) -> (B, N, D), the whole sub-layer."""
        norm = self._norm(self.owner)
        y = self.inside(norm(x) if self.norm_first else x, *context)
        if self._dropout is not None:
            y = self._dropout(self.owner)(y)
        y = y + x
        for tap in self.taps.get("around", ()):
            y = y + tap(x)
        if self.norm_first:
            return y
        y = norm(y)
        for tap in self.taps.get("after_norm", ()):
            y = tap(y, x)
        return y


class Attention(SubLayer):
    """Multi-head attention. Context of a call: other (B, M, D) or None for self-attention, and the mask of the keys."""

    kind = "attention"
    own_positions = ("key_value",)

    def __init__(self, owner: nn.Module, query: str, key: str, value: str, out: str, norm: str, heads: int, norm_first: bool,
                 dropout: str | None = None, attention_dropout: str | None = None):  # fmt: skip
        super().__init__(owner, {"query": query, "key": key, "value": value, "out": out}, norm, norm_first, dropout)
        self.heads = heads
        self._attention_dropout = attrgetter(attention_dropout) if attention_dropout else None

    def core(self, u: Tensor, other: Tensor | None = None, mask: Tensor | None = None) -> Tensor:  # type: ignore[override]
        query, key, value, out = self._linears(self.owner)
        source = u if other is None else other
        for tap in self.taps.get("key_value", ()):
            tokens = self._tokens(tap(), source, normalise=other is None)
            source, mask = torch.cat([source, tokens], dim=1), extend_mask(mask, tokens.shape[1])
        y = _attend(
            self._split(query(u)),
            self._split(key(source)),
            self._split(value(source)),
            attn_mask=None if mask is None else mask[:, None, None, :],
            dropout_p=self._rate(),
        )
        return out(y.transpose(1, 2).flatten(2))

    def _tokens(self, tokens: Tensor, source: Tensor, normalise: bool) -> Tensor:
        if normalise and self.norm_first:
            tokens = self._norm(self.owner)(tokens)
        return tokens.expand(source.shape[0], -1, -1)

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def _rate(self) -> float:
        if self._attention_dropout is None:
            return 0.0
        dropout = self._attention_dropout(self.owner)
        return dropout.p if dropout.training else 0.0


class FeedForward(SubLayer):
    """Linear, activation, Linear. activation: path of a module or function below `owner`."""

    kind = "feed-forward"

    def __init__(self, owner: nn.Module, inner: str, outer: str, norm: str, activation: str, norm_first: bool,
                 dropout: str | None = None):  # fmt: skip
        super().__init__(owner, {"in": inner, "out": outer}, norm, norm_first, dropout)
        self._activation = attrgetter(activation)

    def core(self, u: Tensor, *context: Tensor | None) -> Tensor:
        inner, outer = self._linears(self.owner)
        return outer(self._activation(self.owner)(inner(u)))


@dataclass(eq=False)
class Layer:
    """Self-attention, cross-attention where there is one, feed-forward; or a replacement, switched by `replaced`."""

    self_attention: Attention
    ffn: FeedForward
    cross_attention: Attention | None = None
    replacement: nn.Module | None = None
    replaced: bool = False

    def tap(self, position: str, module: nn.Module) -> None:
        """`replace`: compute `module` instead of the layer while `replaced`. Raises ValueError for any other position."""
        if position != "replace":
            raise _no_position("layer", position, ("replace",))
        self.replacement, self.replaced = module, True

    def sub_layers(self) -> dict[str, Any]:
        """kind (`self`, `cross`, `ffn`) -> sub-layer, in the order of the forward."""
        parts = {"self": self.self_attention, "cross": self.cross_attention, "ffn": self.ffn}
        return {kind: part for kind, part in parts.items() if part is not None}

    def __call__(self, x: Tensor, mask: Tensor | None = None, other: Tensor | None = None, other_mask: Tensor | None = None) -> Tensor:
        """(B, N, D) -> (B, N, D); other: (B, M, D), the stream that cross-attention reads."""
        if self.replaced:
            return self.replacement(x)
        x = self.self_attention(x, None, mask)
        if self.cross_attention is not None:
            x = self.cross_attention(x, other, other_mask)
        return self.ffn(x)


class Sequence:
    """The tokens of a stream of `depth` layers. What is inserted before a layer stays to the end."""

    def __init__(self, depth: int):
        self.inserts: dict[str, list[nn.Module]] = {f"insert.{layer}": [] for layer in range(depth)}

    def tap(self, position: str, module: nn.Module) -> None:
        """`insert.<layer>`. Raises ValueError for any other position."""
        if position not in self.inserts:
            raise _no_position("sequence", position, tuple(self.inserts))
        self.inserts[position].append(module)

    def before(self, layer: int, x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """x (B, N, D) and its mask as they enter this layer."""
        for module in self.inserts[f"insert.{layer}"]:
            x, mask = module(x, mask)
        return x, mask


def _attend(query: Tensor, key: Tensor, value: Tensor, **options: Any) -> Tensor:
    """Scaled dot-product attention; on a CPU always in float32, where the bfloat16 backward is ten times slower (torch 2.13)."""
    if query.dtype is torch.bfloat16 and query.device.type == "cpu":
        with torch.autocast("cpu", enabled=False):
            return F.scaled_dot_product_attention(query.float(), key.float(), value.float(), **options)
    return F.scaled_dot_product_attention(query, key, value, **options)
