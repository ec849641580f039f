"""VQA v2.0 (Goyal et al., CVPR 2017): questions about COCO photographs, each answered by ten people."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

from suite.data.answers import normalised
from suite.data.published import Published, damage_told
from suite.data.reader import ranked
from suite.errors import UserError

SIZES = {"train": 443_757, "validation": 214_354, "test": 107_394}
PARTS = {"train": "train2014", "validation": "val2014", "test": "test-dev2015"}
"""Split -> what the release calls it. The answers of test-dev are not published: EvalAI scores predictions."""

PHOTOGRAPHS = {"train": "train2014", "validation": "val2014", "test": "test2015"}
PEOPLE = 10
"""Who answer each question."""

ANSWERED = ("train", "validation")
LEAST = 9
"""Questions that a word of the vocabulary is the majority's answer to."""

VOCABULARY = 3_129
REST = 1_000


@dataclass(eq=False)
class Vqa2(Published):
    """`answers` are the ten as given; in the test split there are none. Rows have no label: each answer is right in part (answers.py).

    ViLT trains without the questions that nobody answered with a word of the vocabulary, and compares answers to it as given.
    words: the number of words that `vocabulary` must come to.
    """

    words: int = VOCABULARY
    version: ClassVar[str] = "2.0"
    folder: ClassVar[str] = "vqa2"
    licence: ClassVar[str] = "annotations CC-BY-4.0; photographs under the Flickr Terms of Use"
    how: ClassVar[str] = (
        "Unpack v2_Questions_{Train,Val,Test}_mscoco.zip and v2_Annotations_{Train,Val}_mscoco.zip of visualqa.org/download.html, and"
        " train2014.zip, val2014.zip and test2015.zip of cocodataset.org, below vqa2"
    )

    def rows(self, split: str) -> dict[str, list[Any]]:
        part, photographs = PARTS[split], PHOTOGRAPHS[split]
        found = self._read(f"v2_OpenEnded_mscoco_{part}_questions.json")["questions"]
        given = {row["question_id"]: _ten(row) for row in self._annotations(split)} if split in ANSWERED else None
        return {
            "id": [str(row["question_id"]) for row in found], "image_id": [str(row["image_id"]) for row in found],
            "image": [self.home() / photographs / f"COCO_{photographs}_{row['image_id']:012d}.jpg" for row in found],
            "text": [row["question"] for row in found],
            "answers": [[] if given is None else given[row["question_id"]] for row in found],
        }  # fmt: skip

    def more(self) -> dict[str, Any]:
        from datasets import List, Value

        return {"answers": List(Value("string"))}

    @cached_property
    def vocabulary(self) -> tuple[str, ...]:
        """The answers to choose among, sorted: what most people say, normalised, to LEAST questions of train and validation together.

        One of them is empty (see `normalised`). Raises UserError where they are not `words`.
        """
        with damage_told(f"{self.name}: an annotation file"):
            counts = Counter(normalised(row["multiple_choice_answer"]) for split in ANSWERED for row in self._annotations(split))
        found = sorted(answer for answer, count in counts.items() if count >= LEAST)
        if len(found) != self.words:
            raise UserError(f"{self.name}: the vocabulary has {len(found):,} answers, expected {self.words:,}")
        return tuple(found)

    def _annotations(self, split: str) -> list[dict[str, Any]]:
        return self._read(f"v2_mscoco_{PARTS[split]}_annotations.json")["annotations"]

    def _read(self, name: str) -> Any:
        return json.loads(self.file(name).read_text(encoding="utf-8"))


def rest_val(image_ids: Iterable[str], size: int = REST) -> set[str]:
    """The pictures of the validation split to hold back, as ViLT's rest_val; on the others, its trainable_val, it trains.

    ViLT takes the last 1,000 of an order shuffled without a seed, so that its own are not to be had again. Here they are a fixed draw.
    """
    return set(ranked(image_ids, "vqa2/rest-val")[:size])


def _ten(row: dict[str, Any]) -> list[str]:
    """Raises ValueError where they are not ten texts."""
    answers = [given["answer"] for given in row["answers"]]
    if len(answers) != PEOPLE or not all(isinstance(answer, str) for answer in answers):
        raise ValueError(f"question {row['question_id']} has not the answers of {PEOPLE} people")
    return answers
