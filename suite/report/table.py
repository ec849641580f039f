"""The one table that every format is made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from suite.board import Refusal, Row, Section, Summary, TaskCosts
from suite.report.units import label, number, unit

FLOOR_TITLES = {"majority": "Floor: majority", "blind": "Floor: no image"}
NONE = "\N{EN DASH}"
COSTS_LEGEND = (
    "Trained: the method's own parameters, without heads. Extra MACs: of one example, against the backbone with its head. Milliseconds:"
    " median of one pass; behind an arrow, with the method folded into the weights."
)


@dataclass(frozen=True)
class Entry:
    """One place of the table: text, half-width behind a plus-minus, what stands behind an arrow (left out where there is little
    room), bold, footnote letters, and what the CSV gets for it. published: what a second line under the row has here."""

    text: str
    half: str | None = None
    then: str | None = None
    bold: bool = False
    marks: tuple[str, ...] = ()
    data: dict[str, Any] = field(default_factory=dict)
    published: Entry | None = None


@dataclass(frozen=True)
class Head:
    """A column's heading. spare: left out where there is little room, the highest first; 0 stays."""

    title: str
    unit: str = ""
    spare: int = 0


@dataclass
class Block:
    """Rows that belong together, under a title where the table has several; floors stand below a rule."""

    title: str
    rows: list[list[Entry]]
    floors: list[list[Entry]] = field(default_factory=list)


@dataclass
class Table:
    """heads and rows of equal length; notes by letter; remarks: lines of their own below; legend says how to read it.

    unshown: what only the CSV has: methods that do not apply.
    """

    caption: str
    legend: str
    heads: list[Head]
    blocks: list[Block]
    notes: dict[str, str] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    unshown: list[dict[str, Any]] = field(default_factory=list)

    @property
    def rows(self) -> list[list[Entry]]:
        """Those of all blocks."""
        return [row for block in self.blocks for row in block.rows]


class Notes:
    """Footnotes in the order of their first use; equal texts share a letter."""

    def __init__(self) -> None:
        self._letters: dict[str, str] = {}

    def mark(self, text: str) -> str:
        count = len(self._letters)
        letter = chr(97 + count) if count < 26 else f"{chr(96 + count // 26)}{chr(97 + count % 26)}"
        return self._letters.setdefault(text, letter)

    @property
    def texts(self) -> dict[str, str]:
        """By letter."""
        return {letter: text for text, letter in self._letters.items()}


def build(section: Section, profile: str) -> Table:
    """The table of one backbone: method, parameters, extra MACs, latency, memory, each task, the average of several; floors underneath."""
    notes, units, several = Notes(), Units.of([section]), len(section.columns) > 1
    heads = [*units.heads(), Head("Memory", "MiB", spare=3), *(Head(c.task, label(c.metric)) for c in section.columns)]
    heads += [Head("Average")] if several else []
    rows = [
        [
            name(row, notes), *units.costs(row.costs), _memory(row.costs),
            *(cell(row.cells.get(c.task), c.task, notes) for c in section.columns),
            *([cell(row.average, "average", notes)] if several else []),
        ]
        for row in section.rows
    ]  # fmt: skip
    return Table(
        f"{section.backbone}, profile {profile}", _legend(section), heads, [Block("", rows, _floors(section))], notes.texts,
        refusals(section), [unshown(refusal, section) for refusal in section.not_applicable],
    )  # fmt: skip


def name(row: Row, notes: Notes) -> Entry:
    """The first entry of a method's row."""
    marks = (notes.mark("control of a search: stands beside it, in no test against the best"),) if row.control else ()
    return Entry(row.title, marks=marks, data={"method": row.method, "title": row.title})


def published(row: Sequence[Entry]) -> list[list[Entry]]:
    """The line that goes under a row, where something of it was published."""
    return [[entry.published or Entry(NONE) for entry in row]] if any(entry.published for entry in row) else []


def refusals(section: Section) -> list[str]:
    """Which methods do not apply and why, a line for each reason. Titles have commas of their own."""
    titles: dict[str, list[str]] = {}
    for refusal in section.not_applicable:
        titles.setdefault(refusal.reason, []).append(refusal.title)
    return [f"Not applicable: {'; '.join(names)}. Reason: {reason}." for reason, names in titles.items()]


def unshown(refusal: Refusal, section: Section) -> dict[str, Any]:
    """What the CSV has of a method that does not apply."""
    tasks = {f"{c.task} {key}": value for c in section.columns for key, value in (("status", "n/a"), ("reason", refusal.reason))}
    return {"method": refusal.method, "title": refusal.title, **tasks}


@dataclass(frozen=True)
class Units:
    """Divisor and letter of the columns of parameters and extra MACs."""

    params: tuple[float, str]
    macs: tuple[float, str]

    @classmethod
    def of(cls, sections: Sequence[Section]) -> Units:
        """Units that suit all rows of these sections."""
        costs = [row.costs for section in sections for row in section.rows if row.costs]
        return cls(unit(c.trainable for c in costs), unit(c.extra_macs for c in costs))

    def heads(self) -> list[Head]:
        return [
            Head("Method"), Head("Trained", f"{self.params[1]} params".strip()), Head("Extra MACs", self.macs[1] or "1"),
            Head("Batch 1", "ms", spare=1), Head("Batch 32", "ms", spare=2),
        ]  # fmt: skip

    def costs(self, costs: TaskCosts | None) -> list[Entry]:
        """Parameters, extra MACs and the two latencies; "?" where they were not measured."""
        names = ("trainable", "trainable_all", "total", "macs", "extra_macs", "macs_merged")
        data = {name: getattr(costs, name) if costs else None for name in names}
        first = Entry(number(costs.trainable / self.params[0]) if costs else "?", data={n: data[n] for n in names[:3]})
        second = Entry(number(costs.extra_macs / self.macs[0]) if costs else "?", data={n: data[n] for n in names[3:]})
        return [first, second, _latency(costs, "1"), _latency(costs, "32")]


def _memory(costs: TaskCosts | None) -> Entry:
    peak = costs.peak_memory if costs else None
    return Entry("?" if peak is None else number(peak / 2**20), data={"peak_memory": peak})


def _latency(costs: TaskCosts | None, size: str) -> Entry:
    """Median of one pass; behind an arrow the same with the method folded into the weights."""
    found = {kind: getattr(costs, kind, {}).get(size) for kind in ("unmerged", "merged")}
    text = number(found["unmerged"].median) if found["unmerged"] else "?"
    then = number(found["merged"].median) if found["merged"] else None
    data = {f"ms_{size}_{kind}{end}": getattr(at, key, None) for kind, at in found.items() for key, end in _ENDS}
    return Entry(text, then=then, data=data)


_ENDS = (("median", ""), ("low", "_low"), ("high", "_high"))


def cell(found: Summary | None, name: str, notes: Notes) -> Entry:
    """Mean and half-width, or the word for why there is none; every incomplete one carries a footnote."""
    found = found or Summary(status="missing", reason="missing: not in this grid")
    keys = ("mean", "half", "n", "tied", "p", "status", "reason")
    data = {name if key == "mean" else f"{name} {key}": getattr(found, key) for key in keys}
    data |= {f"{name} {metric}": at.mean for metric, at in found.metrics.items()}
    marks = (notes.mark(found.why()),) if found.status != "ok" else ()
    if found.mean is None:
        return Entry(found.status, marks=marks, data=data)
    half = None if found.half is None else f"{found.half:.1f}"
    return Entry(f"{found.mean:.1f}", half, bold=found.tied, marks=marks, data=data)


def _floors(section: Section) -> list[list[Entry]]:
    names = sorted({name for c in section.columns for name in c.floors})
    return [
        [
            Entry(FLOOR_TITLES.get(name, f"Floor: {name}"), data={"method": f"floor:{name}", "title": FLOOR_TITLES.get(name, name)}),
            *[Entry(NONE)] * 5,
            *(_floor(c.floors.get(name), c.task) for c in section.columns),
            *([_floor(section.floors.get(name), "average")] if len(section.columns) > 1 else []),
        ]
        for name in names
    ]


def _floor(value: float | None, name: str) -> Entry:
    return Entry("n/a" if value is None else f"{value:.1f}", data={name: value, f"{name} status": "n/a" if value is None else "ok"})


def _seeds(section: Section) -> str:
    counts = sorted({len(cell.seeds) for row in section.rows for cell in row.cells.values()})
    return " to ".join(str(c) for c in dict.fromkeys((counts[0], counts[-1]))) if counts else "0"


def _legend(section: Section) -> str:
    average = " Average: plain mean over the tasks' headline metrics." if len(section.columns) > 1 else ""
    recall = " Recall: mean of IR and TR R@1." if any(c.metric == "recall" for c in section.columns) else ""
    return (
        f"Mean over {_seeds(section)} seeds, plus or minus half the 95 % interval (t). Bold: the best of its column, or"
        f" not told apart from it (paired by example, clustered by image, Holm-corrected). {COSTS_LEGEND} Memory: what a training step"
        f" takes at its peak beyond what was there before it.{average}{recall}"
    )
