"""The transformer blocks of diffusers' UNet2DConditionModel with the positions of `layers.py`.

Attentions run through processors, feed-forwards through a call in the place of their own forward; norms, residuals and everything
between the blocks stay the library's.
"""

from __future__ import annotations

from typing import Any

from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from suite.core import Kind
from suite.layers import Attention, SubLayer


class Processor(Attention):
    """Attention as diffusers calls its processors: norm and residual are the block's. path: of the block below the UNet."""

    def __init__(self, block: nn.Module, path: str, name: str, norm: str):
        linears = (f"{name}.{part}" for part in ("to_q", "to_k", "to_v", "to_out.0"))
        super().__init__(block, *linears, norm, block.get_submodule(name).heads, norm_first=True)
        self.path = path

    @property
    def positions(self) -> tuple[str, ...]:
        """Extra keys have the width of what is attended to, which of a text is not the site's."""
        return ("input", "output", "key_value") if "attn1" in self.linears["query"] else ("input", "output")

    def __call__(self, attention: nn.Module, hidden_states: Tensor, encoder_hidden_states: Tensor | None = None,
                 attention_mask: Tensor | None = None, **_: Any) -> Tensor:  # type: ignore[override]  # fmt: skip
        mask = None if attention_mask is None else attention_mask[:, 0] >= 0  # an additive one, (B, 1, N)
        return attention.to_out[1](self.inside(hidden_states, encoder_hidden_states, mask))


class Feed(SubLayer):
    """The gated feed-forward of a block, in the place of its own forward. path: as in Processor."""

    kind = "feed-forward"
    positions = ("input", "output")

    def __init__(self, block: nn.Module, path: str):
        super().__init__(block, {"in": "ff.net.0.proj", "out": "ff.net.2"}, "norm3", norm_first=True)
        self.path = path

    def core(self, u: Tensor, *context: Tensor | None) -> Tensor:
        for part in self.owner.ff.net:
            u = part(u)
        return u

    def __call__(self, hidden_states: Tensor) -> Tensor:  # type: ignore[override]
        return self.inside(hidden_states)


def describe(unet: UNet2DConditionModel) -> list[tuple[dict[Kind, Any], int]]:
    """Each transformer block's sub-layers by kind, and how many tokens they see, in the order of the forward; acts on `unet`."""
    last, side, found = len(unet.down_blocks) - 1, unet.config.sample_size, []
    down, up = ([(f"{way}_blocks.{i}", level) for i, level in enumerate(levels)] for way, levels in
                (("down", range(last + 1)), ("up", range(last, -1, -1))))  # fmt: skip
    for part, level in (*down, ("mid_block", last), *up):
        for a, attention in enumerate(getattr(unet.get_submodule(part), "attentions", ())):
            for b, block in enumerate(attention.transformer_blocks):
                found.append((_taken_over(block, f"{part}.attentions.{a}.transformer_blocks.{b}"), (side >> level) ** 2))
    return found


def _taken_over(block: nn.Module, path: str) -> dict[Kind, Any]:
    own, cross, feed = Processor(block, path, "attn1", "norm1"), Processor(block, path, "attn2", "norm2"), Feed(block, path)
    block.attn1.set_processor(own)
    block.attn2.set_processor(cross)
    block.ff.forward = feed
    return {"self": own, "cross": cross, "ffn": feed}
