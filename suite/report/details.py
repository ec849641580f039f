"""The small tables of what a task measures beside its headline: retrieval's recalls."""

from __future__ import annotations

import re

from suite.board import Column, Section
from suite.report.table import NONE, Entry, Head, Table


def details(section: Section, profile: str) -> list[Table]:
    """A table for each task with further metrics (percent, mean over seeds); methods without a result on it are left out."""
    tables = [_table(section, column) for column in section.columns]
    for table in tables:
        table.caption = f"{section.backbone}, profile {profile}: {table.caption}"
    return [table for table in tables if len(table.heads) > 2]


def _table(section: Section, column: Column) -> Table:
    cells = {row.title: cell for row in section.rows if (cell := row.cells.get(column.task)) and cell.mean is not None}
    names = sorted({name for cell in cells.values() for name in cell.metrics}, key=_order)
    heads = [Head("Method"), *(Head(_title(name), "%") for name in names), Head(column.metric, "%")]
    rows = [
        [Entry(title), *(_entry(cell.metrics.get(name)) for name in names), _entry(cell.mean)]
        for title, cell in sorted(cells.items(), key=lambda item: -(item[1].mean or 0.0))
    ]
    return Table(column.task, "Mean over seeds, best first.", heads, rows, [], {})


def _entry(value: float | None) -> Entry:
    return Entry(NONE if value is None else f"{value:.1f}")


def _order(name: str) -> list[str | int]:
    """Numbers by size: R@5 comes before R@10."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def _title(name: str) -> str:
    """ir_r1 -> IR R@1: image retrieval and text retrieval, as papers print them."""
    found = re.fullmatch(r"([it]r)_r(\d+)", name)
    return f"{found[1].upper()} R@{found[2]}" if found else name
