"""world-gqa: compositional questions about generated scenes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from suite.data.world_gqa_text import ANSWERS, KINDS, questions
from suite.data.world_kinds import WorldOfKinds
from suite.data.world_reader import pictures_of


@dataclass(eq=False)
class WorldGqa(WorldOfKinds):
    """One question a scene, with balanced answers (suite/data/world_gqa_text.py)."""

    objects: tuple[int, int] = (2, 3)
    kinds: ClassVar[tuple[str, ...]] = KINDS

    @property
    def classes(self) -> tuple[str, ...]:
        return ANSWERS

    def rows(self, split: str) -> dict[str, list[Any]]:
        drawn = self.scenes(split, self.sizes[split])
        asked, answers, kinds = questions(drawn, self.rng(split))
        return pictures_of(drawn) | {"text": asked, "label": [ANSWERS.index(a) for a in answers], "kind": kinds}
