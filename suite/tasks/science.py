"""Multiple choice with a picture, with a text to read, or with neither (ScienceQA; papers.md sections 3.4 and 4).

The options are ranked by the score of their word, where the papers have the language model write the letter of one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from suite.core import Backbone, Batch
from suite.data.text import tokenize, tokenizer
from suite.data.world_science import BLANK, WorldScience
from suite.data.world_science_text import PLACES, WORDS
from suite.recipe import Recipe
from suite.tasks import floors
from suite.tasks.base import SEARCH_PARTS, Split
from suite.tasks.kinds import ByKind

LONGEST = 40
"""Tokens of a text with its options."""

NONE = -1e9
"""Score of an option that is not offered."""


@dataclass
class Offered(Split):
    """options: (N, 4) int64, indices into WORDS, -1 where there are fewer."""

    options: Tensor | None = None

    def take(self, rows: np.ndarray) -> Offered:
        return Offered(**vars(super().take(rows)), options=self.options[rows])


@dataclass(eq=False)
class Science(ByKind):
    """A question with its options a row. Rows without a picture share one blank picture, and their `image_index` is -1."""

    reader: WorldScience
    of: ClassVar[str] = "context"

    def split(self, name: str) -> Split:
        """See BaseTask; texts of up to LONGEST tokens."""
        if name not in self._splits and name not in SEARCH_PARTS:
            data, offered = super().split(name), self.reader.split(name)["options"][:]
            options = torch.tensor([[WORDS.index(word) for word in words] + [-1] * (len(PLACES) - len(words)) for words in offered])
            tokens = torch.from_numpy(tokenize(data.texts, limit=LONGEST)[0])
            self._splits[name] = Offered(**vars(replace(one_blank(data), tokens=tokens)), options=options)
        return super().split(name)

    def head(self, backbone: Backbone, readout: str = "task") -> nn.Module:
        """Linear(D, words), a score for each of WORDS; starts as these words' rows of the language model's own head."""
        head = nn.Linear(backbone.width, len(WORDS))
        rows = [tokenizer().token_to_id(word) for word in WORDS]
        with torch.no_grad():
            head.weight.copy_(backbone.heads["lm"].weight[rows])
            head.bias.zero_()
        return head

    def features(self, backbone: Backbone, batch: Batch) -> Tensor:
        """(B, D)."""
        return backbone(batch).pooled

    def labels(self, batch: Batch) -> Tensor:
        return batch.labels[:, 0]

    def logits(self, backbone: Backbone, head: nn.Module, batch: Batch) -> Tensor:
        """(B, 4) scores of the options; without labels, as costs are measured, (B, words) of them all."""
        scores = head(self.features(backbone, batch))
        if batch.labels is None:
            return scores
        options = batch.labels[:, 1:]
        return scores.gather(1, options.clamp(min=0)).masked_fill(options < 0, NONE)

    def loss(self, backbone: Backbone, head: nn.Module, batch: Batch) -> Tensor:
        """Cross-entropy over the options, mean over the batch."""
        return nn.functional.cross_entropy(self.logits(backbone, head, batch), self.labels(batch))

    @torch.no_grad()
    def predict(self, backbone: Backbone, head: nn.Module, batch: Batch) -> Tensor:
        """(B, 4) float32 scores on the CPU. The caller chooses evaluation mode."""
        return self.logits(backbone, head, batch).float().cpu()

    def floors(self) -> dict[str, float]:
        """Test accuracy (percent) of the offered word that is right most often, and of text and options alone (suite/tasks/floors.py)."""
        if not self._floors:
            self._floors.update(floors.of_options(*(_offering(self.split(name)) for name in ("train", "validation", "test"))))
        return dict(self._floors)

    def collate(self, data: Offered, rows: np.ndarray, rng: np.random.Generator) -> Batch:
        """labels (B, 5): the index of the right option, then the options."""
        index = torch.from_numpy(rows)
        pictures, shown = data.image_of[index, 0].unique(return_inverse=True)
        blank = (data.images[pictures] == BLANK).flatten(1).all(1)
        labels = torch.cat([data.labels[index, None], data.options[index]], 1)
        return data.batch(index, pictures, image_index=shown.masked_fill(blank[shown], -1), labels=labels, ids=index)


def one_blank(data: Split) -> Split:
    """The split with one picture for all rows that have none."""
    shown = (data.images != BLANK).flatten(1).any(1)
    blank = torch.full_like(data.images[:1], BLANK)
    place = torch.where(shown, shown.cumsum(0), 0)
    return replace(data, images=torch.cat([blank, data.images[shown]]), image_of=place[data.image_of])


def _offering(data: Offered) -> floors.Offering:
    offered = torch.zeros(len(data), len(WORDS) + 1, dtype=torch.bool).scatter(1, data.options % (len(WORDS) + 1), True)[:, :-1]
    questions = [text.rpartition(":")[0] for text in data.texts]
    return questions, data.options.gather(1, data.labels[:, None])[:, 0], offered


def _world() -> Science:
    sizes = {"train": 1200, "validation": 600, "test": 1200}
    return Science(WorldScience("world-science", sizes), Recipe(epochs=5, batch_size=32), backbones=("llama", "lavin"))


TASKS = {"world-science": _world}
