"""What stands beside a leaderboard: what a task measures besides its headline (recalls, kinds of questions), and the doubts."""

from __future__ import annotations

import re
from typing import NamedTuple

from suite.board import Column, Measured, Section
from suite.report.table import NONE, Block, Entry, Head, Table
from suite.report.units import label


def details(section: Section, profile: str) -> list[Table]:
    """A table for each task with further metrics (percent, mean over seeds); methods without a result on it are left out."""
    tables = [_table(section, column) for column in section.columns]
    for table in tables:
        table.caption = f"{section.backbone}, profile {profile}: {table.caption}"
    return [table for table in tables if len(table.heads) > 2]


class Doubt(NamedTuple):
    """A flag; method: its title."""

    kind: str
    method: str
    tasks: str
    text: str


def doubts(section: Section) -> list[Doubt]:
    """The section's flags, those that differ in nothing but the task as one."""
    named, tasks = titles(section), dict[tuple[str, str, str], list[str]]()
    for flag in section.flags:
        tasks.setdefault((flag.kind, flag.method, flag.text), []).append(flag.task or "all")
    return [Doubt(kind, named.get(method, method), ", ".join(found), text) for (kind, method, text), found in tasks.items()]


def titles(section: Section) -> dict[str, str]:
    """Of all its methods."""
    return {row.method: row.title for row in section.rows} | {r.method: r.title for r in section.not_applicable}


def _table(section: Section, column: Column) -> Table:
    found = [(cell.mean, row.title, cell) for row in section.rows if (cell := row.cells.get(column.task)) and cell.mean is not None]
    names = sorted({name for _, _, cell in found for name in cell.metrics}, key=_order)
    heads = [Head("Method"), *(Head(label(name), "%") for name in names), Head(label(column.metric), "%")]
    rows = [
        [Entry(title), *(measured(cell.metrics.get(name)) for name in names), measured(Measured(mean=mean, half=cell.half))]
        for mean, title, cell in sorted(found, key=lambda it: -it[0])
    ]
    return Table(column.task, "Mean over seeds, plus or minus half the 95 % interval (t), best first.", heads, [Block("", rows)])


def measured(found: Measured | None) -> Entry:
    """Mean and half-width; a dash where there is nothing."""
    return Entry(NONE) if found is None else Entry(f"{found.mean:.1f}", None if found.half is None else f"{found.half:.1f}")


def _order(name: str) -> list[str | int]:
    """Numbers by size: R@5 comes before R@10."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]
