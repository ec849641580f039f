"""Measured speeds in words and as a plot: do fewer MACs take fewer milliseconds?"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from suite.report.units import MINUS, number

if TYPE_CHECKING:
    from suite.speed import Row, Speeds

SAVERS = {"apt": "prompt_deep", "das": None, "dvp": "visual_prompt"}
"""Method -> what its paper says it is cheaper than (None: the backbone without a method; LaVIN's with its adapters)."""


def line(row: Row) -> str:
    """A row in a line."""
    parts = [f"batch {count}: {number(found.median)} ms ({row.per_second(int(count)):,.1f}/s)" for count, found in row.forward.items()]
    if row.step:
        memory = "" if row.peak_memory is None else f", {row.peak_memory / 2**20:,.0f} MiB"
        parts.append(f"step of {row.step_batch}: {number(row.step.median)} ms{memory}")
    parts += [f"{what}: {lack}" for what, lack in row.lacks.items()]
    return f"{row.backbone}, {row.method}: {'; '.join(parts)}"


def findings(speeds: Speeds) -> list[str]:
    """Of each method that saves MACs, how much of the share it saves shows in time, for each backbone and batch size."""
    found = []
    for row in speeds.rows:
        if row.method not in SAVERS:
            continue
        than = SAVERS[row.method]
        other = speeds.row(row.backbone, than) if than else _bare(speeds, row.backbone) or speeds.row(row.backbone, "lavin")
        if other is None:
            continue
        macs = _percent(row.macs, other.macs)
        for count in sorted(row.forward.keys() & other.forward.keys(), key=int):
            mine, theirs = row.forward[count], other.forward[count]
            apart = "" if mine.high < theirs.low or mine.low > theirs.high else ", intervals overlap"
            found.append(f"{row.backbone}, batch {count}: {row.method} differs from {other.method} by {_signed(macs)} % in MACs and by"
                         f" {_signed(_percent(mine.median, theirs.median))} % in time{apart}")  # fmt: skip
    return found


def plot(speeds: Speeds) -> bytes | None:
    """PNG: extra MACs against extra milliseconds, a panel for each backbone, at the largest batch that all its methods have; None where
    no backbone is measured with a method that adds no MACs, which the others are compared with, and with another."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = {name: points for name in dict.fromkeys(row.backbone for row in speeds.rows) if len(points := _points(speeds, name)) > 1}
    if not panels:
        return None
    figure = Figure(figsize=(4.2 * len(panels), 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (name, points) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items()):
        axes.scatter([x for _, x, _ in points], [y for *_, y in points], s=18, color="#33658a")
        axes.margins(x=0.15, y=0.1)
        middle = sum(axes.get_xlim()) / 2
        for k, (method, x, y) in enumerate(sorted(points, key=lambda point: point[2])):
            side = {"ha": "right", "xytext": (-5, 3 if k % 2 else -8)} if x > middle else {"xytext": (5, 3 if k % 2 else -8)}
            axes.annotate(method, (x, y), textcoords="offset points", fontsize=7, **side)
        axes.set(title=name, xlabel="extra GMACs of one example", ylabel=f"extra ms, batch {_batch(speeds, name)}")
        axes.axhline(0, color="#999999", linewidth=0.6)
        axes.axvline(0, color="#999999", linewidth=0.6)
    figure.suptitle(f"{speeds.device.name}, {speeds.dtype}", fontsize=9)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=140, metadata={"Software": None})
    return file.getvalue()


def _bare(speeds: Speeds, backbone: str) -> Row | None:
    """The first row of a method that adds no MACs, as the classifier alone."""
    return next((row for row in speeds.rows if row.backbone == backbone and not row.extra_macs and row.forward), None)


def _points(speeds: Speeds, backbone: str) -> list[tuple[str, float, float]]:
    """Method, extra GMACs, extra milliseconds."""
    bare, count = _bare(speeds, backbone), _batch(speeds, backbone)
    if bare is None or count is None:
        return []
    rows = [row for row in speeds.rows if row.backbone == backbone and count in row.forward]
    return [(row.method, row.extra_macs / 1e9, row.forward[count].median - bare.forward[count].median) for row in rows]


def _batch(speeds: Speeds, backbone: str) -> str | None:
    sizes: Sequence[set[str]] = [set(row.forward) for row in speeds.rows if row.backbone == backbone and row.forward]
    return max(set.intersection(*sizes), key=int, default=None) if sizes else None


def _percent(ours: float, theirs: float) -> float:
    return 100 * (ours / theirs - 1)


def _signed(value: float) -> str:
    return f"{value:+.1f}".replace("-", MINUS)
