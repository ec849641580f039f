"""CLIP (Radford et al. 2021, arXiv:2103.00020): an image tower and a causal text tower that meet in one space.

Weights and configuration lie in `transformers.CLIPModel`; the loops over layers are here. Nothing joins the towers but a product of
their normalised read-outs: of the picture its class token, of a text its end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPModel
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

from suite.backbones import common, shipped
from suite.backbones.hub import from_hub
from suite.core import Batch, Features, Kind, Prefix, Site
from suite.data.text import CLS, PAD, SEP, tokenizer
from suite.layers import Sequence, causal
from suite.view import View

STREAMS = {"image": "vision_model", "text": "text_model"}
READ = 2
"""What a mask says of the token that is read, a text's end or a picture's class token; 1: any other token that is there."""


@dataclass(frozen=True)
class Preset:
    """A size. text, image: for CLIPTextConfig and CLIPVisionConfig, `projection` the width of the common space. stem: as in ViLT's.

    lengths: tokens of the usual picture and class prompt. end_id: vocabulary index of the end of text. checkpoint: shipped file or hub
    repository. word_std, position_std: of freshly initialised word and position embeddings. papers: see `papers_input`.
    """

    text: dict[str, Any]
    image: dict[str, Any]
    projection: int
    stem: tuple[int, ...]
    lengths: tuple[int, int]
    end_id: int
    checkpoint: str
    word_std: float
    position_std: float
    papers: tuple[int, int, int] | None = None


_SMALL = {"hidden_size": 96, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 384}

PRESETS = {
    "mini": Preset(
        text=_SMALL | {"max_position_embeddings": 32, "pad_token_id": PAD, "bos_token_id": CLS, "eos_token_id": SEP},
        image=_SMALL | {"image_size": 64, "patch_size": 8},
        projection=96, stem=(24, 48), lengths=(65, 8), end_id=SEP, checkpoint="clip-mini", word_std=0.5, position_std=0.3,
    ),
    "paper": Preset(
        text={}, image={"patch_size": 16}, projection=512, stem=(), lengths=(197, 77), end_id=49407,
        checkpoint="openai/clip-vit-base-patch16", word_std=0.02, position_std=0.02, papers=(77, 224, 224),
    ),
}  # fmt: skip


class CLIP(common.Pretrained):
    """Sites of streams `image` and `text`: `<stream>.sequence`, `<stream>.layer.<i>` and in it `.self`, `.ffn`.

    The text's `insert.0` acts on word embeddings, before positions are added; the image's behind the norm below the first layer. What is
    read is marked in the mask that inserted modules get, and is found wherever they move it. No head, no class token of its own, nothing
    that every method trains.
    """

    name: ClassVar[str] = "clip"
    sizes: ClassVar[dict[str, Preset]] = PRESETS
    view: ClassVar[View] = View("openai/clip-vit-base-patch16", 49_408, length=77, side=224)

    def __init__(self, model: CLIPModel, preset: str, end_id: int = 49407, lengths: tuple[int, int] = (0, 0)):
        super().__init__(model, preset)
        self.end_id, self.lengths = end_id, dict(zip(STREAMS, lengths))
        self.layers = {stream: [common.pre_norm(layer, tower.config.num_attention_heads) for layer in tower.encoder.layers]
                       for stream, tower in self._towers().items()}  # fmt: skip
        self.sequences = {stream: Sequence(len(layers)) for stream, layers in self.layers.items()}
        mean, std = (torch.tensor(values)[:, None, None] for values in (OPENAI_CLIP_MEAN, OPENAI_CLIP_STD))
        self.register_buffer("pixel_scale", 0.5 / std, persistent=False)
        self.register_buffer("pixel_shift", (0.5 - mean) / std, persistent=False)

    def _towers(self) -> dict[str, nn.Module]:
        return {stream: self.model.get_submodule(path) for stream, path in STREAMS.items()}

    @classmethod
    def build(cls, preset: str, pretrained: bool = True, device: str = "cpu") -> CLIP:
        """See Backbone. `mini` is shipped, `paper` comes from the hub or PETLBENCH_MIRROR.

        Raises UserError for an unknown preset and for weights that are missing or damaged.
        """
        size = cls.size_of(preset)
        with torch.device(device):
            if pretrained and "/" in size.checkpoint:
                return cls(from_hub(CLIPModel, size.checkpoint), preset, size.end_id, size.lengths).to(device)
            backbone = cls(_fresh(size), preset, size.end_id, size.lengths)
            if pretrained:
                backbone.load_pretrained(shipped.load(shipped.path_of(size.checkpoint)))
        return backbone.to(device)

    def pretrained_state(self) -> dict[str, Tensor]:
        """What a weight file holds: `model.*`."""
        return {f"model.{key}": tensor for key, tensor in self.model.state_dict().items()}

    @property
    def width(self) -> int:
        return self.model.config.projection_dim

    @property
    def head_width(self) -> int:
        return 2 * self.vision_width

    @property
    def vision_width(self) -> int:
        """V, the width of the image tower."""
        return self.model.vision_model.config.hidden_size

    @property
    def logit_scale(self) -> Tensor:
        """The factor of cosine similarities, a learned scalar."""
        return self.model.logit_scale.exp()

    def papers_input(self) -> tuple[int, int, int] | None:
        """224 x 224 pixels, the size it was trained on. The 77 tokens are those of any text; class prompts are the task's own, unpadded."""
        return PRESETS[self.preset].papers

    def sites(self, *kinds: Kind) -> list[Site]:
        found = [site for s, tower in self._towers().items() for site in self.stack(
            s, self.sequences[s], self.layers[s], f"{STREAMS[s]}.encoder.layers", tower.config.hidden_size, "before", self.lengths[s],
            f"{s}.")]  # fmt: skip
        return [site for site in found if site.kind in kinds]

    def always_trained(self) -> list[nn.Parameter]:
        return []

    def prefix(self) -> Prefix:
        """The patch map with positions and the norm behind it."""
        vision = self.model.vision_model
        return Prefix([*vision.embeddings.parameters(), *vision.pre_layrnorm.parameters()], images=self.image_tokens)

    def forward(self, batch: Batch) -> Features:
        """pooled: (B, E), the normalised image features; tokens: (B, M, V), of the picture. Texts are read by `text_features`."""
        tokens = self.image_tokens(batch.pixels) if batch.image_tokens is None else batch.image_tokens
        states, mask = self._encode(tokens)
        states = self.model.vision_model.post_layernorm(states)
        pooled = self._project(states, mask)
        if batch.image_index is not None:
            pooled, states = pooled.index_select(0, batch.image_index), states.index_select(0, batch.image_index)
        return Features(pooled, states, common.visible(states, None))

    def image_features(self, pixels: Tensor | None, image_tokens: Tensor | None = None) -> Tensor:
        """(I, 3, H, W), or what `image_tokens` made of it, -> (I, E), of length 1."""
        tokens = self.image_tokens(pixels) if image_tokens is None else image_tokens
        states, mask = self._encode(tokens)
        return self._project(self.model.vision_model.post_layernorm(states), mask)

    def image_states(self, pixels: Tensor) -> Tensor:
        """(I, 3, H, W) -> (I, M, V): class token and patches behind the last layer, before the last norm."""
        return self._encode(self.image_tokens(pixels))[0]

    def image_tokens(self, pixels: Tensor) -> Tensor:
        """(I, 3, H, W) in [-1, 1] -> (I, 1 + patches, V), as they enter the first layer. Raises UserError for another shape or type."""
        vision = self.model.vision_model
        self.check_pictures(pixels, vision.config.image_size)
        embeddings = vision.embeddings
        pixels = pixels.to(embeddings.class_embedding.dtype) * self.pixel_scale + self.pixel_shift
        patches = embeddings.patch_embedding(pixels).flatten(2).transpose(1, 2)
        x = torch.cat([embeddings.class_embedding.expand(len(patches), 1, -1), patches], dim=1)
        return vision.pre_layrnorm(x + embeddings.position_embedding.weight)

    def _encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mask = common.visible(x, None).int()
        mask[:, 0] = READ
        for depth, layer in enumerate(self.layers["image"]):
            x, mask = self.sequences["image"].before(depth, x, mask)
            x = layer(x)
        return x, mask

    def _project(self, states: Tensor, mask: Tensor) -> Tensor:
        return F.normalize(self.model.visual_projection(_marked(states, mask)), dim=-1)

    def text_features(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        """Texts (C, N) that end with the end-of-text token -> (C, E), of length 1, read at that token, wherever what is inserted moves it.

        mask: (C, N), None: all there. Raises UserError where a text with what is inserted has more tokens than positions.
        """
        text = self.model.text_model
        x = text.embeddings.token_embedding(ids)
        ends = (ids == self.end_id).int().argmax(1, keepdim=True)
        mask = common.visible(x, mask).int().scatter(1, ends, READ)
        for depth, layer in enumerate(self.layers["text"]):
            x, mask = self.sequences["text"].before(depth, x, mask)
            if not depth:
                x = x + self._positions(x.shape[1])
            x = layer(x, causal(x, mask))
        return F.normalize(self.model.text_projection(text.final_layer_norm(_marked(x, mask))), dim=-1)

    def _positions(self, length: int) -> Tensor:
        table = self.model.text_model.embeddings.position_embedding.weight
        self.check_length(length, len(table))
        return table[:length]

    @property
    def stem(self) -> nn.Module:
        """The patch map."""
        return self.model.vision_model.embeddings.patch_embedding


BACKBONE = CLIP


def _fresh(size: Preset) -> CLIPModel:
    vocabulary = {"vocab_size": tokenizer().get_vocab_size()} if size.stem else {}
    model = CLIPModel(CLIPConfig(text_config=vocabulary | size.text, vision_config=size.image, projection_dim=size.projection))
    text, image = model.text_model.embeddings, model.vision_model.embeddings
    nn.init.normal_(text.token_embedding.weight, std=size.word_std)
    for table in (text.position_embedding, image.position_embedding):
        nn.init.normal_(table.weight, std=size.position_std)
    if size.stem:
        image.patch_embedding = common.stem((image.config.num_channels, *size.stem, image.embed_dim))
    return model


def _marked(states: Tensor, mask: Tensor) -> Tensor:
    """(B, N, D) -> (B, D), of the token that is read."""
    return states[torch.arange(len(states), device=states.device), (mask == READ).int().argmax(1)]
