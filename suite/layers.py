"""The one forward of a transformer layer, with the places where methods act.

The objects here describe: they hold no weights. A backbone says where in its library's module the Linears, norms and dropouts
lie (dotted paths below `owner`); they are looked up at every call, so a Linear may be replaced meanwhile. Shapes: B batch,
N tokens, D width, P extra tokens, H heads. Masks are (B, N) bool, True = visible, or None = everything is visible (no mask is passed on).
Attention also takes (B, N, M) bool, for each query the keys that it sees (`causal`), and (B, H, N, M) float, which is added to the scores
(`additive`: relative positions); B may be 1 there.

Positions of a sub-layer (x = what enters it, u = LN(x) where it normalises before, else x):
  input       u -> u                         what is read
  output      (output, u) -> output          after the output projection, before dropout, residual and norm
  around      x -> addition                  joins the residual sum
  after_norm  (y, x) -> y                    only where the layer normalises after
  key_value   () -> (P, D) or (B, P, D)      only attention: extra keys and values, always visible, normalised like x
Of a layer: `replace`, x -> y, or `skip`, u -> addition to x, u as self-attention reads it. Of a sequence: `insert.<layer>`, (x, mask) ->
(x, mask) before that layer; in language models also `visual.<layer>`, (x, query, images) -> (prompt, x): query (B, D) is the state that
stands for the text there, images (B, M, V) what the vision tower gives, prompt (B, P, D) what the backbone puts in front of x, visible.
"""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def _no_position(what: str, position: str, positions: tuple[str, ...]) -> ValueError:
    return ValueError(f"a {what} site has no position {position!r}, only {', '.join(positions)}")


def extend_mask(mask: Tensor | None, extra: int) -> Tensor | None:
    """The mask, of any of its forms, with `extra` visible keys behind it; None stays None."""
    if mask is None:
        return None
    return torch.cat([mask, mask.new_full((*mask.shape[:-1], extra), 0 if mask.is_floating_point() else 1)], dim=-1)


def causal(x: Tensor, mask: Tensor | None) -> Tensor:
    """The (B, N, N) mask under which each token of x (B, N, D) sees itself and, of those before it, the ones that are visible."""
    before = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).tril()[None]
    return before if mask is None else before & mask.bool()[:, None] | torch.eye(x.shape[1], dtype=torch.bool, device=x.device)


def additive(bias: Tensor, mask: Tensor | None) -> Tensor:
    """Scores (1, H, N, M) to be added, with the least number of their kind where the mask hides a key."""
    return bias if mask is None else bias.masked_fill(~_with_heads(mask.bool()), torch.finfo(bias.dtype).min)


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

    def read(self, x: Tensor) -> Tensor:
        """u of x."""
        return self._norm(self.owner)(x) if self.norm_first else x

    def __call__(self, x: Tensor, *context: Tensor | None) -> Tensor:
        """(B, N, D) -> (B, N, D), the whole sub-layer."""
        y = self.inside(self.read(x), *context)
        if self._dropout is not None:
            y = self._dropout(self.owner)(y)
        y = y + x
        for tap in self.taps.get("around", ()):
            y = y + tap(x)
        if self.norm_first:
            return y
        y = self._norm(self.owner)(y)
        for tap in self.taps.get("after_norm", ()):
            y = tap(y, x)
        return y


class Attention(SubLayer):
    """Multi-head attention. Context of a call: other (B, M, D) or None for self-attention, the mask, and `rotary` (2, N, D / H), cosines
    and sines of the tokens' positions, by which queries and keys are turned; extra keys stand at position 0, where nothing turns.

    scale: of the scores, None: 1 / sqrt(D / H).
    """

    kind = "attention"
    own_positions = ("key_value",)

    def __init__(self, owner: nn.Module, query: str, key: str, value: str, out: str, norm: str, heads: int, norm_first: bool,
                 dropout: str | None = None, attention_dropout: str | None = None, scale: float | None = None):  # fmt: skip
        super().__init__(owner, {"query": query, "key": key, "value": value, "out": out}, norm, norm_first, dropout)
        self.heads, self.scale = heads, scale
        self._attention_dropout = attrgetter(attention_dropout) if attention_dropout else None

    def core(self, u: Tensor, other: Tensor | None = None, mask: Tensor | None = None,  # type: ignore[override]
             rotary: Tensor | None = None) -> Tensor:  # fmt: skip
        query, key, value, out = self._linears(self.owner)
        source = u if other is None else other
        for tap in self.taps.get("key_value", ()):
            tokens = self._tokens(tap(), source, normalise=other is None)
            source, mask = torch.cat([source, tokens], dim=1), extend_mask(mask, tokens.shape[1])
        y = _attend(
            _turned(self._split(query(u)), rotary),
            _turned(self._split(key(source)), rotary),
            self._split(value(source)),
            attn_mask=None if mask is None else _with_heads(mask),
            dropout_p=self._rate(),
            scale=self.scale,
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
    """Linear, activation, Linear. activation: path of a module or function below `owner`.

    gate: a Linear beside the first, which then has the activation and multiplies what the first gives. inner_dropout: before the last.
    """

    kind = "feed-forward"

    def __init__(self, owner: nn.Module, inner: str, outer: str, norm: str, activation: str, norm_first: bool,
                 dropout: str | None = None, gate: str | None = None, inner_dropout: str | None = None):  # fmt: skip
        super().__init__(owner, {"in": inner, "out": outer} | ({"gate": gate} if gate else {}), norm, norm_first, dropout)
        self._activation = attrgetter(activation)
        self._inner_dropout = attrgetter(inner_dropout) if inner_dropout else None

    def core(self, u: Tensor, *context: Tensor | None) -> Tensor:
        inner, outer, *gate = self._linears(self.owner)
        activation = self._activation(self.owner)
        y = activation(gate[0](u)) * inner(u) if gate else activation(inner(u))
        return outer(y if self._inner_dropout is None else self._inner_dropout(self.owner)(y))


@dataclass(eq=False)
class Layer:
    """Self-attention, cross-attention where there is one, feed-forward; or a replacement, switched by `replaced`.

    adds: the replacement reads u and adds to x, instead of making y of x. checkpointing: what is between its input and output is computed
    again in the backward pass.
    """

    self_attention: Attention
    ffn: FeedForward
    cross_attention: Attention | None = None
    replacement: nn.Module | None = None
    replaced: bool = False
    adds: bool = False
    checkpointing: bool = False

    def tap(self, position: str, module: nn.Module) -> None:
        """`replace`, `skip`: compute `module` instead of the layer while `replaced`. Raises ValueError for any other position."""
        if position not in ("replace", "skip"):
            raise _no_position("layer", position, ("replace", "skip"))
        self.replacement, self.replaced, self.adds = module, True, position == "skip"

    def sub_layers(self) -> dict[str, Any]:
        """kind (`self`, `cross`, `ffn`) -> sub-layer, in the order of the forward."""
        parts = {"self": self.self_attention, "cross": self.cross_attention, "ffn": self.ffn}
        return {kind: part for kind, part in parts.items() if part is not None}

    def __call__(self, x: Tensor, mask: Tensor | None = None, other: Tensor | None = None, other_mask: Tensor | None = None,
                 rotary: Tensor | None = None) -> Tensor:  # fmt: skip
        """(B, N, D) -> (B, N, D); other: (B, M, D), the stream that cross-attention reads; rotary: of self-attention, see there."""
        if self.checkpointing and torch.is_grad_enabled():
            return checkpoint(self._forward, x, mask, other, other_mask, rotary, use_reentrant=False)
        return self._forward(x, mask, other, other_mask, rotary)

    def _forward(self, x: Tensor, mask: Tensor | None, other: Tensor | None, other_mask: Tensor | None, rotary: Tensor | None) -> Tensor:
        if self.replaced:
            return x + self.replacement(self.self_attention.read(x)) if self.adds else self.replacement(x)
        x = self.self_attention(x, None, mask, rotary)
        if self.cross_attention is not None:
            x = self.cross_attention(x, other, other_mask)
        return self.ffn(x)


class Sequence:
    """The tokens of a stream of `depth` layers. What is inserted before a layer stays to the end.

    visual: language models, whose prompts are made of pictures. placed: of these, only the ones before this layer act (None: all).
    """

    def __init__(self, depth: int, visual: bool = False):
        self.depth, self.placed = depth, None
        kinds = ("insert", "visual") if visual else ("insert",)
        self.taps: dict[str, list[nn.Module]] = {f"{kind}.{layer}": [] for kind in kinds for layer in range(depth)}

    def tap(self, position: str, module: nn.Module) -> None:
        """`insert.<layer>` or `visual.<layer>`. Raises ValueError for any other position."""
        if position not in self.taps:
            raise _no_position("sequence", position, tuple(self.taps))
        self.taps[position].append(module)

    def before(self, layer: int, x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """x (B, N, D) and its mask as they enter this layer."""
        for module in self.taps[f"insert.{layer}"]:
            x, mask = module(x, mask)
        return x, mask

    @property
    def sees(self) -> bool:
        """Is there a visual tap that acts?"""
        layers = range(self.depth) if self.placed is None else (self.placed,)
        return any(self.taps.get(f"visual.{layer}") for layer in layers)

    def prompts(self, layer: int, x: Tensor, query: Tensor, images: Tensor) -> tuple[Tensor | None, Tensor]:
        """What is put in front of x (B, N, D) at this layer, (B, P, D) or None, and x as it goes on. query: (B, D), images: (B, M, V)."""
        found = []
        for module in self.taps[f"visual.{layer}"] if self.placed in (None, layer) else ():
            prompt, x = module(x, query, images)
            found.append(prompt)
        return (torch.cat(found, 1) if found else None), x


def _with_heads(mask: Tensor) -> Tensor:
    """A mask of any form as (B, H or 1, N or 1, M)."""
    return mask[(slice(None), *(None,) * (4 - mask.ndim))]


def _turned(x: Tensor, rotary: Tensor | None) -> Tensor:
    """x (B, H, N + P, d) with the first N tokens turned by their positions, in the plane of each coordinate i and i + d / 2."""
    if rotary is None:
        return x
    count, (cos, sin) = rotary.shape[1], rotary.to(x.dtype)
    there, extra = x[:, :, :count], x[:, :, count:]
    one, two = there.chunk(2, -1)
    there = there * cos + torch.cat([-two, one], -1) * sin
    return torch.cat([there, extra], 2) if extra.shape[2] else there


def _attend(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None, **options: Any) -> Tensor:
    """Scaled dot-product attention; on a CPU always in float32, where the bfloat16 backward is ten times slower (torch 2.13)."""
    if query.dtype is torch.bfloat16 and query.device.type == "cpu":
        with torch.autocast("cpu", enabled=False):
            return _attend(query.float(), key.float(), value.float(), attn_mask, **options)
    if attn_mask is not None and attn_mask.is_floating_point():
        attn_mask = attn_mask.to(query.dtype)
    return F.scaled_dot_product_attention(query, key, value, attn_mask, **options)
