"""ViLT (Kim et al. 2021): one pre-norm stream over text and image patches; papers.md section 1.

Weights and configuration lie in `transformers.ViltModel`; the embeddings' assembly and the loop over layers are here, so that
image patches keep their order and every site can be reached. Texts that share an image pay for its patches once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import ViltConfig, ViltForMaskedLM, ViltModel
from transformers.models.vilt.modeling_vilt import ViltMLMHead

from suite.backbones import common, shipped
from suite.backbones.hub import from_hub
from suite.core import Batch, Features, Kind, Prefix, Site
from suite.data.text import tokenizer
from suite.layers import Attention, FeedForward, Layer, Sequence
from suite.view import View


@dataclass(frozen=True)
class Preset:
    """A size. config: for ViltConfig. stem: channels of the stride-2 convolutions before the width (none: one linear patch map).

    length: tokens of the usual input. class_id: vocabulary index of [CLS]. checkpoint: shipped file or hub repository.
    word_std, position_std: deviations of freshly initialised word and image position embeddings. papers: see `papers_input`.
    """

    config: dict[str, Any]
    stem: tuple[int, ...]
    length: int
    class_id: int
    checkpoint: str
    word_std: float
    position_std: float
    papers: tuple[int, int, int] | None = None


PRESETS = {
    "mini": Preset(
        config={
            "hidden_size": 96, "num_hidden_layers": 6, "num_attention_heads": 4, "intermediate_size": 384,
            "image_size": 64, "patch_size": 16, "max_position_embeddings": 32, "layer_norm_eps": 1e-6, "modality_type_vocab_size": 3,
        },
        stem=(24, 48, 96), length=29, class_id=1, checkpoint="vilt-mini", word_std=0.5, position_std=0.3,
    ),
    "paper": Preset(
        config={"modality_type_vocab_size": 3}, stem=(), length=241, class_id=101, checkpoint="dandelin/vilt-b32-mlm", word_std=0.02,
        position_std=0.02, papers=(40, 320, 640),
    ),
}  # fmt: skip


class ViLT(common.Pretrained):
    """Sites: `sequence` (stream fused), `layer.<i>`, `layer.<i>.self`, `layer.<i>.ffn`.

    heads: `itm`, `mlm` (tied to the word embeddings). class_token: (1, 1, D), None until `add_class_token`.
    """

    name: ClassVar[str] = "vilt"
    sizes: ClassVar[dict[str, Preset]] = PRESETS
    view: ClassVar[View] = View("bert-base-uncased", 30_522, length=40, side=384, fit="shorter", augment=True)

    def __init__(self, model: ViltModel, preset: str, class_id: int = 101, length: int = 0):
        super().__init__(model, preset)
        config = model.config
        self.class_id, self.length = class_id, length
        self.register_parameter("class_token", None)
        self.heads["itm"] = nn.Linear(config.hidden_size, 2)
        self.heads["mlm"] = ViltMLMHead(config)
        self.heads["mlm"].decoder.weight = model.embeddings.text_embeddings.word_embeddings.weight
        self.layers = [_describe(layer, config.num_attention_heads) for layer in model.encoder.layer]
        self.sequence = Sequence(len(self.layers))

    @classmethod
    def build(cls, preset: str, pretrained: bool = True, device: str = "cpu") -> ViLT:
        """See Backbone. `mini` is shipped, `paper` comes from the hub or PETLBENCH_MIRROR, where the matching head starts
        at random (that checkpoint has none) and the norms have the hub configuration's epsilon.

        Raises UserError for an unknown preset and for weights that are missing or damaged.
        """
        size = cls.size_of(preset)
        with torch.device(device):
            if pretrained and "/" in size.checkpoint:
                backbone = cls._from_hub(preset, size)
            else:
                backbone = cls._fresh(preset, size)
                if pretrained:
                    backbone.load_pretrained(shipped.load(shipped.path_of(size.checkpoint)))
            common.share_image_type(backbone.model.embeddings.token_type_embeddings)
        return backbone.to(device)

    @classmethod
    def _fresh(cls, preset: str, size: Preset) -> ViLT:
        config = ViltConfig(**({"vocab_size": tokenizer().get_vocab_size()} | size.config if size.stem else size.config))
        model = ViltModel(config)
        embeddings = model.embeddings
        nn.init.normal_(embeddings.text_embeddings.word_embeddings.weight, std=size.word_std)
        nn.init.normal_(embeddings.position_embeddings, std=size.position_std)
        if size.stem:
            embeddings.patch_embeddings.projection = common.stem((config.num_channels, *size.stem, config.hidden_size))
        return cls(model, preset, size.class_id, size.length)

    @classmethod
    def _from_hub(cls, preset: str, size: Preset) -> ViLT:
        full = from_hub(ViltForMaskedLM, size.checkpoint)
        backbone = cls(full.vilt, preset, size.class_id, size.length)
        backbone.heads["mlm"] = full.mlm_score
        return backbone

    def pretrained_state(self) -> dict[str, Tensor]:
        """What a weight file holds: `model.*` and `heads.*`, without the tied decoder."""
        parts = {"model": self.model, "heads": self.heads}
        named = {f"{part}.{key}": tensor for part, module in parts.items() for key, tensor in module.state_dict().items()}
        del named["heads.mlm.decoder.weight"]
        return named

    @property
    def width(self) -> int:
        return self.model.config.hidden_size

    @property
    def head_width(self) -> int:
        return 2 * self.width

    def papers_input(self) -> tuple[int, int, int] | None:
        """papers.md section 1: 40 text tokens, 200 patches (here 10 x 20) and the image class token make the 241."""
        return PRESETS[self.preset].papers

    def sites(self, *kinds: Kind) -> list[Site]:
        found = self.stack("fused", self.sequence, self.layers, "encoder.layer", self.width, "before", self.length)
        return [site for site in found if site.kind in kinds]

    def add_class_token(self) -> None:
        ids = torch.full((1, 1), self.class_id, device=self.model.embeddings.cls_token.device)
        text = self.model.embeddings.text_embeddings
        with torch.no_grad():
            token = text.LayerNorm(text.word_embeddings(ids) + text.token_type_embeddings.weight[0] + text.position_embeddings.weight[0])
        self.class_token = nn.Parameter(token)

    def always_trained(self) -> list[nn.Parameter]:
        parts = [*self.model.pooler.parameters(), self.model.embeddings.token_type_embeddings.weight]
        return parts if self.class_token is None else [*parts, self.class_token]

    def prefix(self) -> Prefix:
        """The patch map with positions."""
        embeddings = self.model.embeddings
        parameters = [embeddings.cls_token, embeddings.position_embeddings, *embeddings.patch_embeddings.parameters()]
        return Prefix(parameters, images=self.image_tokens)

    def forward(self, batch: Batch) -> Features:
        return self.encode(*self.embed(batch))

    def embed(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """The sequence [text, image] before the first layer: (B, N, D), and its mask (B, N)."""
        image = self.image_tokens(batch.pixels, batch.picture_sizes) if batch.image_tokens is None else batch.image_tokens
        there = None if batch.picture_sizes is None else self._there(batch.picture_sizes, *batch.pixels.shape[-2:])
        if batch.image_index is not None:
            image = image.index_select(0, batch.image_index)
            there = there if there is None else there.index_select(0, batch.image_index)
        image = self.model.embeddings.dropout(image)
        return self.join(self.text_tokens(batch.input_ids), image, batch.text_mask, there, batch.image_type)

    def text_tokens(self, input_ids: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, N) -> (B, N, D), the embeddings. Raises UserError where N is more than the positions."""
        self.check_length(input_ids.shape[1], self.model.config.max_position_embeddings)
        return self.model.embeddings.text_embeddings(input_ids=input_ids)

    def image_tokens(self, pixels: Tensor, sizes: Tensor | None = None) -> Tensor:
        """(I, 3, H, W) -> (I, 1 + patches, D), patches in reading order, with positions. sizes: see core.Batch. Raises UserError for
        another mode or type, and where patches do not tile the picture."""
        embeddings = self.model.embeddings
        self.check_pictures(pixels, self.model.config.image_size, self.model.config.patch_size)
        patches = embeddings.patch_embeddings.projection(pixels.to(embeddings.cls_token.dtype))
        grid = patches.shape[-2:]
        positions = self._positions(*grid) if sizes is None else self._placed(sizes, *grid)
        tokens = patches.flatten(2).transpose(1, 2)
        return torch.cat([embeddings.cls_token.expand(len(tokens), -1, -1), tokens], dim=1) + positions

    def _positions(self, height: int, width: int) -> Tensor:
        table = self.model.embeddings.position_embeddings
        side = math.isqrt(table.shape[1] - 1)
        if (height, width) == (side, side):
            return table
        grid = table[:, 1:].transpose(1, 2).unflatten(2, (side, side))
        grid = F.interpolate(grid, size=(height, width), mode="bilinear", align_corners=True)
        return torch.cat([table[:, :1], grid.flatten(2).transpose(1, 2)], dim=1)

    def _placed(self, sizes: Tensor, height: int, width: int) -> Tensor:
        """(I, 1 + patches, D): each picture has the positions of its own height and width (I, 2), as if it were alone."""
        found = []
        for h, w in (sizes // self.model.config.patch_size).tolist():
            table = self._positions(h, w)
            grid = F.pad(table[:, 1:].unflatten(1, (h, w)), (0, 0, 0, width - w, 0, height - h))
            found.append(torch.cat([table[:, :1], grid.flatten(1, 2)], 1))
        return torch.cat(found)

    def _there(self, sizes: Tensor, height: int, width: int) -> Tensor:
        """Which image tokens, of a picture that fills height x width pixels, pictures of these sizes (I, 2) have: (I, 1 + patches) bool."""
        patch = self.model.config.patch_size
        rows, columns = (torch.arange(0, side, patch, device=sizes.device) for side in (height, width))
        inside = (rows < sizes[:, :1])[:, :, None] & (columns < sizes[:, 1:])[:, None]
        return F.pad(inside.flatten(1), (1, 0), value=True)

    def join(self, text: Tensor, image: Tensor, text_mask: Tensor | None, image_mask: Tensor | None = None, image_type: int = 1
             ) -> tuple[Tensor, Tensor | None]:  # fmt: skip
        """text (B, N, D), image (B, M, D) -> (B, N + M, D) with class token and modality, and its mask (None: all there)."""
        if self.class_token is not None:
            text = torch.cat([self.class_token.expand(len(text), -1, -1), text[:, 1:]], dim=1)
        modality = self.model.embeddings.token_type_embeddings.weight
        x = torch.cat([text + modality[0], image + modality[image_type]], dim=1)
        if text_mask is None and image_mask is None:
            return x, None
        return x, torch.cat([common.visible(text, text_mask), common.visible(image, image_mask)], dim=1)

    def encode(self, x: Tensor, mask: Tensor | None) -> Features:
        """The layers on a given sequence (B, N, D), then the last norm and the pooler on token 0."""
        for depth, layer in enumerate(self.layers):
            x, mask = self.sequence.before(depth, x, mask)
            x = layer(x, mask)
        x = self.model.layernorm(x)
        return Features(self.model.pooler(x), x, common.visible(x, mask))

    @property
    def stem(self) -> nn.Module:
        """The patch map."""
        return self.model.embeddings.patch_embeddings.projection

    def fuse(self, input_ids: Tensor, mask: Tensor, image: Tensor) -> Features:
        """Texts (B, N) with the tokens of a picture each (B, M, D): what pre-training asks for."""
        return self.encode(*self.join(self.text_tokens(input_ids), image, mask))

    def read_at(self, features: Features, where: Tensor) -> Tensor:
        """The read-out as if the tokens at `where` (B, N) bool were the first of their texts: (T, D)."""
        return self.model.pooler(features.tokens[:, : where.shape[1]][where][:, None])


BACKBONE = ViLT


def _describe(layer: nn.Module, heads: int) -> Layer:
    attention = Attention(
        layer, "attention.attention.query", "attention.attention.key", "attention.attention.value", "attention.output.dense",
        norm="layernorm_before", heads=heads, norm_first=True,
        dropout="attention.output.dropout", attention_dropout="attention.attention.dropout",
    )  # fmt: skip
    ffn = FeedForward(
        layer, "intermediate.dense", "output.dense", norm="layernorm_after", activation="intermediate.intermediate_act_fn",
        norm_first=True, dropout="output.dropout",
    )  # fmt: skip
    return Layer(attention, ffn)
