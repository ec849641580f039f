"""world-ve: does it follow from the picture? Generated scenes of which a third is hidden behind a panel."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from suite.data.reader import portable_pixmap
from suite.data.world import SIDE, SLOTS, Scenes, render
from suite.data.world_reader import World
from suite.data.world_ve_text import LABELS, STRIPS, hypotheses

PANEL = (170, 60, 200)
"""Violet: no object and no background has it."""


@dataclass(eq=False)
class WorldVe(World):
    """A scene and a hypothesis a row. A panel covers a row or a column of the picture; at most one object was there, and is not drawn."""

    objects: tuple[int, int] = (3, 4)

    @property
    def classes(self) -> tuple[str, ...]:
        return LABELS

    def rows(self, split: str) -> dict[str, list[Any]]:
        drawn, rng = self.scenes(split, self.sizes[split]), self.rng(split)
        panels = choose_panels(drawn, rng)
        shown = without(drawn, behind(drawn, panels))
        texts, labels = hypotheses([shown.objects(i) for i in range(len(shown))], [STRIPS[k] for k in panels], rng)
        ids = [f"{digest}-{panel}" for digest, panel in zip(shown.digests(), panels.tolist())]
        return {"image": portable_pixmap(cover(render(shown), panels)), "image_id": ids, "text": texts, "label": labels}


def choose_panels(drawn: Scenes, rng: np.random.Generator) -> np.ndarray:
    """(N,) int: an index into STRIPS for each scene, one that hides at most one object; up to four objects always leave such a one."""
    hidden = np.stack([behind(drawn, np.full(len(drawn), k)).sum(1) for k in range(len(STRIPS))], 1)
    return np.where(hidden <= 1, rng.random(hidden.shape), 2).argmin(1)


def behind(drawn: Scenes, panels: np.ndarray) -> np.ndarray:
    """(N, SLOTS) bool: the objects whose cell is covered."""
    at = {"row": drawn.row, "column": drawn.column}
    covered = np.stack([at[key] == k for key, k in STRIPS])[panels, np.arange(len(drawn))]
    return covered & (np.arange(SLOTS) < drawn.count[:, None])


def without(drawn: Scenes, hidden: np.ndarray) -> Scenes:
    """The scenes without the objects at `hidden` (N, SLOTS), the others in the same order."""
    order = np.argsort(hidden | (np.arange(SLOTS) >= drawn.count[:, None]), 1, kind="stable")
    arrays = {f.name: getattr(drawn, f.name) for f in fields(drawn)}
    for name, array in arrays.items():
        if array.shape[:2] == order.shape:
            arrays[name] = np.take_along_axis(array, order[..., None] if array.ndim == 3 else order, 1)
    return Scenes(**arrays | {"count": drawn.count - hidden.sum(1)})


def cover(pictures: np.ndarray, panels: np.ndarray) -> np.ndarray:
    """(N, 64, 64, 3) uint8 with the panels."""
    third = np.arange(SIDE) * 3 // SIDE
    at = {"row": third[:, None], "column": third[None, :]}
    covered = np.stack([np.broadcast_to(at[key] == k, (SIDE, SIDE)) for key, k in STRIPS])[panels]
    return np.where(covered[..., None], np.array(PANEL, np.uint8), pictures)
