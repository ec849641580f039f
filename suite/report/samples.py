"""Generated pictures side by side: a row for each method, a column for each prompt, because people want to look at them."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from suite.report.plot import DPI, INK, MUTED, STYLE, save

CELL, LEFT, TOP = 0.95, 1.5, 0.85
"""Inches: the side of a picture with its margin, the methods' titles, the prompts."""
SHARE = 0.94
"""Of CELL that is picture."""
COLUMNS = 10
LEARNED = "learned from"

Kept = Mapping[str, np.ndarray]
"""Per-example arrays of a record: `samples`, `learned` (N, H, W, 3) uint8, `prompts`, `cluster` (N,)."""


def grid(methods: Mapping[str, Kept], formats: Sequence[str] = ("png",)) -> dict[str, bytes]:
    """The first prompt of each cluster, COLUMNS at most, of every method by its title, below a picture that the subject was learned from.

    The same arrays give the same bytes. Raises ValueError where there is no method, or methods were asked for different pictures.
    """
    if not methods:
        raise ValueError("no samples to show")
    first = next(iter(methods.values()))
    if any(not np.array_equal(kept["prompts"], first["prompts"]) for kept in methods.values()):
        raise ValueError("samples of different prompts do not go into one grid")
    chosen = np.sort(np.unique(first["cluster"], return_index=True)[1])[:COLUMNS]
    rows = {LEARNED: first["learned"][chosen]} | {title: kept["samples"][chosen] for title, kept in methods.items()}
    with matplotlib.rc_context(STYLE):
        figure = _drawn(rows, first["prompts"][chosen].tolist())
        return {name: save(figure, name) for name in formats}


def _drawn(rows: Mapping[str, np.ndarray], prompts: Sequence[str]) -> Figure:
    width, height = LEFT + CELL * len(prompts), TOP + CELL * len(rows)
    figure = Figure(figsize=(width, height), dpi=DPI)
    FigureCanvasAgg(figure)
    for r, (title, pictures) in enumerate(rows.items()):
        for c, picture in enumerate(pictures):
            corner = (LEFT + CELL * c) / width, 1 - (TOP + CELL * (r + SHARE)) / height
            axes = figure.add_axes((*corner, SHARE * CELL / width, SHARE * CELL / height))
            _show(axes, picture)
            if not r:
                axes.set_title("\n".join(textwrap.wrap(prompts[c], 14)), fontsize=7, color=MUTED, pad=4)
        _named(figure, title, 1 - (TOP + CELL * (r + 0.5)) / height, width)
    return figure


def _show(axes: Axes, picture: np.ndarray) -> None:
    axes.imshow(picture, interpolation="nearest")
    axes.set_axis_off()


def _named(figure: Figure, title: str, height: float, width: float) -> None:
    figure.text((LEFT - 0.12) / width, height, "\n".join(textwrap.wrap(title, 16)), ha="right", va="center", fontsize=9, color=INK)
