"""T5 (Raffel et al. 2020) as DVP uses it: one start token in the decoder is the read-out; papers.md section 4.

The official DVP code does not hand on the relative position bias, which so acts in the first layer of encoder and decoder alone, and its
decoder has no causal mask (golden README section 7). Both are the default here; `shared_bias` and `ahead=False` are the library's way.
"""

from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn
from transformers import T5Config, T5Model

from suite.backbones import common
from suite.backbones.hub import from_hub
from suite.backbones.language import LanguageModel, Pictures, Preset
from suite.core import Batch, Features, Site
from suite.layers import Attention, FeedForward, Layer, Sequence, additive, causal
from suite.view import View

SENTINELS = 8
"""Words of the mini size beyond the tokenizer's, which stand for hidden spans in pre-training."""

PRESETS = {
    "mini": Preset(
        config={"d_model": 96, "d_kv": 24, "d_ff": 384, "num_layers": 3, "num_decoder_layers": 6, "num_heads": 4, "dropout_rate": 0.0,
                "relative_attention_num_buckets": 32, "relative_attention_max_distance": 64, "decoder_start_token_id": 0},
        length=12, more_words=SENTINELS,
    ),
    "paper": Preset(
        config={"d_model": 768, "d_kv": 64, "d_ff": 3072, "num_layers": 12, "num_heads": 12, "decoder_start_token_id": 0}, length=16,
        marks=(1,), checkpoint="t5-base", papers=(16, 224, 224),
    ),
}  # fmt: skip


class WordScores(nn.Module):
    """T5's tied head: (B, N, D) states, scaled by D^-1/2, times the word embeddings -> (B, N, words)."""

    def __init__(self, words: nn.Embedding):
        super().__init__()
        self.words = words

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x * self.words.embedding_dim**-0.5, self.words.weight)


class T5(LanguageModel):
    """Sites: `encoder.sequence` (stream text), `decoder.sequence` (stream decoder, takes the visual prompts); `<part>.layer.<i>` and in it
    `.self`, in the decoder `.cross`, `.ffn`.

    heads: `lm`. shared_bias: position bias in every layer instead of the first. A picture is asked for by the mean over all encoder
    outputs, those of padding too, as in the official code, which pads every text to 16 tokens.
    """

    name: ClassVar[str] = "t5"
    sizes: ClassVar[dict[str, Preset]] = PRESETS
    view: ClassVar[View] = View("t5-base", 32_100, length=16, side=224, padded=True)

    def __init__(self, model: T5Model, preset: str, vision: nn.Module | None = None, length: int = 0, shared_bias: bool = False):
        super().__init__(model, preset, vision)
        self.length, self.shared_bias = length, shared_bias
        self.heads["lm"] = WordScores(model.shared)
        self.encoder, self.decoder = ([_describe(b, model.config.num_heads) for b in part.block] for part in (model.encoder, model.decoder))
        self.text, self.sequence = Sequence(len(self.encoder)), Sequence(len(self.decoder), visual=True)

    @classmethod
    def _fresh(cls, preset: str, size: Preset) -> T5:
        return cls(T5Model(T5Config(**size.sizes())), preset, length=size.length)

    @classmethod
    def _from_hub(cls, preset: str, size: Preset) -> T5:
        return cls(from_hub(T5Model, size.checkpoint), preset, length=size.length)

    def _sites(self) -> list[Site]:
        found = self.stack("text", self.text, self.encoder, "encoder.block", self.width, "before", self.length, "encoder.")
        return found + self.stack("decoder", self.sequence, self.decoder, "decoder.block", self.width, "before", 1, "decoder.")

    def forward(self, batch: Batch) -> Features:
        self.check(batch)
        encoded, mask = self.encode(self.embed(batch.input_ids), batch.text_mask)
        start = batch.input_ids.new_full((len(encoded), 1), self.model.config.decoder_start_token_id)
        return self.decode(self.embed(start), encoded, mask, self.pictures(batch))

    def embed(self, input_ids: Tensor) -> Tensor:
        """(B, N) -> (B, N, D); no text is too long, positions come in as a bias of attention."""
        return self.model.shared(input_ids)

    def encode(self, x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """The encoder on embeddings (B, N, D): its outputs and their mask (B, N)."""
        x, mask = self.model.encoder.dropout(x), None if mask is None else mask.bool()
        for depth, layer in enumerate(self.encoder):
            x, mask = self.text.before(depth, x, mask)
            x = layer(x, self._biased(self.model.encoder, depth, x, mask))
        return self.model.encoder.dropout(self.model.encoder.final_layer_norm(x)), mask

    def decode(self, x: Tensor, encoded: Tensor, text_mask: Tensor | None, pictures: Pictures | None = None, ahead: bool = True
               ) -> Features:  # fmt: skip
        """The decoder on embeddings (B, N, D). tokens: (B, P + N, D), the P visual prompts first; pooled: the last one.

        ahead: do tokens see those behind them?
        """
        x, mask = self.model.decoder.dropout(x), None
        for depth, layer in enumerate(self.decoder):
            x, mask = self.enter(depth, x, mask, lambda _: encoded.mean(1), pictures)
            seen = mask if ahead else causal(x, mask)
            x = layer(x, self._biased(self.model.decoder, depth, x, seen), encoded, text_mask)
        x = self.model.decoder.dropout(self.model.decoder.final_layer_norm(x))
        return Features(x[:, -1], x, common.visible(x, mask))

    def _biased(self, part: nn.Module, depth: int, x: Tensor, mask: Tensor | None) -> Tensor | None:
        """The mask of self-attention in this layer, with the position bias where there is one."""
        if depth and not self.shared_bias:
            return mask
        bias = part.block[0].layer[0].SelfAttention.compute_bias(x.shape[1], x.shape[1])
        return additive(bias, mask)


BACKBONE = T5


def _describe(block: nn.Module, heads: int) -> Layer:
    def attention(at: int, name: str) -> Attention:
        paths = (f"layer.{at}.{name}.{part}" for part in "qkvo")
        drop = f"layer.{at}.dropout"  # of the same rate as inside the attention
        return Attention(block, *paths, f"layer.{at}.layer_norm", heads, norm_first=True, dropout=drop, attention_dropout=drop, scale=1.0)

    last = len(block.layer) - 1
    ffn, inside = f"layer.{last}", f"layer.{last}.DenseReluDense"
    feed_forward = FeedForward(block, f"{inside}.wi", f"{inside}.wo", f"{ffn}.layer_norm", f"{inside}.act", norm_first=True,
                               dropout=f"{ffn}.dropout", inner_dropout=f"{inside}.dropout")  # fmt: skip
    return Layer(attention(0, "SelfAttention"), feed_forward, attention(1, "EncDecAttention") if block.is_decoder else None)
