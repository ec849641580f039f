"""What the language models share: the vision tower that only visual prompts see, presets, weights; papers.md section 4."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Self

import torch
from torch import Tensor, nn

from suite.backbones import common, shipped
from suite.core import Batch, Features, Kind, Prefix, Site, freeze
from suite.data.text import CLS, PAD, SEP, tokenizer
from suite.errors import UserError
from suite.layers import Sequence


@dataclass(frozen=True)
class Preset:
    """A size. config: for the library's configuration. checkpoint: hub repository ("": shipped, with the shipped tokenizer's vocabulary).

    length: tokens of the usual text. marks: ids of tokens at the ends of a text that are no words. word_std: of freshly initialised word
    embeddings (None: the library's). more_words: vocabulary beyond the tokenizer's. papers: see `papers_input`. vision: preset of the
    CLIP whose tower it has ("": of the same name).
    """

    config: dict[str, Any]
    length: int
    marks: tuple[int, ...] = (CLS, SEP)
    checkpoint: str = ""
    word_std: float | None = None
    more_words: int = 0
    papers: tuple[int, int, int] | None = None
    vision: str = ""

    def sizes(self) -> dict[str, Any]:
        """`config` with the vocabulary."""
        return self.config if self.checkpoint else {"vocab_size": tokenizer().get_vocab_size() + self.more_words} | self.config


class Pictures(NamedTuple):
    """What visual prompts are made of: states (B, M, V) of each text's picture; there: (B,) bool, has it one? (None: all have)."""

    states: Tensor
    there: Tensor | None


class Tower(nn.Module):
    """The image tower of a CLIP backbone; that one's text tower is used by it, but no part of it."""

    def __init__(self, clip: Any):
        super().__init__()
        self.model, self.vision_width, self._clip = clip.model.vision_model, clip.vision_width, (clip,)

    def image_states(self, pixels: Tensor) -> Tensor:
        """(I, 3, H, W) -> (I, M, V): class token and patches after the last block, before the last norm (papers.md section 4.1)."""
        return self._clip[0].image_states(pixels)


def tower(preset: str, pretrained: bool, device: str) -> nn.Module:
    """The vision tower that belongs to a language model of this preset. Raises UserError where CLIP's weights cannot be had."""
    from suite.backbones.clip import CLIP

    try:
        return Tower(CLIP.build(preset, pretrained, device))
    except UserError as error:
        raise UserError(f"language models see through CLIP's image tower: {error}") from None


class LanguageModel(common.Pretrained):
    """A language model that sees pictures through the visual taps of `sequence` alone; without such a tap its vision tower does not run.

    vision: a module with `image_states` and `vision_width`, kept frozen, or None: for texts alone. It is no part of `model`.
    A text without a picture gets its prompts too, hidden from it, so that a text's result does not depend on its batch.
    Whatever is put into a sequence stands in front of the text: the read-out is found from the end.
    """

    blind: ClassVar[bool] = True
    sizes: ClassVar[dict[str, Preset]]
    sequence: Sequence

    def __init__(self, model: nn.Module, preset: str, vision: nn.Module | None = None):
        super().__init__(model, preset)
        self.vision = vision
        if vision is not None:
            freeze(vision)

    @classmethod
    def build(cls, preset: str, pretrained: bool = True, device: str = "cpu", vision: bool = True) -> Self:
        """See Backbone. `mini` is shipped, `paper` comes from the hub or PETLBENCH_MIRROR. vision: with the tower?

        Raises UserError for an unknown preset and for weights that are missing, damaged or of another model.
        """
        size = cls.size_of(preset)
        with torch.device(device):
            backbone = cls._from_hub(preset, size) if pretrained and size.checkpoint else cls._fresh(preset, size)
            if pretrained and not size.checkpoint:
                backbone.load_pretrained(shipped.load(shipped.path_of(f"{cls.name}-{preset}")))
            if vision:
                backbone.vision = tower(size.vision or preset, pretrained, device)
                freeze(backbone.vision)
        return backbone.to(device)

    @classmethod
    def _fresh(cls, preset: str, size: Preset) -> Self:
        """With random weights, without vision."""
        raise NotImplementedError

    @classmethod
    def _from_hub(cls, preset: str, size: Preset) -> Self:
        """With the checkpoint's weights, without vision."""
        raise NotImplementedError

    @classmethod
    def checkpoints(cls) -> tuple[str, ...]:
        """With that of the tower."""
        from suite.backbones.clip import CLIP

        return *super().checkpoints(), *CLIP.checkpoints()

    def pretrained_state(self) -> dict[str, Tensor]:
        """What a weight file holds: `model.*` and `heads.*`, what is tied once, without the tower."""
        return {name: tensor for name, tensor in self.named_parameters() if name.partition(".")[0] in ("model", "heads")}

    @property
    def width(self) -> int:
        return self.model.config.hidden_size

    @property
    def head_width(self) -> int:
        return 2 * self.width

    @property
    def vision_width(self) -> int:
        """V of what visual taps are given."""
        return self.vision.vision_width

    def papers_input(self) -> tuple[int, int, int] | None:
        """papers.md section 4.1: pictures of 224 x 224, texts of 16 tokens (LLaMA's are as long as their batch: 16 there too)."""
        return self.sizes[self.preset].papers

    def always_trained(self) -> list[nn.Parameter]:
        """Nothing: the papers' language models have neither pooler nor modality of their own (papers.md section 4.3)."""
        return []

    def prefix(self) -> Prefix | None:
        """The vision tower."""
        return None if self.vision is None else Prefix(list(self.vision.parameters()), images=self.vision.image_states)

    def pictures(self, batch: Batch) -> Pictures | None:
        """The pictures of a batch, (B, M, V); None where no visual tap acts."""
        if not self.sequence.sees:
            return None
        count, index = len(batch.input_ids), batch.image_index
        if all(found is None or not len(found) for found in (batch.image_tokens, batch.pixels)):
            like = next(self.model.parameters())
            return Pictures(like.new_zeros(count, 1, self.vision_width), like.new_zeros(count, dtype=torch.bool))
        states = self.vision.image_states(batch.pixels) if batch.image_tokens is None else batch.image_tokens
        return Pictures(states, None) if index is None else Pictures(states.index_select(0, index.clamp(min=0)), index >= 0)

    def enter(self, layer: int, x: Tensor, mask: Tensor | None, query: Callable[[Tensor], Tensor], pictures: Pictures | None
              ) -> tuple[Tensor, Tensor | None]:  # fmt: skip
        """x (B, N, D) and its mask (B, N) as they enter this layer, with what is put in there. query: x -> (B, D)."""
        x, mask = self.sequence.before(layer, x, mask)
        prompt = None
        if pictures is not None:
            prompt, x = self.sequence.prompts(layer, x, query(x), pictures.states)
        if prompt is None:
            return x, mask
        if mask is not None or pictures.there is not None:
            seen = prompt.new_ones(len(x), dtype=torch.bool) if pictures.there is None else pictures.there
            mask = torch.cat([seen[:, None].expand(-1, prompt.shape[1]), common.visible(x, mask)], 1)
        return torch.cat([prompt, x], 1), mask

    def check(self, batch: Batch) -> None:
        """Raises UserError where a batch's texts (B, N) are longer than what the model has positions for, or one of them has no word."""
        ids, mask, size = batch.input_ids, batch.text_mask, self.sizes.get(self.preset)
        self.check_length(ids.shape[1], getattr(self.model.config, "max_position_embeddings", ids.shape[1]))
        if size is None or ids.is_meta:
            return
        words = torch.isin(ids, ids.new_tensor(size.marks), invert=True) & (ids != PAD if mask is None else mask.bool())
        empty = (~words.any(1)).nonzero().flatten().tolist()
        if empty:
            raise UserError(f"text {empty[0]} of a batch for {self.name}/{self.preset} is empty: no word between its marks")

    def _sites(self) -> list[Site]:
        """All sites, in the order of the forward."""
        raise NotImplementedError

    def sites(self, *kinds: Kind) -> list[Site]:
        return [site for site in self._sites() if site.kind in kinds]

    def forward(self, batch: Batch) -> Features:
        raise NotImplementedError
