"""ScienceQA as DAS and DVP train on it (papers.md sections 3.4 and 4): a question, a text to read or none, a picture or none, and options.

The papers' language models write the letter of an option behind "The answer is". Here the letters are ranked by the score that the model's
own head gives each of them as the next token, and that head's rows for them are trained.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from suite.core import Backbone, Batch
from suite.data import science_qa, seen
from suite.data.published import damage_told
from suite.errors import UserError
from suite.recipe import Recipe
from suite.tasks import floors
from suite.tasks.classify import Classification
from suite.tasks.real import Lazy, Real
from suite.tasks.science import NONE, Science

LETTERS = "ABCDE"
"""Of the options, of which a question has up to five."""

CONTEXTS = {"text": ("context_text",), "image": ("context_image",), "both": ("context_text", "context_image"), "none": ("context_none",)}
SUBJECTS = {f"{name} science": f"subject_{name}" for name in ("natural", "social", "language")}
GRADES = {f"grade{year}": "grade_1_6" if year <= 6 else "grade_7_12" for year in range(1, 13)}
"""What is published of a question -> the metrics that it counts in, as in tools/evaluate_acc.py of github.com/lupantech/ScienceQA."""

METRICS = tuple(dict.fromkeys([*(name for names in CONTEXTS.values() for name in names), *SUBJECTS.values(), *GRADES.values()]))


@dataclass
class Asked(Lazy):
    """groups: the METRICS that each row counts in. offered: (N, 5) bool, the places that have an option."""

    groups: list[tuple[str, ...]] = field(default_factory=list)
    offered: Tensor | None = None

    def take(self, rows: np.ndarray) -> Asked:
        return replace(super().take(rows), groups=[self.groups[row] for row in rows], offered=self.offered[rows])


@dataclass(eq=False)
class RealScience(Real, Science):
    """Linear(D, 5), a score for each of LETTERS, cross-entropy over the options that there are; the metric is accuracy, in percent.

    Further metrics are accuracies by context, subject and grade; a question with both a text and a picture counts in both contexts.
    """

    reader: science_qa.ScienceQa

    def seen(self, rows: dict[str, list[Any]]) -> Asked:
        """See Real. Raises UserError for a subject, a grade or a number of options that is none of the published ones."""
        with damage_told(f"{self.name}: a subject or grade"):
            groups = [(*CONTEXTS[kind], SUBJECTS[subject], GRADES[grade])
                      for kind, subject, grade in zip(rows["kind"], rows["subject"], rows["grade"], strict=True)]  # fmt: skip
        for key, options in zip(rows["id"], rows["options"], strict=True):
            if not 2 <= len(options) <= len(LETTERS):
                raise UserError(f"{self.name}: question {key} has {len(options)} options, not 2 to {len(LETTERS)}")
        offered = torch.arange(len(LETTERS)) < torch.tensor([len(options) for options in rows["options"]])[:, None]
        return Asked(**vars(super().seen(rows)), groups=groups, offered=offered)

    def told(self, rows: dict[str, list[Any]]) -> list[str]:
        """The prompts. One that is too long for the view loses the end of its context; see `_fitted`."""
        parts = list(zip(rows["text"], rows["hint"], rows["options"], strict=True))
        texts = [prompt(*part) for part in parts]
        long = [row for row, count in enumerate(self._counts(texts)) if count > self.view.length]
        for row in long:
            texts[row] = self._fitted(rows["id"][row], *parts[row])
        return texts

    def _fitted(self, key: str, question: str, context: str, options: Sequence[str]) -> str:
        """The prompt with as many words of the context as there is room for. Raises UserError where there is none without any."""
        ends = [0, *(word.end() for word in re.finditer(r"\S+", context))]
        texts = [prompt(question, context[:end], options) for end in ends]
        kept = bisect_right(texts, self.view.length, key=lambda text: self._counts([text])[0])
        if not kept:
            raise UserError(f"{self.name}: question {key} is too long for {self.view.length} tokens, even without its context")
        return texts[kept - 1]

    def _counts(self, texts: list[str]) -> list[int]:
        """Tokens of each text, with what the view puts behind it."""
        tokenizer = seen.tokenizer(self.view.tokenizer, self.view.words)
        return [len(ids) for ids in tokenizer([text + self.view.ending for text in texts], verbose=False)["input_ids"]]

    def head(self, backbone: Backbone, readout: str = "task") -> nn.Module:
        """Starts as the letters' rows of the language model's own head; for costs, which know no tokenizer, as its first rows."""
        head = nn.Linear(backbone.width, len(LETTERS))
        rows = list(range(len(LETTERS))) if self.view is None else self._letters()
        with torch.no_grad():
            head.weight.copy_(backbone.heads["lm"].weight[rows])
            head.bias.zero_()
        return head

    def _letters(self) -> list[int]:
        """The token of each letter behind a prompt."""
        tokenizer = seen.tokenizer(self.view.tokenizer, self.view.words)
        return [ids[-1] for ids in tokenizer([f"The answer is {letter}" for letter in LETTERS], add_special_tokens=False)["input_ids"]]

    def logits(self, backbone: Backbone, head: nn.Module, batch: Batch) -> Tensor:
        """(B, 5) float32 scores of the options, NONE where there are fewer; without labels, as costs are measured, of all letters."""
        scores = head(self.features(backbone, batch)).float()  # fp16 has no room for NONE
        return scores if batch.labels is None else scores.masked_fill(batch.labels[:, 1:] == 0, NONE)

    def score(self, split: str, outputs: list[Tensor]) -> tuple[dict[str, float], list[bool], list[str]]:
        """See the class and Classification."""
        metrics, correct, clusters = Classification.score(self, split, outputs)
        found: dict[str, list[bool]] = {}
        for right, groups in zip(correct, self.split(split).groups, strict=True):
            for name in groups:
                found.setdefault(name, []).append(right)
        return metrics | {name: 100 * sum(found[name]) / len(found[name]) for name in METRICS if name in found}, correct, clusters

    def floors(self) -> dict[str, float]:
        """Test accuracy (percent) of what `uninformed` says."""
        if not self._floors:
            test = self.columns("test")
            said = uninformed(self.columns("train"), test)
            self._floors.update({name: floors.accuracy(torch.tensor(chosen), torch.tensor(test["label"])) for name, chosen in said.items()})
        return dict(self._floors)

    def collate(self, data: Asked, rows: np.ndarray, rng: np.random.Generator) -> Batch:
        """labels (B, 6): the index of the right option, then 1 for each place that has an option, else 0."""
        index = torch.from_numpy(rows)
        places = data.image_of[index, 0]
        there = torch.tensor([data.images.paths[place] is not None for place in places.tolist()])
        pictures, shown = places[there].unique(return_inverse=True)
        image_index = torch.full_like(places, -1).masked_scatter(there, shown)
        labels = torch.cat([data.labels[index, None], data.offered[index].long()], 1)
        return data.batch(index, pictures, image_index=image_index, labels=labels, ids=index)

    def blank(self, size: tuple[int, int, int]) -> Batch:
        """See Real: five options each, the first one right."""
        labels = torch.ones(self.recipe.rows, 1 + len(LETTERS), dtype=torch.long)
        labels[:, 0] = 0
        return self.plain(size, labels=labels)


def prompt(question: str, context: str, options: Sequence[str]) -> str:
    """In the order of LaVIN's and of ScienceQA's own (QCM, github.com/lupantech/ScienceQA), to be followed by a letter."""
    listed = " ".join(f"({letter}) {option}" for letter, option in zip(LETTERS, options))
    return f"Question: {question}\nContext: {context or 'N/A'}\nOptions: {listed}\nAnswer: The answer is"


def uninformed(train: dict[str, list[Any]], test: dict[str, list[Any]]) -> dict[str, list[int]]:
    """What can be chosen in each row without picture and context. majority: of the places that have an option, the one that is right most
    often in training. blind: the option that was right most often in training under the very same question, and of several the one in the
    place that was right most often where there were as many options (ties: the first)."""
    often, right, places = Counter(train["label"]), Counter[tuple[str, str]](), Counter[tuple[int, int]]()
    for question, options, label in zip(train["text"], train["options"], train["label"], strict=True):
        right[question, options[label]] += 1
        places[len(options), label] += 1

    def best(question: str, options: list[str]) -> int:
        return max(range(len(options)), key=lambda place: (right[question, options[place]], places[len(options), place]))

    majority = [max(range(len(options)), key=often.__getitem__) for options in test["options"]]
    return {"majority": majority, "blind": [best(*row) for row in zip(test["text"], test["options"], strict=True)]}


def _science_qa() -> RealScience:
    reader = science_qa.ScienceQa("scienceqa", dict(science_qa.SIZES))
    return RealScience(reader, Recipe(epochs=20, batch_size=32), dataset="ScienceQA", evaluation_batch=32, backbones=("llama", "lavin"))


TASKS = {"scienceqa": _science_qa}
