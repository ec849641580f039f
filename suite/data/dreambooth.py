"""DreamBooth's 30 subjects (Ruiz et al., CVPR 2023, arXiv:2208.12242, section 4.1): four to six pictures of each, 25 prompts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from suite.data.published import Published, damage_told
from suite.data.subjects import SHOWN
from suite.errors import UserError

SAMPLES = 4
"""Pictures that are generated for each subject and prompt."""

SIZES = {"train": 158, "test": 30 * 25 * SAMPLES}
IDENTIFIER = "[V]"
"""Stands in the texts for the subject's rare word, as in the paper's section 4: which word that is, the task chooses."""

LIVE = ("cat", "dog")
"""The class nouns of live subjects, which have prompts of their own."""

_HEADINGS = re.compile(r"^(?:Object|Live Subject) Prompts$", re.MULTILINE)
_PROMPT = re.compile(r"^'(.+)'\.format\(unique_token, class_token\),?$", re.MULTILINE)


@dataclass(eq=False)
class DreamBooth(Published):
    """All subjects, as WorldSubject has them: `label` is the subject, and a text names it by IDENTIFIER and `noun`, its class.

    Train has the pictures, each with "a [V] noun" (section 3.2). Test has SAMPLES rows of each prompt, which have no picture. There is
    no validation split.
    """

    version: ClassVar[str] = "1.0"
    pictured: ClassVar[bool] = False
    folder: ClassVar[str] = "dreambooth"
    licence: ClassVar[str] = "CC-BY-4.0 on Hugging Face; photographs of unsplash.com under the Unsplash License"
    how: ClassVar[str] = "Put the folder dataset of github.com/google/dreambooth below dreambooth"

    @property
    def classes(self) -> tuple[str, ...]:
        """The subjects' names. Raises UserError as `split` does."""
        return tuple(self._published[0])

    def rows(self, split: str) -> dict[str, list[Any]]:
        """Raises UserError for a subject with fewer or more pictures than SHOWN."""
        nouns, of_objects, of_live = self._published
        if split == "train":
            found = [(subject, path.name, path, "a {0} {1}") for subject in nouns for path in self._shown(subject)]
        else:
            found = [(subject, f"{number:02d}-{sample}", None, prompt) for subject, noun in nouns.items()
                     for number, prompt in enumerate(of_live if noun in LIVE else of_objects) for sample in range(SAMPLES)]  # fmt: skip
        ids = [f"{subject}/{name}" for subject, name, _, _ in found]
        return {
            "id": ids, "image_id": ids, "image": [image for _, _, image, _ in found], "noun": [nouns[subject] for subject, *_ in found],
            "text": [prompt.format(IDENTIFIER, nouns[subject]) for subject, _, _, prompt in found],
            "label": [self.classes.index(subject) for subject, *_ in found],
        }  # fmt: skip

    def more(self) -> dict[str, Any]:
        from datasets import Value

        return {"noun": Value("string")}

    def _shown(self, subject: str) -> list[Path]:
        """Its pictures, which are numbered from 00: one that is lacking among them is told by its name."""
        folder = self.home() / "dataset" / subject
        count = len(list(folder.glob("*.jpg")))
        if not SHOWN[0] <= count <= SHOWN[1]:
            raise UserError(f"{self.name}: {subject} has {count} pictures, expected {SHOWN[0]} to {SHOWN[1]}")
        return [folder / f"{number:02d}.jpg" for number in range(count)]

    @cached_property
    def _published(self) -> tuple[dict[str, str], list[str], list[str]]:
        """Subject -> class noun, prompts for objects, prompts for live subjects."""
        path = "dataset/prompts_and_classes.txt"
        with damage_told(f"{self.name}/{path}"):
            classes, *prompts = _HEADINGS.split(self.file(path).read_text(encoding="utf-8"))
            _, *pairs = (line.split(",") for line in classes.splitlines() if "," in line)  # the first are the columns' names
            of_objects, of_live = (_PROMPT.findall(part) for part in prompts)
            if len(nouns := dict(pairs)) < len(pairs):
                raise ValueError("a subject is there more than once")
        return nouns, of_objects, of_live
