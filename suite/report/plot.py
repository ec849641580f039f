"""Pareto plots: average accuracy against extra MACs and against trained parameters."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from math import floor, log10
from typing import NamedTuple

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.text import Text

from suite.board import Row, Section
from suite.report.labels import Box, Scene, nearest, place
from suite.report.units import MINUS, label, scaled
from suite.stats import pareto

PAPER, INK, MUTED, GRID, FRONT, OTHER = "#fefefe", "#1b1f24", "#5b6570", "#e3e6ea", "#0072b2", "#8a6d3b"
"""Front and other differ in lightness, fill and label weight too, so colour is not needed to tell them apart."""

KINDS = {"macs": ("extra_macs", "Extra MACs of one example"), "params": ("trainable", "Trained parameters, heads aside")}
SIZE, DPI = (8.4, 5.2), 150
FAR = 18.0
STYLE = {
    "font.family": "DejaVu Sans", "font.size": 11, "svg.hashsalt": "petlbench", "svg.fonttype": "path", "path.simplify": False,
    "text.color": INK, "axes.labelcolor": INK, "figure.facecolor": PAPER, "axes.facecolor": PAPER,
    "xtick.color": MUTED, "ytick.color": MUTED,
}  # fmt: skip


class Point(NamedTuple):
    """One method: cost in base units, average in percent, half-width of its interval."""

    title: str
    cost: float
    value: float
    half: float | None


def points(rows: Sequence[Row], field: str) -> tuple[list[Point], list[str]]:
    """What can be drawn, and "title (reason)" of what cannot."""
    shown, absent = [], []
    for row in sorted(rows, key=lambda r: r.method):
        if row.control:
            absent.append(f"{row.title} (a control)")
        elif row.costs is None or row.average.mean is None:
            absent.append(f"{row.title} ({'no costs' if row.average.mean is not None else row.average.reason or row.average.status})")
        else:
            shown.append(Point(row.title, getattr(row.costs, field), row.average.mean, row.average.half))
    return shown, absent


def pareto_plot(section: Section, kind: str, profile: str, formats: Sequence[str] = ("png", "svg")) -> dict[str, bytes]:
    """The plot of `kind` ("macs" or "params") by format. The same section gives the same bytes."""
    field, axis = KINDS[kind]
    shown, absent = points(section.rows, field)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=SIZE, dpi=DPI, layout="constrained")
        figure.get_layout_engine().set(w_pad=0.12, h_pad=0.1)
        canvas = FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        axes.set_xlabel(axis)
        axes.set_ylabel(_measured(section))
        _frame(axes)
        _title(axes, f"{section.backbone}, profile {profile}", absent)
        if shown:
            _draw(axes, shown, section)
            canvas.draw()
            figure.set_layout_engine("none")
            _label(axes, shown, canvas)
        else:
            axes.text(0.5, 0.5, "no method has both an average and costs yet", transform=axes.transAxes, ha="center", color=MUTED)
        return {name: save(figure, name) for name in formats}


def _measured(section: Section) -> str:
    """What the average is of."""
    first, *others = section.columns
    return f"Average of {len(section.columns)} tasks, %" if others else f"{first.task}, {label(first.metric or 'average')}, %"


def save(figure: Figure, name: str) -> bytes:
    """The figure in a format (png or svg), without a date."""
    out = io.BytesIO()
    nothing = {"Date": None, "Creator": None} if name == "svg" else {"Software": None}
    figure.savefig(out, format=name, metadata=nothing)
    return out.getvalue()


def _frame(axes: Axes) -> None:
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(MUTED)


def _title(axes: Axes, text: str, absent: Sequence[str]) -> None:
    """The title, and under it what the plot leaves out."""
    note = "not drawn: " + "; ".join(absent)
    note = note if len(note) < 110 else f"not drawn (controls, or without average or costs): {len(absent)} methods, see the table"
    axes.set_title(_plain(text), loc="left", fontsize=12, weight="bold", pad=22 if absent else 8)
    if absent:
        axes.annotate(_plain(note), (0, 1), (0, 8), "axes fraction", "offset points", fontsize=9, color=MUTED)


def _plain(text: str) -> str:
    """Text that matplotlib does not take for mathematics."""
    return " ".join(text.split()).replace("$", r"\$")


def _draw(axes: Axes, shown: Sequence[Point], section: Section) -> None:
    front = pareto([(p.cost, p.value) for p in shown])
    _scale(axes, [p.cost for p in shown])
    _heights(axes, shown, section)
    for i, p in enumerate(shown):
        colour = FRONT if i in front else OTHER
        if p.half is not None:
            axes.errorbar(p.cost, p.value, yerr=p.half, color=colour, elinewidth=1.3, capsize=3, alpha=0.55, zorder=2)
        axes.plot(p.cost, p.value, "o", color=colour, markerfacecolor=colour if i in front else PAPER, markersize=8, zorder=4)
    line = _front(axes, shown)
    axes.plot([x for x, _ in line], [y for _, y in line], color=FRONT, linewidth=1.4, alpha=0.7, zorder=1)


def _front(axes: Axes, shown: Sequence[Point]) -> list[tuple[float, float]]:
    """Corners of the front's stairs; to the right of its last point it stays level."""
    best = [shown[i] for i in pareto([(p.cost, p.value) for p in shown])]
    ends = [*(p.cost for p in best[1:]), axes.get_xlim()[1]]
    return [corner for p, end in zip(best, ends, strict=True) for corner in ((p.cost, p.value), (end, p.value))]


def _heights(axes: Axes, shown: Sequence[Point], section: Section) -> None:
    """Limits around the data; a floor far below is told at the edge rather than flattening everything above it."""
    low = min(p.value - (p.half or 0) for p in shown)
    high = max(p.value + (p.half or 0) for p in shown)
    span = max(high - low, 2.0)
    near = {name: v for name, v in section.floors.items() if v > low - 0.5 * span}
    below = 0.06 if len(near) == len(section.floors) else 0.12  # room for a line of text
    bottom, top = min([low, *near.values()]) - below * span, max([high, *near.values()]) + 0.06 * span
    axes.set_ylim(bottom, top)
    _floors(axes, dict(sorted(section.floors.items())), near, 0.04 * (top - bottom))


def _floors(axes: Axes, floors: Mapping[str, float], near: Mapping[str, float], line: float) -> None:
    """Lines for those that are near, those less than a `line` of text apart under one label; a note for those below."""
    names = {"majority": "always the majority", "blind": "without the image"}
    texts = {name: f"{names.get(name, name)} {value:.1f}" for name, value in floors.items()}
    groups: list[list[str]] = []
    for name, value in sorted(near.items(), key=lambda item: -item[1]):
        axes.axhline(value, color=MUTED, linewidth=1.1, linestyle=(0, (4, 3)), zorder=1)
        if groups and near[groups[-1][-1]] - value < line:
            groups[-1].append(name)
        else:
            groups.append([name])
    written = {near[group[0]]: ", ".join(texts[name] for name in group) for group in groups}
    for value, text in written.items():
        axes.annotate(text, (1, value), (-2, 3), ("axes fraction", "data"), "offset points", ha="right", fontsize=9, color=MUTED)
    if told := [text for name, text in texts.items() if name not in near]:
        text = "floors below: " + ", ".join(told)
        axes.annotate(text, (1, 0), (-2, 5), "axes fraction", "offset points", ha="right", fontsize=9, color=MUTED)


def _scale(axes: Axes, costs: Sequence[float]) -> None:
    """Linear while that separates the points, else logarithmic on both sides of a linear stretch around zero, which has its own
    mark: nothing at zero is moved to where a logarithm could show it."""
    sizes = sorted(abs(c) for c in costs if c)
    low, high = min(costs), max(costs)
    if not sizes or sizes[-1] < 20 * sizes[0]:
        pad = 0.08 * ((high - low) or abs(high) or 1.0)
        axes.set_xlim(low - pad, high + 2.5 * pad)
        axes.xaxis.set_major_formatter(lambda value, _: _tick(value))
    elif low > 0:
        axes.set_xscale("log")
        axes.set_xlim(low / 1.6, high * 2.2)
        _ticks(axes, [d for d in _decades(sizes) if low / 1.6 <= d <= high * 2.2])
    else:
        unit = 10.0 ** floor(log10(sizes[0]))
        axes.set_xscale("symlog", linthresh=unit, linscale=0.6)
        left = low * 1.8 if low < 0 else -0.35 * unit
        right = high * 2.2 if high > 0 else 0.35 * unit
        axes.set_xlim(left, right)
        sign = "\N{PLUS-MINUS SIGN}" if low < 0 else ""
        axes.set_xlabel(f"{axes.get_xlabel()} (logarithmic beyond {sign}{_tick(unit)})")
        ticks = [s * d for d in _decades(sizes) for s in (1, -1)]
        _ticks(axes, [0.0, *(t for t in ticks if left <= t <= right)])
    if low <= 0 <= high:
        axes.axvline(0, color=MUTED, linewidth=0.9, alpha=0.6, zorder=1)


def _decades(sizes: Sequence[float]) -> list[float]:
    return [10.0**k for k in range(floor(log10(sizes[0])), floor(log10(sizes[-1])) + 2)]


def _ticks(axes: Axes, values: Sequence[float]) -> None:
    axes.set_xticks(sorted(values), [_tick(v) for v in sorted(values)])
    axes.minorticks_off()


def _tick(value: float) -> str:
    return "0" if value == 0 else (MINUS if value < 0 else "") + scaled(abs(value)).replace(".0 ", " ").removesuffix(".0")


def _label(axes: Axes, shown: Sequence[Point], canvas: FigureCanvasAgg) -> None:
    """Names beside the points, measured and placed in pixels."""
    front = set(pareto([(p.cost, p.value) for p in shown]))
    scale = DPI / 100
    at = [tuple(float(v) for v in axes.transData.transform((p.cost, p.value))) for p in shown]
    texts = [_text(axes, p, i in front) for i, p in enumerate(shown)]
    extents = [t.get_window_extent(canvas.get_renderer()) for t in texts]
    frame = Box(*(float(v) for v in axes.bbox.extents))
    written = [Box(*(float(v) for v in t.get_window_extent(canvas.get_renderer()).extents)) for t in axes.texts if t not in texts]
    obstacles = [*_marks(axes, shown, scale), *_stairs(axes, shown, scale), *written]
    boxes = place(Scene(at, obstacles, frame, scale), [(float(e.width), float(e.height)) for e in extents])
    back = axes.transData.inverted()
    for text, point, box, extent in zip(texts, at, boxes, extents, strict=True):
        base = axes.transData.transform(text.get_position())
        text.set_position(back.transform((box.left + base[0] - extent.x0, box.bottom + base[1] - extent.y0)))
        x, y = nearest(point, box)
        if abs(x - point[0]) + abs(y - point[1]) > FAR * scale:
            line = back.transform([point, (x, y)])
            axes.plot(line[:, 0], line[:, 1], color=MUTED, linewidth=0.7, alpha=0.8, zorder=3)


def _marks(axes: Axes, shown: Sequence[Point], scale: float) -> list[Box]:
    """Markers and error bars in pixels."""
    boxes = []
    for p in shown:
        half = p.half or 0.0
        (x, y), (_, low), (_, high) = axes.transData.transform([(p.cost, p.value), (p.cost, p.value - half), (p.cost, p.value + half)])
        boxes.append(Box(float(x) - 8 * scale, float(y) - 8 * scale, float(x) + 8 * scale, float(y) + 8 * scale))
        boxes.append(Box(float(x) - 4 * scale, float(low), float(x) + 4 * scale, float(high)))
    return boxes


def _stairs(axes: Axes, shown: Sequence[Point], scale: float) -> list[Box]:
    """The front's line in pixels."""
    corners = [tuple(float(v) for v in corner) for corner in axes.transData.transform(_front(axes, shown))]
    thick = 2 * scale
    return [
        Box(min(a[0], b[0]) - thick, min(a[1], b[1]) - thick, max(a[0], b[0]) + thick, max(a[1], b[1]) + thick)
        for a, b in zip(corners, corners[1:], strict=False)
    ]


def _text(axes: Axes, point: Point, front: bool) -> Text:
    middle = axes.transData.inverted().transform(axes.bbox.get_points().mean(axis=0))
    weight, colour = ("bold", FRONT) if front else ("normal", INK)
    text = axes.text(*middle, _plain(point.title), fontsize=10, weight=weight, color=colour, zorder=5, va="bottom", ha="left")
    text.set_path_effects([withStroke(linewidth=3, foreground=PAPER)])
    return text
