"""GQA (Hudson and Manning, CVPR 2019), balanced questions 1.2: compositional questions about photographs, with one answer each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

from suite.data.published import Published, damage_told
from suite.errors import UserError

SIZES = {"train": 943_000, "validation": 132_062, "test": 12_578}
PARTS = {"train": "train", "validation": "val", "test": "testdev"}
"""Split -> what the release calls it. The answers of its own test split are not published."""

ANSWERS = 1_843
"""1,842 of train and val, and one more of testdev: as many as in the list that OpenVQA made of these files, which DVP reads."""


class Question(NamedTuple):
    text: str
    image_id: str
    answer: str


@dataclass(eq=False)
class Gqa(Published):
    """Every question is a row, and every answer of the three splits a class: none is dropped for want of one, as DVP's code would do.

    The answer that only the test split has can be learned from no row: its questions count, as wrong. answers: how many there must be.
    """

    answers: int = ANSWERS
    version: ClassVar[str] = "1.2"
    folder: ClassVar[str] = "gqa"
    licence: ClassVar[str] = "questions CC-BY-4.0; photographs of Visual Genome and COCO belong to their owners"
    how: ClassVar[str] = (
        "Put train_balanced_questions.json, val_balanced_questions.json and testdev_balanced_questions.json of questions1.2.zip, and the"
        " folder images of images.zip, both of cs.stanford.edu/people/dorarad/gqa/download.html, below gqa"
    )

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """The answers, sorted. Raises UserError where they are not `answers`, and as `split` does."""
        with damage_told(f"{self.name}: a file of questions"):
            found = sorted({question.answer for split in PARTS for question in self._questions(split).values()})
        if len(found) != self.answers:
            raise UserError(f"{self.name}: the questions have {len(found):,} different answers, expected {self.answers:,}")
        return tuple(found)

    def rows(self, split: str) -> dict[str, list[Any]]:
        found = self._questions(split)
        labels = {answer: label for label, answer in enumerate(self.classes)}
        return {
            "id": list(found), "image_id": [question.image_id for question in found.values()],
            "image": [self.home() / "images" / f"{question.image_id}.jpg" for question in found.values()],
            "text": [question.text for question in found.values()],
            "label": [labels[question.answer] for question in found.values()],
        }  # fmt: skip

    def _questions(self, split: str) -> dict[str, Question]:
        """Id -> question."""
        return json.loads(self.file(f"{PARTS[split]}_balanced_questions.json").read_text(encoding="utf-8"), object_hook=_lean)


def gqa_accuracy(predicted: Sequence[str], answers: Sequence[str]) -> float:
    """The share of answers, in [0, 1], that are predicted letter by letter: the authors' standard accuracy."""
    return sum(guess == answer for guess, answer in zip(predicted, answers, strict=True)) / len(answers)


def _lean(found: dict[str, Any]) -> Any:
    """Of a question only what is needed, while the file is read: its program takes many times the room."""
    return Question(found["question"], found["imageId"], found["answer"]) if "imageId" in found else found
