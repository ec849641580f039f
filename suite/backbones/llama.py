"""LLaMA (Touvron et al. 2023) as DVP uses it: the state of the first end-of-text token is the read-out; papers.md section 4."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM, LlamaModel

from suite.backbones import common
from suite.backbones.hub import from_hub
from suite.backbones.language import LanguageModel, Pictures, Preset
from suite.core import Batch, Features, Site
from suite.layers import Attention, FeedForward, Layer, Sequence, causal
from suite.view import View

PRESETS = {
    "mini": Preset(
        config={"hidden_size": 96, "num_hidden_layers": 6, "num_attention_heads": 4, "intermediate_size": 256,
                "max_position_embeddings": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2},
        length=12, word_std=0.5,
    ),
    "paper": Preset(config={}, length=16, marks=(1, 2), checkpoint="huggyllama/llama-7b", papers=(16, 224, 224)),
}  # fmt: skip


class LLaMA(LanguageModel):
    """Sites: `sequence` (stream text), `layer.<i>`, `layer.<i>.self`, `layer.<i>.ffn`. Visual prompts stand in front of the text, whose
    positions count on behind them. Where a text has no end-of-text token its last token is read.

    heads: `lm`.
    """

    name: ClassVar[str] = "llama"
    decoder_only: ClassVar[bool] = True
    sizes: ClassVar[dict[str, Preset]] = PRESETS
    view: ClassVar[View] = View("huggyllama/llama-7b", 32_000, length=64, side=224, ending="</s>")

    def __init__(self, model: LlamaModel, preset: str, vision: nn.Module | None = None, length: int = 0):
        super().__init__(model, preset, vision)
        config, self.length = model.config, length
        self.heads["lm"] = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        nn.init.normal_(self.heads["lm"].weight, std=config.initializer_range)
        self.layers = [_describe(layer, config.num_attention_heads) for layer in model.layers]
        self.sequence = Sequence(len(self.layers), visual=True)

    @classmethod
    def _fresh(cls, preset: str, size: Preset) -> LLaMA:
        model = LlamaModel(LlamaConfig(**size.sizes()))
        if size.word_std is not None:
            nn.init.normal_(model.embed_tokens.weight, std=size.word_std)
        return cls(model, preset, length=size.length)

    @classmethod
    def _from_hub(cls, preset: str, size: Preset) -> LLaMA:
        full = from_hub(LlamaForCausalLM, size.checkpoint)
        backbone = cls(full.model, preset, length=size.length)
        backbone.heads["lm"] = full.lm_head
        return backbone

    @property
    def head_width(self) -> int:
        """An eighth of the width, 512 of 4,096 (papers.md section 4.2); at mini, where that would be 12, twice the width."""
        return self.width // 8 if self.preset == "paper" else 2 * self.width

    def _sites(self) -> list[Site]:
        return self.stack("text", self.sequence, self.layers, "layers", self.width, "before", self.length)

    def forward(self, batch: Batch) -> Features:
        self.check(batch)
        end = self.end(batch.input_ids, batch.text_mask)
        return self.encode(self.embed(batch.input_ids), batch.text_mask, end, self.pictures(batch))

    def embed(self, input_ids: Tensor) -> Tensor:
        """(B, N) -> (B, N, D)."""
        return self.model.embed_tokens(input_ids)

    def end(self, input_ids: Tensor, mask: Tensor | None) -> Tensor:
        """(B,) index of the first end-of-text token of texts (B, N), or of the last visible token."""
        lengths = common.visible(input_ids[..., None], mask).sum(1, keepdim=True)
        last = torch.arange(input_ids.shape[1], device=input_ids.device) == lengths - 1
        return ((input_ids == self.model.config.eos_token_id) | last).int().argmax(1)

    def encode(self, x: Tensor, mask: Tensor | None, end: Tensor, pictures: Pictures | None = None) -> Features:
        """The layers on embeddings (B, N, D), then the last norm. tokens: (B, P + N, D), the P visual prompts first; pooled: at `end`."""
        length, mask = x.shape[1], None if mask is None else mask.bool()
        rows = torch.arange(len(x), device=x.device)

        def read(x: Tensor) -> Tensor:
            return x[rows, end + x.shape[1] - length]

        for depth, layer in enumerate(self.layers):
            x, mask = self.enter(depth, x, mask, read, pictures)
            x = layer(x, causal(x, mask), rotary=self._rotary(x))
        x = self.model.norm(x)
        return Features(read(x), x, common.visible(x, mask))

    def _rotary(self, x: Tensor) -> Tensor:
        """Cosines and sines (2, N, D / H) of the positions 0 to N - 1."""
        return torch.cat(self.model.rotary_emb(x, torch.arange(x.shape[1], device=x.device)[None]))


BACKBONE = LLaMA


def _describe(layer: nn.Module, heads: int) -> Layer:
    attention = Attention(layer, *(f"self_attn.{part}_proj" for part in "qkvo"), "input_layernorm", heads, norm_first=True)
    return Layer(attention, FeedForward(layer, "mlp.up_proj", "mlp.down_proj", "post_attention_layernorm", "mlp.act_fn", norm_first=True,
                                        gate="mlp.gate_proj"))  # fmt: skip
