"""What can be scored without looking at the picture: the commonest answer, and models of the text."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

Labelled = tuple[Sequence[str], Tensor]
"""(N texts, (N,) int64 labels)."""
Offering = tuple[Sequence[str], Tensor, Tensor]
"""(N texts, (N,) int64 right words, (N, W) bool: is the word among the row's options?)."""

DECAYS = (1e-3, 3e-3, 1e-2)
RARE = 3
"""Words and pairs in fewer training texts than this are left out."""


def of_text(train: Labelled, validation: Labelled, test: Labelled) -> dict[str, float]:
    """Percent right on test: `majority`, and `blind` = the text model that does best on validation (ties: the first).

    The models, fitted on the whole of train: the commonest answer to the very same text, else the commonest of all;
    and multinomial logistic regression on which words and pairs of neighbouring words occur, with each of DECAYS.
    """
    common, texts, seen = train[1].mode().values, [*validation[0], *test[0]], len(validation[0])
    found = [same_text(train, texts), *(word_regression(train, texts, decay) for decay in DECAYS)]
    best = max(found, key=lambda predicted: accuracy(predicted[:seen], validation[1]))
    return {"majority": accuracy(common, test[1]), "blind": accuracy(best[seen:], test[1])}


def of_options(train: Offering, validation: Offering, test: Offering) -> dict[str, float]:
    """As `of_text` where each row offers words of its own: the offered word that is right most often, and `word_regression` among the
    offered words. Texts are told without their options."""
    labelled, texts, seen = train[:2], [*validation[0], *test[0]], len(validation[0])
    offered, often = torch.cat([validation[2], test[2]]), train[1].bincount(minlength=train[2].shape[1])
    found = [word_regression(labelled, texts, decay, train[2], offered) for decay in DECAYS]
    best = max(found, key=lambda predicted: accuracy(predicted[:seen], validation[1]))
    common = torch.where(test[2], often, -1).argmax(1)
    return {"majority": accuracy(common, test[1]), "blind": accuracy(best[seen:], test[1])}


def accuracy(predicted: Tensor, labels: Tensor) -> float:
    """Percent."""
    return 100 * (predicted == labels).double().mean().item()


def same_text(train: Labelled, texts: Sequence[str]) -> Tensor:
    """(N,) the commonest training label of the same text, or of all (ties: the smaller label)."""
    by_text: dict[str, Counter[int]] = {}
    for text, label in zip(train[0], train[1].tolist()):
        by_text.setdefault(text, Counter())[label] += 1
    best = {text: min(counts, key=lambda label: (-counts[label], label)) for text, counts in by_text.items()}
    common = int(train[1].mode().values)
    return torch.tensor([best.get(text, common) for text in texts])


def word_regression(train: Labelled, texts: Sequence[str], decay: float, trained: Tensor | None = None, offered: Tensor | None = None
                    ) -> Tensor:  # fmt: skip
    """(N,) the class that logistic regression (L2 times `decay`, fitted by L-BFGS from zero) gives each text.

    trained, offered: (N, C) bool, the classes to choose from for each row of train and of the texts (None: all).
    """
    counts = Counter(gram for text in train[0] for gram in _grams(text))
    vocabulary = {gram: i for i, gram in enumerate(sorted(gram for gram, n in counts.items() if n >= RARE))}
    inputs, labels = _bags(train[0], vocabulary), train[1]
    classes = int(labels.max()) + 1 if trained is None else trained.shape[1]
    weight = torch.zeros(len(vocabulary) + 1, classes, requires_grad=True)
    optimiser = torch.optim.LBFGS([weight], max_iter=40, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = torch.nn.functional.cross_entropy(_among(inputs @ weight, trained), labels) + decay * weight.square().sum()
        loss.backward()
        return loss

    optimiser.step(closure)
    return _among(_bags(texts, vocabulary) @ weight.detach(), offered).argmax(1)


def _among(scores: Tensor, offered: Tensor | None) -> Tensor:
    return scores if offered is None else scores.masked_fill(~offered, -torch.inf)


def _grams(text: str) -> set[str]:
    words = re.findall(r"\w+", text.lower())
    return {*words, *(f"{a} {b}" for a, b in zip(words, words[1:]))}


def _bags(texts: Sequence[str], vocabulary: dict[str, int]) -> Tensor:
    """(N, V + 1): 1 where the text has the word or pair; the last column is 1."""
    bags = torch.zeros(len(texts), len(vocabulary) + 1)
    bags[:, -1] = 1
    for row, text in enumerate(texts):
        bags[row, [vocabulary[g] for g in _grams(text) if g in vocabulary]] = 1
    return bags
