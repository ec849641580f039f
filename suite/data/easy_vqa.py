"""easy-VQA: questions about one coloured shape on a 64 x 64 picture, real published data (package `easy-vqa` 1.0, MIT licence)."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from suite.data.reader import Reader, ranked
from suite.errors import UserError

QUESTIONS = {"train": 38_575, "test": 9_673}
IMAGES = {"train": 4_000, "test": 1_000}
SHA256 = {
    "train": "a2cc4882acb5de76cd06977f7cac6d4d6db14d0382d6c1d24a1194a5ff4b84d0",
    "test": "6127d851f8471ccf7a53a100e7cfe3b5ae01d758e9f92c013b51d2083933e4c8",
}
"""Of the questions, answers and PNG files of each part of the package, as `_sha256` computes it."""

VALIDATION_IMAGES = 800


class Part(NamedTuple):
    """One part of the package: aligned questions, answers and image ids; encoded pictures by id."""

    questions: list[str]
    answers: list[str]
    image_ids: list[int]
    pictures: dict[int, bytes]


@dataclass(eq=False)
class EasyVqa(Reader):
    """Rows are questions. Train and validation are disjoint sets of the package's train images; test is the package's test.

    Each split is a fixed random draw of its questions (one stream for every method and seed): the low-data protocol.
    """

    version: ClassVar[str] = "1.0"

    @property
    def classes(self) -> tuple[str, ...]:
        import easy_vqa

        return tuple(easy_vqa.get_answers())

    def rows(self, split: str) -> dict[str, list[Any]]:
        data = part("test" if split == "test" else "train")
        by_question = self._questions(split, data)
        drawn = [by_question[key] for key in ranked(by_question, "easy-vqa/questions")[: self.sizes[split]]]
        if len(drawn) < self.sizes[split]:
            raise UserError(f"easy-vqa/{split} has {len(drawn)} questions, {self.sizes[split]} asked for")
        return {
            "image": [data.pictures[data.image_ids[i]] for i in drawn],
            "image_id": [f"{_folder(split)}/{data.image_ids[i]}" for i in drawn],
            "text": [data.questions[i] for i in drawn],
            "label": [self.classes.index(data.answers[i]) for i in drawn],
        }

    def _questions(self, split: str, data: Part) -> dict[str, int]:
        """Key of each question of the split's images -> its row in the package."""
        images = ranked(map(str, data.pictures), "easy-vqa/images")
        held_out = set(images[:VALIDATION_IMAGES])
        wanted = {"train": set(images) - held_out, "validation": held_out}.get(split, set(images))
        seen: dict[int, int] = defaultdict(int)
        keys = {}
        for row, image in enumerate(data.image_ids):
            seen[image] += 1
            if str(image) in wanted:
                keys[f"{_folder(split)}/{image}/{seen[image]}"] = row
        return keys


@cache
def part(name: str) -> Part:
    """The package's `train` or `test`. Raises UserError with both figures where counts or content are not the published ones."""
    import easy_vqa

    questions, paths = getattr(easy_vqa, f"get_{name}_questions")(), getattr(easy_vqa, f"get_{name}_image_paths")()
    for what, found, expected in (("questions", len(questions[0]), QUESTIONS[name]), ("images", len(paths), IMAGES[name])):
        if found != expected:
            raise UserError(f"easy-vqa/{name}: found {found} {what}, expected {expected}; reinstall the package easy-vqa")
    result = Part(*questions, {i: Path(paths[i]).read_bytes() for i in sorted(paths)})
    if _sha256(result) != SHA256[name]:
        raise UserError(f"easy-vqa/{name}: content has sha256 {_sha256(result)}, expected {SHA256[name]}; reinstall the package easy-vqa")
    return result


def _sha256(data: Part) -> str:
    digest = hashlib.sha256()
    for row in zip(data.questions, data.answers, data.image_ids):
        digest.update(repr(row).encode())
    for number, picture in data.pictures.items():
        digest.update(b"%d %d " % (number, len(picture)) + picture)
    return digest.hexdigest()


def _folder(split: str) -> str:
    return "test" if split == "test" else "train"
