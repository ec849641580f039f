"""Scores in the papers' protocols, against cases worked by hand: retrieval with five captions a picture, base and new classes."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from suite.recipe import Recipe
from suite.tasks.base import Split
from suite.tasks.prototypes import BaseToNew
from suite.tasks.retrieval import RANKS, Retrieval, ranks

CAPTIONS, PICTURES = 5, 1_000
"""Flickr30K's test: 1,000 pictures with five captions each, all 5,000 x 1,000 pairs scored (papers.md section 1)."""

RECIPE = Recipe(epochs=1, batch_size=1)
BY_HAND = torch.tensor([[1, 5], [2, 6], [9, 0], [3, 0], [0, 4], [4, 5], [5, 3], [6, 3], [7, 1], [8, 2]]).float()
"""Captions 0 to 4 are of picture 0, captions 5 to 9 of picture 1."""


def split(rows: int, image_of: Tensor, labels: Tensor | None = None) -> Split:
    """Rows of one length, so that evaluation keeps their order, with black pictures."""
    images = torch.zeros(int(image_of.max()) + 1, 3, 1, 1, dtype=torch.uint8)
    names = [str(i) for i in image_of.tolist()]
    return Split(torch.ones(rows, 1, dtype=torch.long), images, image_of[:, None], labels, [""] * rows, names)


def of(pictures: int) -> Tensor:
    """The picture of each caption."""
    return torch.arange(pictures).repeat_interleave(CAPTIONS)


def recalls(matrix: Tensor, **options: object) -> dict[str, float]:
    """What the task makes of the scores of all captions with all pictures, as one fold and one block."""
    task = Retrieval(SimpleNamespace(name="retrieval"), RECIPE, gallery=matrix.shape[1], block=tuple(matrix.shape))
    task._splits["test"] = split(len(matrix), of(matrix.shape[1]))
    return task.score("test", [matrix.flatten()])[0]


def test_the_best_of_five_captions_decides() -> None:
    """Of picture 0 the third caption, at 9, beats 4 to 8, the others do not; the best of picture 1, at 5, meets 5 and 6."""
    image_rank, text_rank = ranks(BY_HAND, of(2))
    assert image_rank.tolist() == [1, 1, 0, 0, 1, 0, 1, 1, 1, 1] and text_rank.tolist() == [0, 2]
    assert recalls(BY_HAND) == pytest.approx({"ir_r1": 30, "ir_r5": 100, "ir_r10": 100, "tr_r1": 50, "tr_r5": 100, "tr_r10": 100,
                                              "recall": 40})  # fmt: skip


def test_ties_count_against_the_model_but_not_among_a_pictures_own_captions() -> None:
    own = torch.eye(2).repeat_interleave(CAPTIONS, 0)
    assert [rank.tolist() for rank in ranks(own, of(2))] == [[0] * 10, [0] * 2]
    own[7, 0] = 1
    image_rank, text_rank = ranks(own, of(2))
    assert image_rank.tolist() == [0] * 7 + [1, 0, 0] and text_rank.tolist() == [1, 0]


def test_recalls_of_the_thousand_pictures() -> None:
    """Caption t has t mod 20 wrong pictures above its own: a twentieth of the captions is found at once, half of them among ten."""
    caption, picture = torch.arange(CAPTIONS * PICTURES), of(PICTURES)
    matrix = -torch.ones(CAPTIONS * PICTURES, PICTURES)
    matrix[caption, picture] = 0
    for k in range(1, 20):
        rows = caption[caption % 20 >= k]
        matrix[rows, (picture[rows] + k) % PICTURES] = 1
    found = recalls(matrix)
    assert [found[f"ir_r{k}"] for k in RANKS] == pytest.approx([5, 25, 50])


def test_recalls_of_the_five_thousand_captions() -> None:
    """Picture p has one caption above the rest of its own, and p mod 20 captions of others above that."""
    picture = torch.arange(PICTURES)
    matrix = -torch.ones(CAPTIONS * PICTURES, PICTURES)
    matrix[CAPTIONS * picture + picture % CAPTIONS, picture] = 0
    for k in range(19):
        columns = picture[picture % 20 > k]
        matrix[(CAPTIONS * (columns + 1) + k) % len(matrix), columns] = 1
    found = recalls(matrix)
    assert [found[f"tr_r{k}"] for k in RANKS] == pytest.approx([5, 25, 50])


@pytest.mark.parametrize("k", RANKS)
def test_recalls_are_those_of_the_k_best(k: int) -> None:
    """The field's definition: is one that is right among the k with the highest scores?"""
    matrix, pictures = torch.randn(60, 12, generator=torch.Generator().manual_seed(0)), of(12)
    seen = [pictures[row] in row_scores.topk(k).indices for row, row_scores in enumerate(matrix)]
    told = [column in pictures[scores.topk(k).indices] for column, scores in enumerate(matrix.T)]
    found = recalls(matrix)
    assert (found[f"ir_r{k}"], found[f"tr_r{k}"]) == pytest.approx((100 * sum(seen) / 60, 100 * sum(told) / 12))


@pytest.mark.parametrize(("base", "new", "mean"), [(82.69, 63.22, 71.66), (80.47, 71.69, 75.83), (69.34, 74.22, 71.70)])
def test_the_harmonic_mean_is_the_published_one(base: float, new: float, mean: float) -> None:
    """CoOp, CoCoOp and zero-shot CLIP over eleven datasets (Zhou et al. 2022, arXiv:2203.05557, table 1): 10,000 rows of each side."""
    task, count = BaseToNew(SimpleNamespace(name="classes", base=(True, True, False, False)), RECIPE), 10_000
    labels = torch.tensor([0, 2]).repeat_interleave(count)
    right = torch.cat([torch.arange(count) < round(100 * accuracy) for accuracy in (base, new)])
    task._splits["test"] = split(2 * count, torch.zeros_like(labels), labels)
    logits = torch.nn.functional.one_hot(torch.where(right, labels, labels + 1), 4).float()
    found = task.score("test", [logits])[0]
    assert (found["base"], found["new"]) == pytest.approx((base, new)) and round(found["h_mean"], 2) == mean
