"""The one table that every format is made from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from suite.board import Row, Section, Summary
from suite.report.units import number, unit

FLOOR_TITLES = {"majority": "Floor: majority", "blind": "Floor: no image"}
NONE = "\N{EN DASH}"


@dataclass(frozen=True)
class Entry:
    """One place of the table: text, half-width behind a plus-minus, what stands behind an arrow (left out where there is little
    room), bold, footnote letters, and what the CSV gets for it."""

    text: str
    half: str | None = None
    then: str | None = None
    bold: bool = False
    marks: tuple[str, ...] = ()
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Head:
    """A column's heading. spare: left out where there is little room, the highest first; 0 stays."""

    title: str
    unit: str = ""
    spare: int = 0


@dataclass
class Table:
    """heads and rows of equal length; floors are rows below a rule; notes by letter; legend says how to read it."""

    caption: str
    legend: str
    heads: list[Head]
    rows: list[list[Entry]]
    floors: list[list[Entry]]
    notes: dict[str, str]


class _Notes:
    """Footnotes in the order of their first use; equal texts share a letter."""

    def __init__(self) -> None:
        self.letters: dict[str, str] = {}

    def mark(self, text: str) -> str:
        count = len(self.letters)
        letter = chr(97 + count) if count < 26 else f"{chr(96 + count // 26)}{chr(97 + count % 26)}"
        return self.letters.setdefault(text, letter)


def build(section: Section, profile: str) -> Table:
    """The table of one backbone: method, parameters, extra MACs, latency, each task, average; floors underneath."""
    notes = _Notes()
    costs = [row.costs for row in section.rows if row.costs]
    params, macs = unit(c.trainable for c in costs), unit(c.extra_macs for c in costs)
    heads = [
        Head("Method"),
        Head("Trained", f"{params[1]} params".strip()),
        Head("Extra MACs", macs[1] or "1"),
        Head("Batch 1", "ms", spare=1),
        Head("Batch 32", "ms", spare=2),
        Head("Memory", "MiB", spare=3),
        *(Head(c.task, c.metric) for c in section.columns),
        Head("Average"),
    ]
    rows = [
        [
            Entry(row.title, data={"method": row.method, "title": row.title}),
            *_costs(row, params[0], macs[0]),
            *(_cell(row.cells.get(c.task), c.task, notes) for c in section.columns),
            _cell(row.average, "average", notes),
        ]
        for row in section.rows
    ]
    letters = {letter: text for text, letter in notes.letters.items()}
    return Table(f"{section.backbone}, profile {profile}", _legend(section), heads, rows, _floors(section), letters)


def _costs(row: Row, params: float, macs: float) -> list[Entry]:
    """Parameters, extra MACs, the two latencies and memory; "?" where they were not measured."""
    c = row.costs
    names = ("trainable", "trainable_all", "total", "macs", "extra_macs", "macs_merged")
    data = {name: getattr(c, name) if c else None for name in names}
    first = Entry(number(c.trainable / params) if c else "?", data={n: data[n] for n in names[:3]})
    second = Entry(number(c.extra_macs / macs) if c else "?", data={n: data[n] for n in names[3:]})
    peak = c.peak_memory if c else None
    memory = Entry("?" if peak is None else number(peak / 2**20), data={"peak_memory": peak})
    return [first, second, _latency(row, "1"), _latency(row, "32"), memory]


def _latency(row: Row, size: str) -> Entry:
    """Median of one pass; behind an arrow the same with the method folded into the weights."""
    found = {kind: getattr(row.costs, kind, {}).get(size) for kind in ("unmerged", "merged")}
    text = number(found["unmerged"].median) if found["unmerged"] else "?"
    then = number(found["merged"].median) if found["merged"] else None
    data = {f"ms_{size}_{kind}{end}": getattr(at, key, None) for kind, at in found.items() for key, end in _ENDS}
    return Entry(text, then=then, data=data)


_ENDS = (("median", ""), ("low", "_low"), ("high", "_high"))


def _cell(cell: Summary | None, name: str, notes: _Notes) -> Entry:
    """Mean and half-width, or the word for why there is none; every incomplete one carries a footnote."""
    cell = cell or Summary(status="n/a", reason="not planned")
    keys = ("mean", "half", "n", "tied", "p", "status", "reason")
    data = {name if key == "mean" else f"{name} {key}": getattr(cell, key) for key in keys}
    data |= {f"{name} {metric}": value for metric, value in cell.metrics.items()}
    marks = (notes.mark(cell.why()),) if cell.status != "ok" else ()
    if cell.mean is None:
        return Entry(cell.status, marks=marks, data=data)
    half = None if cell.half is None else f"{cell.half:.1f}"
    return Entry(f"{cell.mean:.1f}", half, bold=cell.tied, marks=marks, data=data)


def _floors(section: Section) -> list[list[Entry]]:
    names = sorted({name for c in section.columns for name in c.floors})
    return [
        [
            Entry(FLOOR_TITLES.get(name, f"Floor: {name}"), data={"method": f"floor:{name}", "title": FLOOR_TITLES.get(name, name)}),
            *[Entry(NONE)] * 5,
            *(_floor(c.floors.get(name), c.task) for c in section.columns),
            _floor(section.floors.get(name), "average"),
        ]
        for name in names
    ]


def _floor(value: float | None, name: str) -> Entry:
    return Entry("n/a" if value is None else f"{value:.1f}", data={name: value, f"{name} status": "n/a" if value is None else "ok"})


def _seeds(section: Section) -> str:
    counts = sorted({len(cell.seeds) for row in section.rows for cell in row.cells.values()})
    return " to ".join(str(c) for c in dict.fromkeys((counts[0], counts[-1]))) if counts else "0"


def _legend(section: Section) -> str:
    return (
        f"Mean over {_seeds(section)} seeds, plus or minus half the 95 % interval (t). Bold: the best of its column, or"
        " not told apart from it (paired by example, clustered by image, Holm-corrected). Trained: the method's own parameters, without"
        " heads. Extra MACs: of one example, against the backbone with its head. Milliseconds: median of one pass; behind an arrow, with"
        " the method folded into the weights. Memory: what a training step takes at its peak beyond what was there before it. Average:"
        " plain mean over the tasks' headline metrics; that of retrieval is the mean of IR and TR R@1."
    )
