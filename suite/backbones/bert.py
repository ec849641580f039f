"""BERT (Devlin et al. 2019) as DVP uses it: the state of [CLS] is the read-out and what asks for a picture; papers.md section 4."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn
from transformers import BertConfig, BertForMaskedLM, BertModel
from transformers.models.bert.modeling_bert import BertLMPredictionHead

from suite.backbones import common
from suite.backbones.hub import from_hub
from suite.backbones.language import LanguageModel, Pictures, Preset
from suite.core import Batch, Features, Site
from suite.layers import Sequence
from suite.view import View

PRESETS = {
    "mini": Preset(
        config={
            "hidden_size": 96, "num_hidden_layers": 6, "num_attention_heads": 4, "intermediate_size": 384, "max_position_embeddings": 64,
            "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
        },
        length=12, word_std=0.5,
    ),
    "paper": Preset(config={}, length=16, marks=(101, 102), checkpoint="bert-base-uncased", papers=(16, 224, 224)),
}  # fmt: skip


class BERT(LanguageModel):
    """Sites: `sequence` (stream text), `layer.<i>`, `layer.<i>.self`, `layer.<i>.ffn`. Visual prompts stand in front of [CLS].

    heads: `mlm`, tied to the word embeddings, where `names_words`. model: without the library's pooler, which DVP does not use.
    """

    name: ClassVar[str] = "bert"
    sizes: ClassVar[dict[str, Preset]] = PRESETS
    names_words: ClassVar[bool] = True
    view: ClassVar[View] = View("bert-base-uncased", 30_522, length=16, side=224)

    def __init__(self, model: BertModel, preset: str, vision: nn.Module | None = None, length: int = 0):
        super().__init__(model, preset, vision)
        self.length = length
        if self.names_words:
            self.heads["mlm"] = head = BertLMPredictionHead(model.config)
            head.decoder.weight, head.decoder.bias = model.embeddings.word_embeddings.weight, head.bias
        self.layers = [common.post_norm(layer, model.config.num_attention_heads) for layer in model.encoder.layer]
        self.sequence = Sequence(len(self.layers), visual=True)

    @classmethod
    def _fresh(cls, preset: str, size: Preset) -> BERT:
        model = BertModel(BertConfig(**size.sizes()), add_pooling_layer=False)
        if size.word_std is not None:
            nn.init.normal_(model.embeddings.word_embeddings.weight, std=size.word_std)
        return cls(model, preset, length=size.length)

    @classmethod
    def _from_hub(cls, preset: str, size: Preset) -> BERT:
        full = from_hub(BertForMaskedLM, size.checkpoint)
        backbone = cls(full.bert, preset, length=size.length)
        backbone.heads["mlm"] = full.cls.predictions
        return backbone

    def _sites(self) -> list[Site]:
        return self.stack("text", self.sequence, self.layers, "encoder.layer", self.width, "after", self.length)

    def forward(self, batch: Batch) -> Features:
        self.check(batch)
        return self.encode(self.embed(batch.input_ids), batch.text_mask, self.pictures(batch))

    def embed(self, input_ids: Tensor) -> Tensor:
        """(B, N) -> (B, N, D)."""
        return self.model.embeddings(input_ids=input_ids)

    def encode(self, x: Tensor, mask: Tensor | None, pictures: Pictures | None = None) -> Features:
        """The layers on embeddings (B, N, D). tokens: (B, P + N, D), the P visual prompts first; pooled: the state of [CLS]."""
        length, mask = x.shape[1], None if mask is None else mask.bool()
        for depth, layer in enumerate(self.layers):
            x, mask = self.enter(depth, x, mask, lambda x: x[:, -length], pictures)
            x = layer(x, mask)
        return Features(x[:, -length], x, common.visible(x, mask))


BACKBONE = BERT
