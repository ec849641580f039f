"""LLaMA in the form of LaVIN (Luo et al. 2023), which sees pictures as tokens in front of the text; papers.md section 3.4.

A sequence is [modality, image tokens, text]. Image tokens are class tokens of the frozen CLIP tower at several depths, through a map of two
layers that every method trains, as it does the modality's two embeddings. Official order and sizes. `tower_sites` are where LaVIN itself
has adapters in the tower, which then is no longer computed once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPModel, LlamaModel

from suite.backbones import llama
from suite.backbones.clip import CLIP
from suite.backbones.hub import from_hub
from suite.backbones.language import Preset
from suite.backbones.llama import LLaMA
from suite.core import Batch, Features, Prefix, Site, freeze
from suite.errors import UserError
from suite.layers import Sequence

LARGE = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16, "patch_size": 14}


@dataclass(frozen=True)
class Size(Preset):
    """images: tokens of a picture. visual: width V of the tower. inner: of the map. tower: hub repository ("": the CLIP of this preset)."""

    images: int = 0
    visual: int = 0
    inner: int = 0
    tower: str = ""


PRESETS = {
    "mini": Size(**vars(llama.PRESETS["mini"]), images=4, visual=96, inner=48),
    "paper": Size(**vars(llama.PRESETS["paper"]), images=6, visual=1024, inner=128, tower="openai/clip-vit-large-patch14"),
}


class ClassTokens(nn.Module):
    """The image tower of a CLIP backbone, read at `count` depths, evenly apart, the last one behind its last layer."""

    def __init__(self, clip: CLIP, count: int):
        super().__init__()
        self.model, self.vision_width, self._clip = clip.model.vision_model, clip.vision_width, (clip,)
        self.step = len(clip.layers["image"]) // count

    def sites(self) -> list[Site]:
        """Its self-attentions."""
        return [site for site in self._clip[0].sites("self") if site.stream == "image"]

    def image_states(self, pixels: Tensor) -> Tensor:
        """(I, 3, H, W) -> (I, T, V)."""
        (clip,), found = self._clip, []
        x = clip.image_tokens(pixels)
        for layer in clip.layers["image"]:
            x = layer(x)
            found.append(x[:, 0])
        return torch.stack(found[self.step - 1 :: self.step], 1)


class LaVIN(LLaMA):
    """Sites and head as of LLaMA, without visual prompts.

    modality: Embedding(2, D), row 1 where there is a picture. projection: V -> D. A text without a picture does not see image tokens.
    """

    name: ClassVar[str] = "lavin"
    blind: ClassVar[bool] = False
    sizes: ClassVar[dict[str, Size]] = PRESETS
    modality_token: ClassVar[bool] = True
    """Token 0 says whether there is a picture."""
    counts_always_trained: ClassVar[bool] = True
    """Published sizes of its methods hold what every one of them trains (papers.md section 6)."""

    def __init__(self, model: LlamaModel, preset: str, vision: nn.Module | None = None, length: int = 0):
        super().__init__(model, preset, vision, length)
        size, width = self.sizes[preset], model.config.hidden_size
        self.sequence = Sequence(len(self.layers))
        self.modality = nn.Embedding(2, width)
        self.projection = nn.Sequential(nn.Linear(size.visual, size.inner), nn.SiLU(), nn.Linear(size.inner, width))

    @classmethod
    def build(cls, preset: str, pretrained: bool = True, device: str = "cpu", vision: bool = True) -> Self:
        """See LanguageModel."""
        backbone = super().build(preset, pretrained, device, vision=False)
        return backbone._see(pretrained, device) if vision else backbone

    @classmethod
    def begin(cls, preset: str) -> Self:
        """What its own pre-training begins with: LLaMA's weights and CLIP's tower, map and modality at random.

        Raises UserError where the weights of either cannot be had.
        """
        try:
            language_model = LLaMA.build(preset, vision=False)
        except UserError as error:
            raise UserError(f"{cls.name} is pre-trained on top of {LLaMA.name}: {error}") from None
        backbone = cls.build(preset, pretrained=False, vision=False)
        backbone.load_pretrained(backbone.pretrained_state() | language_model.pretrained_state())
        return backbone._see(True, "cpu")

    def _see(self, pretrained: bool, device: str) -> Self:
        with torch.device(device):
            self.vision = ClassTokens(_clip(self.preset, pretrained, device), self.sizes[self.preset].images)
        freeze(self.vision)
        return self.to(device)

    @classmethod
    def checkpoints(cls) -> tuple[str, ...]:
        """With that of the tower."""
        size = cls.sizes["paper"]
        return size.checkpoint, size.tower

    def pretrained_state(self) -> dict[str, Tensor]:
        """What a weight file holds: LLaMA's, `modality.*` and `projection.*`."""
        own = {name: tensor for name, tensor in self.named_parameters() if name.partition(".")[0] in ("modality", "projection")}
        return super().pretrained_state() | own

    def always_trained(self) -> list[nn.Parameter]:
        """What LaVIN trains beside its adapters."""
        return [*self.modality.parameters(), *self.projection.parameters()]

    def prefix(self) -> Prefix | None:
        """The vision tower, unless a method acts in it."""
        return None if any(name.startswith("tower/") for name in self.attached) else super().prefix()

    def tower_sites(self) -> list[Site]:
        """The self-attentions of the image tower, whose token 0 is the class token. Not among `sites`: other methods leave it alone."""
        return [] if self.vision is None else [replace(site, name=f"tower.{site.name}", backbone=self) for site in self.vision.sites()]

    def _sites(self) -> list[Site]:
        length = self.length + 1 + self.sizes[self.preset].images
        return self.stack("fused", self.sequence, self.layers, "layers", self.width, "before", length)

    def forward(self, batch: Batch) -> Features:
        """tokens: (B, P + 1 + T + N, D); pooled: at the end of the text."""
        self.check(batch)
        text = self.embed(batch.input_ids)
        front, seen = self.front(batch)
        mask = torch.cat([seen, batch.text_mask.bool()], 1)
        return self.encode(torch.cat([front, text], 1), mask, self.end(batch.input_ids, batch.text_mask) + front.shape[1])

    def front(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Modality and image tokens (B, 1 + T, D), and which of them are seen (B, 1 + T)."""
        images, there = self.image_tokens(batch)
        modality = self.modality(there.long())
        seen = torch.cat([torch.ones_like(there)[:, None], there[:, None].expand(-1, images.shape[1])], 1)
        return torch.cat([modality[:, None], images], 1), seen

    def image_tokens(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """(B, T, D) for each text, and (B,) whether it has a picture; zeros where the batch has none, so that positions stay."""
        count, index = len(batch.input_ids), batch.image_index
        if batch.image_tokens is None and batch.pixels is None:
            like = self.modality.weight
            return like.new_zeros(count, self.sizes[self.preset].images, self.width), like.new_zeros(count, dtype=torch.bool)
        states = self.vision.image_states(batch.pixels) if batch.image_tokens is None else batch.image_tokens
        images = self.projection(states)
        if index is None:
            return images, images.new_ones(count, dtype=torch.bool)
        return images.index_select(0, index.clamp(min=0)), index >= 0


BACKBONE = LaVIN


def _clip(preset: str, pretrained: bool, device: str) -> CLIP:
    name = PRESETS[preset].tower
    if not name:
        return CLIP.build(preset, pretrained, device)
    config: dict[str, Any] = {"vision_config": LARGE, "projection_dim": 768}
    return CLIP(from_hub(CLIPModel, name) if pretrained else CLIPModel(CLIPConfig(**config)), preset)
