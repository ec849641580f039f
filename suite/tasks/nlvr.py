"""Is a sentence that a person wrote true of a picture of three boxes (NLVR)? Two classes, and else as in vqa.py."""

from __future__ import annotations

from dataclasses import dataclass, replace

from suite.data.nlvr import Nlvr, Nlvr3525, presentation_of
from suite.recipe import Recipe
from suite.tasks.base import SEARCH_PARTS, Split
from suite.tasks.vqa import Vqa

BACKBONES = ("vilt", "meter", "bert")


@dataclass(eq=False)
class Presented(Vqa):
    """One picture and one sentence a row. Rows of one presentation, which share a sentence, are one cluster."""

    def split(self, name: str) -> Split:
        """See BaseTask: search parts do not share a presentation either."""
        if name not in self._splits and name not in SEARCH_PARTS:
            data = super().split(name)
            self._splits[name] = replace(data, clusters=[presentation_of(image_id) for image_id in data.clusters])
        return super().split(name)


def _official() -> Presented:
    sizes = {"train": 12_410, "validation": 989, "test": 990}
    return Presented(Nlvr("nlvr", sizes), Recipe(epochs=5, batch_size=32), backbones=BACKBONES, group="real")


def _reduced() -> Presented:
    sizes = {"train": 3_525, "validation": 989, "test": 990}
    return Presented(Nlvr3525("nlvr-3525", sizes), Recipe(epochs=8, batch_size=32), backbones=BACKBONES, group="real")


TASKS = {"nlvr": _official, "nlvr-3525": _reduced}
