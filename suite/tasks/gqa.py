"""Compositional questions (GQA): as in vqa.py, with the accuracy on each type of question beside the whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from suite.data.world_gqa import WorldGqa
from suite.recipe import Recipe
from suite.tasks.base import LANGUAGE
from suite.tasks.kinds import ByKind
from suite.tasks.vqa import Vqa


@dataclass(eq=False)
class Gqa(ByKind, Vqa):
    """One picture and one question a row."""

    of: ClassVar[str] = "type"


def _world() -> Gqa:
    """On demand: a language model needs as many as these to rise above the questions' own hints, which takes its time."""
    sizes = {"train": 4000, "validation": 500, "test": 1000}
    return Gqa(WorldGqa("world-gqa", sizes), Recipe(epochs=5, batch_size=8), also=(*LANGUAGE, "llama"))


TASKS = {"world-gqa": _world}
