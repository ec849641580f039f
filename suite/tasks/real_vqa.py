"""VQA2.0, GQA and SNLI-VE as the papers train on them (papers.md sections 1 and 4)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from suite.core import Backbone, Batch
from suite.data import gqa, snli_ve, vqa2
from suite.data.answers import soft_score, vqa_accuracy
from suite.recipe import Recipe
from suite.tasks import floors
from suite.tasks.base import FUSION, LANGUAGE, SEARCH_PARTS, classifier
from suite.tasks.real import Lazy, Real
from suite.tasks.vqa import Vqa

READERS = (*LANGUAGE, "llama")
TEST_DEV = "test-dev"
COCO = 40_504
"""Photographs of the validation release."""
FIRST = 4
"""Words of a question that its kind is told by."""


@dataclass(eq=False)
class RealVqa(Real, Vqa):
    """One photograph and one question a row. count: of the classes, which costs know without data."""

    count: int = 0

    def head(self, backbone: Backbone, readout: str = "task") -> nn.Module:
        """See Vqa."""
        return classifier(backbone.width, backbone.head_width, self.count)

    def blank(self, size: tuple[int, int, int]) -> Batch:
        return self.plain(size, labels=torch.zeros(self.recipe.rows, dtype=torch.long))

    def floors(self) -> dict[str, float]:
        """Test accuracy (percent) of the commonest training answer, and of the commonest one to questions that begin alike."""
        if not self._floors:
            self._floors.update(of_openings(self.columns("train"), self.columns("test")))
        return dict(self._floors)


@dataclass
class Answered(Lazy):
    """people: the ten answers to each question as given, none where they are not published. targets: of each question the labels that it
    is trained towards, with their scores. ids: the questions', as the evaluation server knows them."""

    people: list[list[str]] = field(default_factory=list)
    targets: list[dict[int, float]] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)

    def take(self, rows: np.ndarray) -> Answered:
        return replace(super().take(rows), **{name: [getattr(self, name)[row] for row in rows] for name in ("people", "targets", "ids")})


@dataclass(eq=False)
class Vqa2(RealVqa):
    """Binary cross-entropy towards `soft_score`, averaged over all answers and multiplied by their number; the metric is VQA accuracy.

    The answers of test-dev are not published: `test` and `validation` are fixed draws of vqa2.REST photographs each from the validation
    release, the rest of which is trained on (ViLT holds 1,000 back, METER none). Predictions for test-dev are kept for its server.
    A row counts as right where its answer is worth at least a half.
    """

    unscored: ClassVar[tuple[str, ...]] = (TEST_DEV,)

    @cached_property
    def sizes(self) -> dict[str, int]:
        """Rows of each split and of the search parts, counted in the data: photographs have different numbers of questions."""
        found = {name: len(self.columns(name)["id"]) for name in ("train", "validation", "test")}
        reward = found["train"] // 5
        return found | {TEST_DEV: self.reader.sizes["test"]} | dict(zip(SEARCH_PARTS, (found["train"] - reward, reward)))

    def about(self, split: str) -> int:
        """Photographs have five to six questions each on average, and nearly all of train's have an answer of the vocabulary."""
        whole = self.reader.sizes["train"] + self.reader.sizes["validation"]
        held = round(vqa2.REST * self.reader.sizes["validation"] / COCO)
        return {"train": whole - 2 * held, "validation": held, "test": held}[split]

    def columns(self, name: str) -> dict[str, list[Any]]:
        if name == TEST_DEV:
            return super().columns("test")
        later = super().columns("validation")
        held = vqa2.rest_val(later["image_id"], 2 * vqa2.REST)
        test = vqa2.rest_val(held, vqa2.REST)
        wanted = {"train": set(later["image_id"]) - held, "validation": held - test, "test": test}[name]
        found = _rows(later, [image_id in wanted for image_id in later["image_id"]])
        if name != "train":
            return found
        both = {column: cells + found[column] for column, cells in super().columns("train").items()}
        return _rows(both, [any(answer in self.labels_of for answer in given) for given in both["answers"]])

    @cached_property
    def labels_of(self) -> dict[str, int]:
        """Answer -> label."""
        return {answer: label for label, answer in enumerate(self.reader.vocabulary)}

    def seen(self, rows: dict[str, list[Any]]) -> Answered:
        return Answered(**vars(super().seen(rows)), people=rows["answers"], targets=self._targets(rows), ids=rows["id"])

    def _targets(self, rows: dict[str, list[Any]]) -> list[dict[int, float]]:
        votes = (Counter(answer for answer in given if answer in self.labels_of) for given in rows["answers"])
        return [{self.labels_of[answer]: soft_score(count) for answer, count in found.items()} for found in votes]

    def collate(self, data: Answered, rows: np.ndarray, rng: np.random.Generator) -> Batch:
        """labels (B, C): the score of each answer."""
        labels = torch.zeros(len(rows), self.count)
        for label, row in zip(labels, rows):
            for place, score in data.targets[row].items():
                label[place] = score
        index = torch.from_numpy(rows)
        return data.batch(index, data.image_of[index, 0], labels=labels, ids=index)

    def blank(self, size: tuple[int, int, int]) -> Batch:
        return self.plain(size, labels=torch.zeros(self.recipe.rows, self.count))

    def loss(self, backbone: Backbone, head: nn.Module, batch: Batch) -> Tensor:
        """See the class."""
        logits = head(self.features(backbone, batch))
        return self.count * nn.functional.binary_cross_entropy_with_logits(logits.float(), batch.labels)

    def percent(self, backbone: Backbone, head: nn.Module, batch: Batch) -> float:
        """Mean training score of the answers."""
        chosen = self.predict(backbone, head, batch).argmax(1, keepdim=True)
        return 100 * batch.labels.cpu().gather(1, chosen).mean().item()

    def score(self, split: str, outputs: list[Tensor]) -> tuple[dict[str, float], list[bool], list[str]]:
        """See the class; a row whose logits are not finite is worth nothing."""
        data, said = self.split(split), self.answers(split, outputs)
        pairs = zip(said, data.people, strict=True)
        worth = np.array([0.0 if answer is None else vqa_accuracy(answer, given) for answer, given in pairs])
        return {self.metric: 100 * worth.mean()}, (worth >= 0.5).tolist(), data.clusters

    def answers(self, split: str, outputs: list[Tensor]) -> list[str | None]:
        """The answer to each question of a split, in its order; None where logits are not finite."""
        chosen = torch.cat([torch.where(part.isfinite().all(1), part.argmax(1), -1) for part in outputs])
        labels = torch.empty_like(chosen)
        labels[self.split(split).by_length()] = chosen
        return [self.reader.vocabulary[label] if label >= 0 else None for label in labels.tolist()]

    def kept(self, split: str, outputs: list[Tensor]) -> dict[str, np.ndarray]:
        """Of test-dev `question_ids` and `answers`, both (N,), as the server wants them."""
        if split != TEST_DEV:
            return {}
        said = [answer or "" for answer in self.answers(split, outputs)]
        return {"question_ids": np.array([int(one) for one in self.split(split).ids]), "answers": np.array(said, str)}

    def floors(self) -> dict[str, float]:
        """VQA accuracy (percent) of what RealVqa's are of."""
        if not self._floors:
            train, test = self.columns("train"), self.columns("test")
            labels = [max(target, key=target.get) for target in self._targets(train)]
            for name, said in commonest(train["text"], labels, test["text"]).items():
                words = [self.reader.vocabulary[label] for label in said]
                self._floors[name] = 100 * float(np.mean([vqa_accuracy(word, given) for word, given in zip(words, test["answers"])]))
        return dict(self._floors)


def of_openings(train: dict[str, list[Any]], test: dict[str, list[Any]]) -> dict[str, float]:
    """Percent right on test, of what `commonest` says. Both with the columns `text` and `label`."""
    found, labels = commonest(train["text"], train["label"], test["text"]), torch.tensor(test["label"])
    return {name: floors.accuracy(torch.tensor(said), labels) for name, said in found.items()}


def commonest(texts: Sequence[str], labels: Sequence[int], asked: Sequence[str]) -> dict[str, list[int]]:
    """What can be said without the picture: `majority`, the commonest label, and `blind`, the commonest of texts that begin with the same
    FIRST words, or as many of them as any text has (ties: the one that came first)."""
    counts: dict[tuple[str, ...], Counter[int]] = {}
    for text, label in zip(texts, labels, strict=True):
        for opening in _openings(text):
            counts.setdefault(opening, Counter())[label] += 1
    best = {opening: found.most_common(1)[0][0] for opening, found in counts.items()}
    blind = [next(best[opening] for opening in _openings(text) if opening in best) for text in asked]
    return {"majority": [best[()]] * len(asked), "blind": blind}


def _openings(text: str) -> Iterator[tuple[str, ...]]:
    words = tuple(text.lower().split()[:FIRST])
    return (words[:length] for length in range(len(words), -1, -1))


def _rows(columns: dict[str, list[Any]], wanted: Sequence[bool]) -> dict[str, list[Any]]:
    return {name: [cell for cell, keep in zip(cells, wanted, strict=True) if keep] for name, cells in columns.items()}


def _vqa2() -> Vqa2:
    return Vqa2(vqa2.Vqa2("vqa2", dict(vqa2.SIZES)), Recipe(epochs=10, batch_size=256), dataset="VQA2.0", count=vqa2.VOCABULARY,
                backbones=(*FUSION, *READERS))  # fmt: skip


def _gqa() -> RealVqa:
    """Every answer of the three splits is a class; what only the test split has counts, as wrong (see suite/data/gqa.py)."""
    return RealVqa(gqa.Gqa("gqa", dict(gqa.SIZES)), Recipe(epochs=10, batch_size=256), dataset="GQA", count=gqa.ANSWERS, backbones=READERS)


def _snli_ve() -> RealVqa:
    reader = snli_ve.SnliVe("snli-ve", dict(snli_ve.SIZES))
    return RealVqa(reader, Recipe(epochs=5, batch_size=256), dataset="SNLI-VE", count=len(snli_ve.LABELS), backbones=READERS)


TASKS = {"vqa2": _vqa2, "gqa": _gqa, "snli-ve": _snli_ve}
