"""Finding the picture of a caption and the caption of a picture with a cross-encoder (papers.md section 1, Flickr30K)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from suite.core import Backbone, Batch
from suite.data.world_reader import WorldRetrieval
from suite.recipe import Recipe
from suite.tasks.base import FUSION, BaseTask, Split

if TYPE_CHECKING:
    from suite.prefix import Stored

RANKS = (1, 5, 10)


@dataclass(eq=False)
class Retrieval(BaseTask):
    """Rows are captions with their picture. Training sets the true caption against `negatives` captions of other pictures.

    Evaluation takes the pictures in folds of `gallery`, as the 1K protocol of MS-COCO does, and scores every caption of a fold with every
    picture of it, in blocks of `block` = (captions, pictures). The headline is the mean of image retrieval and text retrieval R@1.
    """

    negatives: int = 3
    gallery: int = 60
    block: tuple[int, int] = (16, 20)
    metric: ClassVar[str] = "recall"

    def head(self, backbone: Backbone, readout: str = "task") -> nn.Module:
        """`rank_output`: Linear(D, 1) that starts as the match row of the pre-trained matching head."""
        head, matching = nn.Linear(backbone.width, 1), backbone.heads["itm"]
        with torch.no_grad():
            head.weight.copy_(matching.weight[1:])
            head.bias.copy_(matching.bias[1:])
        return head

    def batches(self, split: str, seed: int, epoch: int = 0, shuffle: bool = False, stored: Stored | None = None) -> Iterator[Batch]:
        """Shuffled: training batches as in `collate`. Otherwise all pairs of each fold, block by block."""
        if shuffle:
            yield from super().batches(split, seed, epoch, True, stored)
            return
        data = stored.split(self, split) if stored else self.split(split)
        for captions, pictures in self._blocks(data):
            rows, pairs = np.repeat(captions, len(pictures)), torch.arange(len(pictures)).repeat(len(captions))
            yield data.batch(rows, pictures, image_index=pairs)

    def collate(self, data: Split, rows: np.ndarray, rng: np.random.Generator) -> Batch:
        """1 + `negatives` captions for each of B pictures, the true one first; labels are (B,) zeros: its place."""
        pictures = data.image_of[:, 0].numpy()
        key = rng.random((len(rows), len(data)))
        key[pictures[rows][:, None] == pictures] = 2
        false = np.argpartition(key, self.negatives - 1, 1)[:, : self.negatives]
        texts = np.concatenate([rows[:, None], false], 1).ravel()
        return data.batch(texts, pictures[rows], image_index=torch.arange(len(rows)).repeat_interleave(1 + self.negatives),
                          labels=torch.zeros(len(rows), dtype=torch.long), ids=torch.from_numpy(rows))

    def loss(self, backbone: Backbone, head: nn.Module, batch: Batch) -> Tensor:
        """Cross-entropy over the captions of each picture, mean over pictures."""
        scores = head(backbone(batch).pooled).view(-1, 1 + self.negatives)
        return nn.functional.cross_entropy(scores, batch.labels)

    @torch.no_grad()
    def predict(self, backbone: Backbone, head: nn.Module, batch: Batch) -> Tensor:
        """(P,) float32 score of each pair, on the CPU. The caller chooses evaluation mode."""
        return head(backbone(batch).pooled).squeeze(1).float().cpu()

    def percent(self, backbone: Backbone, head: nn.Module, batch: Batch) -> float:
        """How often the true caption has the highest score."""
        return 100 * (self.predict(backbone, head, batch).view(-1, 1 + self.negatives).argmax(1) == 0).double().mean().item()

    def score(self, split: str, outputs: list[Tensor]) -> tuple[dict[str, float], list[bool], list[str]]:
        """Recalls in percent from the `predict` of every block; correctness at R@1 of each caption, then of each picture."""
        data = self.split(split)
        matrix = torch.full((len(data), len(data.images)), -torch.inf)
        for (captions, pictures), scores in zip(self._blocks(data), outputs, strict=True):
            matrix[torch.from_numpy(captions)[:, None], torch.from_numpy(pictures)] = scores.view(len(captions), len(pictures))
        picture_of = data.image_of[:, 0]
        image_rank, text_rank = ranks(matrix, picture_of)
        metrics = {f"{way}_r{k}": 100 * (rank < k).double().mean().item()
                   for way, rank in (("ir", image_rank), ("tr", text_rank)) for k in RANKS}
        metrics[self.metric] = (metrics["ir_r1"] + metrics["tr_r1"]) / 2
        names = dict(zip(picture_of.tolist(), data.clusters))
        correct = torch.cat([image_rank, text_rank]) < 1
        return metrics, correct.tolist(), data.clusters + [names[i] for i in range(len(data.images))]

    def floors(self) -> dict[str, float]:
        """Chance (percent): a guess, or a model that does not see the picture, finds one of a fold's pictures."""
        chance = 100 / min(self.gallery, len(self.split("test").images))
        return {"majority": chance, "blind": chance}

    def _blocks(self, data: Split) -> list[tuple[np.ndarray, np.ndarray]]:
        order, high, wide = data.by_length(), *self.block
        picture_of, found = data.image_of[:, 0].numpy()[order], []
        for first in range(0, len(data.images), self.gallery):
            pictures = np.arange(first, min(first + self.gallery, len(data.images)))
            captions = order[np.isin(picture_of, pictures)]
            found += [(captions[i : i + high], pictures[j : j + wide])
                      for i in range(0, len(captions), high) for j in range(0, len(pictures), wide)]
        return found


def ranks(matrix: Tensor, picture_of: Tensor) -> tuple[Tensor, Tensor]:
    """How many wrong ones are not clearly below the right one: of each caption's picture (T,), of each picture's best caption (I,).

    matrix: (T, I) scores; picture_of: (T,). Ties, and scores that are not numbers, count against the model.
    """
    true = picture_of[:, None] == torch.arange(matrix.shape[1])
    own = matrix[true][:, None]
    best = matrix.masked_fill(~true, -torch.inf).amax(0)
    return (~(matrix < own) & ~true).sum(1), (~(matrix < best) & ~true).sum(0)


def _world() -> Retrieval:
    """Two or three objects, all of them named: the best possible recall is 98 %. Captions of one object are true of too many pictures."""
    sizes = {"train": 250, "validation": 60, "test": 120}
    return Retrieval(WorldRetrieval("world-retrieval", sizes, objects=(2, 3)), Recipe(epochs=5, batch_size=12), backbones=FUSION)


TASKS = {"world-retrieval": _world}
