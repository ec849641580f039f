"""METER (Dou et al. 2022): CLIP's and RoBERTa's towers, then two post-norm streams that read each other; papers.md section 1.

Weights and configuration lie in modules of `transformers` below the names of the official checkpoint; the loops over layers are here.
Both streams read what the other one had before the layer. Texts that share a picture pay for its tower once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import BertConfig, CLIPVisionConfig, CLIPVisionModel, RobertaConfig, RobertaModel
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD
from transformers.models.bert.modeling_bert import BertLayer, BertPooler
from transformers.models.vilt.modeling_vilt import ViltMLMHead

from suite.backbones import common, shipped
from suite.backbones.meter_keys import from_official, read
from suite.core import Batch, Features, Kind, Prefix, Site
from suite.data.text import tokenizer
from suite.layers import Sequence
from suite.view import View

STREAMS = ("text", "image")


@dataclass(frozen=True)
class Preset:
    """A size. text, image, fusion: for RobertaConfig, CLIPVisionConfig and BertConfig. stem: as in ViLT's.

    lengths: tokens of the usual text and picture. class_id: vocabulary index of the first token. checkpoint: shipped file, or official
    one below PETLBENCH_MIRROR. word_std, position_std: of freshly initialised word and image position embeddings. papers: see
    `papers_input`.
    """

    text: dict[str, Any]
    image: dict[str, Any]
    fusion: dict[str, Any]
    stem: tuple[int, ...]
    lengths: tuple[int, int]
    class_id: int
    checkpoint: str
    word_std: float
    position_std: float
    papers: tuple[int, int, int] | None = None


_SMALL = {"hidden_size": 80, "num_attention_heads": 4, "intermediate_size": 320}
_NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}

PRESETS = {
    "mini": Preset(
        text=_SMALL | _NO_DROPOUT | {
            "num_hidden_layers": 4, "max_position_embeddings": 33, "type_vocab_size": 1, "pad_token_id": 0, "layer_norm_eps": 1e-5,
        },
        image=_SMALL | {"num_hidden_layers": 5, "image_size": 64, "patch_size": 16},
        fusion=_SMALL | _NO_DROPOUT | {"num_hidden_layers": 3},
        stem=(24, 48, 96), lengths=(12, 17), class_id=1, checkpoint="meter-mini", word_std=0.5, position_std=0.3,
    ),
    "paper": Preset(
        text={"vocab_size": 50265, "max_position_embeddings": 514, "type_vocab_size": 1, "layer_norm_eps": 1e-5},
        image={"num_hidden_layers": 11, "image_size": 288, "patch_size": 16},
        fusion={"num_hidden_layers": 6, "vocab_size": 50265},
        stem=(), lengths=(40, 577), class_id=0, checkpoint="meter_clip16_288_roberta_pretrain.ckpt", word_std=0.02, position_std=0.02,
        papers=(40, 384, 384),
    ),
}  # fmt: skip


class MeterModel(nn.Module):
    """The modules of METER, randomly initialised, under the official names. They hold weights only; `METER` computes.

    text, image, fusion: of one width; `fusion.num_hidden_layers` layers a stream.
    """

    def __init__(self, text: RobertaConfig, image: CLIPVisionConfig, fusion: BertConfig):
        super().__init__()
        self.fusion, width = fusion, fusion.hidden_size  # not `config`, by which peft takes it for a model of transformers
        self.text_transformer, self.vit_model = RobertaModel(text), CLIPVisionModel(image)
        self.token_type_embeddings = nn.Embedding(2, width)
        own: list[nn.Module] = [self.token_type_embeddings]
        for stream in STREAMS:
            parts = {
                "transform": nn.Linear(width, width),
                "layers": nn.ModuleList(BertLayer(fusion) for _ in range(fusion.num_hidden_layers)),
                "pooler": BertPooler(fusion),
            }
            for name, part in parts.items():
                self.add_module(f"cross_modal_{stream}_{name}", part)
                own.append(part)
        for part in own:
            part.apply(_initialise)

    def part(self, stream: str, name: str) -> Any:
        """`transform`, `layers` or `pooler` of a stream."""
        return self.get_submodule(f"cross_modal_{stream}_{name}")


def _initialise(module: nn.Module) -> None:
    """BERT's start, which the official code gives its own parts too: N(0, 0.02), biases 0."""
    if isinstance(module, (nn.Linear, nn.Embedding)):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)


class METER(common.Pretrained):
    """Sites of streams `text` and `image`: `<stream>.sequence`, `<stream>.layer.<i>` and in it `.self`, `.cross`, `.ffn`; no sites in the
    towers. A sequence begins at the first fusion layer.

    heads: `itm` on both poolers, `mlm` on the text stream. class_token: (1, 1, D), None until `add_class_token`.
    """

    name: ClassVar[str] = "meter"
    sizes: ClassVar[dict[str, Preset]] = PRESETS
    view: ClassVar[View] = View("roberta-base", 50_265, length=40, side=384, augment=True)

    def __init__(self, model: MeterModel, preset: str, class_id: int = 0, lengths: tuple[int, int] = (0, 0)):
        super().__init__(model, preset)
        config = model.fusion
        self.class_id, self.lengths = class_id, dict(zip(STREAMS, lengths))
        self.register_parameter("class_token", None)
        self.heads["itm"] = nn.Linear(2 * config.hidden_size, 2)
        self.heads["mlm"] = ViltMLMHead(config)
        towers = model.text_transformer, model.vit_model
        self.text_tower = [common.post_norm(layer, towers[0].config.num_attention_heads) for layer in towers[0].encoder.layer]
        self.image_tower = [common.pre_norm(layer, towers[1].config.num_attention_heads) for layer in towers[1].encoder.layers]
        heads = config.num_attention_heads
        self.layers = {stream: [common.post_norm(layer, heads) for layer in model.part(stream, "layers")] for stream in STREAMS}
        self.sequences = {stream: Sequence(config.num_hidden_layers) for stream in STREAMS}
        mean, std = (torch.tensor(values)[:, None, None] for values in (OPENAI_CLIP_MEAN, OPENAI_CLIP_STD))
        self.register_buffer("pixel_scale", 0.5 / std, persistent=False)
        self.register_buffer("pixel_shift", (0.5 - mean) / std, persistent=False)

    @classmethod
    def build(cls, preset: str, pretrained: bool = True, device: str = "cpu") -> METER:
        """See Backbone. `mini` is shipped; `paper` is the official checkpoint in the folder PETLBENCH_MIRROR. Raises UserError for an
        unknown preset and for weights that are missing, damaged or of another model."""
        size = cls.size_of(preset)
        with torch.device(device):
            backbone = cls._fresh(preset, size)
            if pretrained and size.stem:
                backbone.load_pretrained(shipped.load(shipped.path_of(size.checkpoint)))
            elif pretrained:
                backbone.load_official(read(size.checkpoint))
            common.share_image_type(backbone.model.token_type_embeddings)
        return backbone.to(device)

    @classmethod
    def _fresh(cls, preset: str, size: Preset) -> METER:
        vocabulary = {"vocab_size": tokenizer().get_vocab_size()} if size.stem else {}
        image = CLIPVisionConfig(**size.image)
        fusion = BertConfig(**vocabulary | size.fusion, is_decoder=True, add_cross_attention=True)  # the library's condition for `cross`
        model = MeterModel(RobertaConfig(**vocabulary | size.text), image, fusion)
        words, embeddings = model.text_transformer.embeddings.word_embeddings, model.vit_model.embeddings
        nn.init.normal_(words.weight, std=size.word_std)
        nn.init.normal_(embeddings.position_embedding.weight, std=size.position_std)
        backbone = cls(model, preset, size.class_id, size.lengths)
        if size.stem:
            embeddings.patch_embedding = common.stem((image.num_channels, *size.stem, image.hidden_size))
            backbone.heads["mlm"].decoder.weight = words.weight
        return backbone

    def pretrained_state(self) -> dict[str, Tensor]:
        """What a weight file holds: `model.*` and `heads.*`, without a tied decoder and the second image's modality row."""
        parts = {"model": self.model, "heads": self.heads}
        named = {f"{part}.{key}": tensor for part, module in parts.items() for key, tensor in module.state_dict().items()}
        named["model.token_type_embeddings.weight"] = named["model.token_type_embeddings.weight"][:2]
        if self.heads["mlm"].decoder.weight is self.model.text_transformer.embeddings.word_embeddings.weight:
            del named["heads.mlm.decoder.weight"]
        return named

    def load_official(self, tensors: dict[str, Tensor]) -> None:
        """Take over the state dict of an official checkpoint. Raises UserError naming a tensor that is missing, unknown or does not fit."""
        self.load_pretrained(from_official(tensors, self.pretrained_state()))

    @property
    def width(self) -> int:
        return 2 * self.model.fusion.hidden_size

    @property
    def head_width(self) -> int:
        return self.width

    def papers_input(self) -> tuple[int, int, int] | None:
        """papers.md section 1: 40 text tokens and, at 384 x 384, 577 of the image."""
        return PRESETS[self.preset].papers

    def sites(self, *kinds: Kind) -> list[Site]:
        found = [site for s in STREAMS for site in self.stack(
            s, self.sequences[s], self.layers[s], f"cross_modal_{s}_layers", self.model.fusion.hidden_size, "after", self.lengths[s],
            f"{s}.")]  # fmt: skip
        found.sort(key=lambda site: (site.kind != "sequence", site.depth))  # the streams' layers take turns
        return [site for site in found if site.kind in kinds]

    def add_class_token(self) -> None:
        """Takes the place of the first token behind RoBERTa, where it starts as that token's embedding before it (papers.md section 1)."""
        text = self.model.text_transformer.embeddings
        ids = torch.full((1, 1), self.class_id, device=text.word_embeddings.weight.device)
        position = text.position_embeddings.weight[text.padding_idx + 1]
        with torch.no_grad():
            token = text.LayerNorm(text.word_embeddings(ids) + text.token_type_embeddings.weight[0] + position)
        self.class_token = nn.Parameter(token)

    def always_trained(self) -> list[nn.Parameter]:
        parts = [p for stream in STREAMS for p in self.model.part(stream, "pooler").parameters()]
        parts.append(self.model.token_type_embeddings.weight)
        return parts if self.class_token is None else [*parts, self.class_token]

    def fusion_parameters(self) -> list[nn.Parameter]:
        """Fusion layers with what is put into them, transforms, poolers; not what stands for a whole layer (papers.md section 1)."""
        model = [p for name, p in self.model.named_parameters() if name.startswith("cross_modal")]
        return model + [p for name, part in self.attached.items() if "/replace/" not in name for p in part.parameters()]

    def prefix(self) -> Prefix:
        """Both towers with their transforms."""
        model = self.model
        parts = model.text_transformer, model.vit_model, model.part("text", "transform"), model.part("image", "transform")
        return Prefix([p for part in parts for p in part.parameters()], images=self.image_tokens, texts=self.text_tokens)

    def forward(self, batch: Batch) -> Features:
        mask = None if batch.text_mask is None else batch.text_mask.bool()
        image = self.image_tokens(batch.pixels) if batch.image_tokens is None else batch.image_tokens
        text = self.text_tokens(batch.input_ids, mask) if batch.text_tokens is None else batch.text_tokens
        if batch.image_index is not None:
            image = image.index_select(0, batch.image_index)
        return self.encode(*self.join(text, image, batch.image_type), mask)

    @property
    def stem(self) -> nn.Module:
        """The patch map."""
        return self.model.vit_model.embeddings.patch_embedding

    def fuse(self, input_ids: Tensor, mask: Tensor, image: Tensor) -> Features:
        """Texts (B, N) with the tokens of a picture each (B, M, D): what pre-training asks for."""
        return self.encode(*self.join(self.text_tokens(input_ids, mask), image), mask)

    def read_at(self, features: Features, where: Tensor) -> Tensor:
        """The read-out as if the tokens at `where` (B, N) bool were the first of their texts: (T, 2D)."""
        text = self.model.part("text", "pooler")(features.tokens[:, : where.shape[1]][where][:, None])
        image = features.pooled[:, self.width // 2 :]
        return torch.cat([text, image[where.nonzero()[:, 0]]], 1)

    def text_tokens(self, input_ids: Tensor, mask: Tensor | None) -> Tensor:
        """(B, N) -> (B, N, D), through RoBERTa and the text transform. Raises UserError where N is more than the positions."""
        config = self.model.text_transformer.config
        self.check_length(input_ids.shape[1], config.max_position_embeddings - config.pad_token_id - 1)
        x = self.model.text_transformer.embeddings(input_ids=input_ids)
        for layer in self.text_tower:
            x = layer(x, mask)
        return self.model.part("text", "transform")(x)

    def image_tokens(self, pixels: Tensor) -> Tensor:
        """(I, 3, H, W) in [-1, 1] -> (I, 1 + patches, D), through CLIP, with its last norm on every token, and the image transform.

        Raises UserError for another mode or type, and where patches do not tile the picture.
        """
        vision = self.model.vit_model
        self.check_pictures(pixels, vision.config.image_size, vision.config.patch_size)
        embeddings = vision.embeddings
        pixels = pixels.to(embeddings.class_embedding.dtype) * self.pixel_scale + self.pixel_shift
        patches = embeddings.patch_embedding(pixels)
        x = torch.cat([embeddings.class_embedding.expand(len(patches), 1, -1), patches.flatten(2).transpose(1, 2)], dim=1)
        x = vision.pre_layrnorm(x + self._positions(*patches.shape[-2:]))
        for layer in self.image_tower:
            x = layer(x)
        return self.model.part("image", "transform")(vision.post_layernorm(x))

    def _positions(self, height: int, width: int) -> Tensor:
        table = self.model.vit_model.embeddings.position_embedding.weight
        side = math.isqrt(len(table) - 1)
        if (height, width) == (side, side):
            return table
        grid = F.interpolate(table[None, 1:].transpose(1, 2).unflatten(2, (side, side)), size=(height, width), mode="bicubic")
        return torch.cat([table[:1], grid[0].flatten(1).T])

    def join(self, text: Tensor, image: Tensor, image_type: int = 1) -> tuple[Tensor, Tensor]:
        """text (B, N, D) and image (B, M, D) with class token and modality, as they enter the first fusion layer."""
        if self.class_token is not None:
            text = torch.cat([self.class_token.expand(len(text), -1, -1), text[:, 1:]], dim=1)
        modality = self.model.token_type_embeddings.weight
        return text + modality[0], image + modality[image_type]

    def encode(self, text: Tensor, image: Tensor, text_mask: Tensor | None, image_mask: Tensor | None = None) -> Features:
        """The fusion layers and the poolers. pooled: (B, 2D), tokens: (B, N + M, D), text first."""
        for depth, (text_layer, image_layer) in enumerate(zip(self.layers["text"], self.layers["image"], strict=True)):
            text, text_mask = self.sequences["text"].before(depth, text, text_mask)
            image, image_mask = self.sequences["image"].before(depth, image, image_mask)
            text, image = text_layer(text, text_mask, image, image_mask), image_layer(image, image_mask, text, text_mask)
        pooled = torch.cat([self.model.part("text", "pooler")(text), self.model.part("image", "pooler")(image)], dim=1)
        mask = torch.cat([common.visible(text, text_mask), common.visible(image, image_mask)], dim=1)
        return Features(pooled, torch.cat([text, image], dim=1), mask)


BACKBONE = METER
