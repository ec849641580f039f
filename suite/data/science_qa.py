"""ScienceQA (Lu et al., NeurIPS 2022, arXiv:2209.09513): multiple choice with a picture, a text to read, both or neither."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from suite.data.published import PARTS, Published

SIZES = {"train": 12_726, "validation": 4_241, "test": 4_241}

KINDS = {(True, False): "text", (False, True): "image", (True, True): "both", (False, False): "none"}
"""(Has it a text, a picture?) -> kind of context. The published break-down counts a question with both twice, in TXT and in IMG."""


@dataclass(eq=False)
class ScienceQa(Published):
    """`text` is the question, `options` are two to five, `label` is the index of the right one, `hint` the text to read, or empty.

    `kind` is of KINDS; `subject` and `grade` are as published ("natural science", "grade2"). A row without picture has its own
    `image_id`; the others' is made of the picture's bytes, since each question has a copy of its picture.
    """

    version: ClassVar[str] = "1.0"
    pictured: ClassVar[bool] = False
    folder: ClassVar[str] = "scienceqa"
    licence: ClassVar[str] = "CC-BY-NC-SA-4.0"
    how: ClassVar[str] = (
        "Put problems.json and pid_splits.json of github.com/lupantech/ScienceQA (folder data/scienceqa), and the pictures that its"
        " tools/download.sh fetches, as images/train, images/val and images/test, below scienceqa"
    )

    def rows(self, split: str) -> dict[str, list[Any]]:
        part = PARTS[split]
        problems, parts = (json.loads(self.file(name).read_text(encoding="utf-8")) for name in ("problems.json", "pid_splits.json"))
        keys, folder = list(parts[part]), self.home() / "images" / part
        found = [_sound(key, problems[key]) for key in keys]
        images = [folder / key / row["image"] if row["image"] else None for key, row in zip(keys, found)]
        columns = {column: [row[column] for row in found] for column in ("hint", "subject", "grade")}
        return columns | {
            "id": keys, "image_id": [_same(image) or key for key, image in zip(keys, images)], "image": images,
            "text": [row["question"] for row in found], "options": [row["choices"] for row in found],
            "label": [row["answer"] for row in found], "kind": [KINDS[bool(row["hint"]), bool(row["image"])] for row in found],
        }  # fmt: skip

    def more(self) -> dict[str, Any]:
        from datasets import List, Value

        texts = {column: Value("string") for column in ("hint", "subject", "grade", "kind")}
        return texts | {"options": List(Value("string")), "label": Value("int64")}


def _sound(key: str, problem: dict[str, Any]) -> dict[str, Any]:
    """The problem. Raises TypeError or ValueError where a value is of the wrong type, or the answer is none of the options."""
    texts = [problem["image"] or "", *problem["choices"], *(problem[name] for name in ("question", "hint", "subject", "grade"))]
    if not all(isinstance(text, str) for text in texts) or type(problem["choices"]) is not list or type(problem["answer"]) is not int:
        raise TypeError(f"a value of problem {key} is of the wrong type")
    if not 0 <= problem["answer"] < len(problem["choices"]):
        raise ValueError(f"the answer of problem {key} is {problem['answer']}, of {len(problem['choices'])} options")
    return problem


def _same(image: Path | None) -> str | None:
    """Equal for equal files; None where there is none to read: what is missing is told later."""
    return hashlib.sha256(image.read_bytes()).hexdigest()[:20] if image and image.is_file() else None
