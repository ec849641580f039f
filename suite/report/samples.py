"""Generated pictures side by side: a row for each method, a column for each prompt, because people want to look at them."""

from __future__ import annotations

import textwrap
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from zipfile import BadZipFile

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from suite.errors import UserError
from suite.report.plot import DPI, INK, MUTED, STYLE, save
from suite.store import unpack

CELL, LEFT, TOP = 0.95, 1.5, 0.85
"""Inches: the side of a picture with its margin, the methods' titles, the prompts."""
SHARE = 0.94
"""Of CELL that is picture."""
LEARNED = "learned from"
NAMES = ("prompts", "learned", "titles", "samples")

Shown = Mapping[str, np.ndarray]
"""What suite/collect.py chose: `prompts` (N,), `learned` (N, H, W, 3) uint8, `titles` (M,), `samples` (M, N, H, W, 3) uint8."""


def read(folder: Path) -> dict[str, Shown]:
    """What `petlbench collect` wrote there, by name. Raises UserError where a file is damaged."""
    found = {}
    for path in sorted(folder.glob("*.npz")):
        try:
            arrays = unpack(path.read_bytes())
            found[path.stem] = {name: arrays[name] for name in NAMES}
        except (OSError, EOFError, ValueError, KeyError, TypeError, NotImplementedError, RuntimeError, BadZipFile, zlib.error) as error:
            raise UserError(f"{path} is damaged; `petlbench collect` writes it anew") from error
    return found


def picture(shown: Shown) -> bytes:
    """A PNG: each method's samples by its title, below a picture that the subject was learned from. The same arrays give the same bytes."""
    with matplotlib.rc_context(STYLE):
        return save(_drawn([LEARNED, *shown["titles"]], [shown["learned"], *shown["samples"]], shown["prompts"].tolist()), "png")


def _drawn(titles: Sequence[str], rows: Sequence[np.ndarray], prompts: Sequence[str]) -> Figure:
    width, height = LEFT + CELL * len(prompts), TOP + CELL * len(rows)
    figure = Figure(figsize=(width, height), dpi=DPI)
    FigureCanvasAgg(figure)
    for r, (title, pictures) in enumerate(zip(titles, rows, strict=True)):
        for c, one in enumerate(pictures):
            corner = (LEFT + CELL * c) / width, 1 - (TOP + CELL * (r + SHARE)) / height
            axes = figure.add_axes((*corner, SHARE * CELL / width, SHARE * CELL / height))
            _show(axes, one)
            if not r:
                axes.set_title(_lines(prompts[c], 14), fontsize=7, color=MUTED, pad=4, parse_math=False)
        _named(figure, title, 1 - (TOP + CELL * (r + 0.5)) / height, width, r == 0)
    return figure


def _show(axes: Axes, one: np.ndarray) -> None:
    axes.imshow(one, interpolation="nearest")
    axes.set_axis_off()


def _named(figure: Figure, title: str, height: float, width: float, soft: bool) -> None:
    text = figure.text((LEFT - 0.12) / width, height, _lines(title, 16), ha="right", va="center", fontsize=9, parse_math=False)
    text.set(color=MUTED if soft else INK, style="italic" if soft else "normal")


def _lines(text: str, width: int) -> str:
    """As many lines as there is room for."""
    return "\n".join(textwrap.wrap(text, width, max_lines=6, placeholder=" …"))
