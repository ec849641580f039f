"""The leaderboard in a terminal."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from suite.board import Board, Section
from suite.report.details import doubts
from suite.report.experiment import absences
from suite.report.table import Entry, Table, build
from suite.report.units import MINUS

if TYPE_CHECKING:
    from suite.inventory import Sizes

STYLES = {"reproduced": "green", "higher": "yellow", "lower": "yellow", "failed": "red"}
PLAIN_WIDTH = 120
LONG = 9
MOST = 20


def print_board(board: Board, console: Console | None = None) -> None:
    """Print every backbone's table, claims and flags; without colour, 120 columns wide, where the output is not a terminal."""
    console = console_of(console)
    for section in board.sections:
        table = build(section, board.profile)
        console.print(Text(f"\n{table.caption}", style="bold"))
        console.print(_fitting(console, table))
        for letter, text in table.notes.items():
            console.print(Text(f"({letter}) {text}", style="dim"))
        for remark in table.remarks:
            console.print(Text(remark, style="dim"))
        console.print(Text("* best of its column, or not told apart from it (paired by example, Holm-corrected)", style="dim"))
        _claims(console, section)
        _flags(console, section)
    _papers(console, board)


def console_of(given: Console | None) -> Console:
    """The terminal; without colour, PLAIN_WIDTH columns wide, where the output is none."""
    console = given or Console(highlight=False)
    if not console.is_terminal:
        console.width = PLAIN_WIDTH
    return console


def print_sizes(rows: Sequence[Sizes], console: Console | None = None) -> None:
    """Print what methods cost, a line each, backbones apart."""
    console = console_of(console)
    grid = Grid(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)
    for i, title in enumerate(("backbone", "method", "trainable\nparameters", "total\nparameters", "MACs", "extra\nMACs")):
        grid.add_column(title, justify="right" if i > 1 else "left", vertical="bottom", no_wrap=True)
    for row, following in zip_longest(rows, rows[1:]):
        last = following is None or following.backbone != row.backbone
        grid.add_row(*row[:2], *(f"{count:,}".replace("-", MINUS) for count in row[2:]), end_section=last)
    console.print(grid)


def _fitting(console: Console, table: Table) -> Grid:
    """The fullest table that fits: without batch 32, then without latencies, then without half-widths."""
    options = [_grid(table, spare, halves) for spare, halves in ((2, True), (1, True), (0, True), (0, False))]
    unlimited = console.options.update(width=10_000)
    return next((grid for grid in options if console.measure(grid, options=unlimited).maximum <= console.width), options[-1])


def _grid(table: Table, spare: int, halves: bool) -> Grid:
    kept = [i for i, head in enumerate(table.heads) if head.spare <= spare]
    grid = Grid(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)
    for i in kept:
        title = table.heads[i].title
        title = re.sub("(?<=-)| ", "\n", title, count=1) if len(title) > LONG else title
        grid.add_column(Text("\n".join(filter(None, (title, table.heads[i].unit)))), justify="right" if i else "left", vertical="bottom")
    for row in table.rows:
        grid.add_row(*(_show(row[i], halves) for i in kept))
    floors = [row for block in table.blocks for row in block.floors]
    if table.rows and floors:
        grid.add_section()
    for row in floors:
        grid.add_row(*(Text(row[i].text, style="dim italic") for i in kept))
    return grid


def _show(entry: Entry, halves: bool) -> Text:
    """Bold and a star: the star also where nothing is bold."""
    text = Text(entry.text, style="bold" if entry.bold else "")
    if entry.half and halves:
        text.append(f" ±{entry.half}", style="not bold dim")
    text.append("*" if entry.bold else "")
    if entry.marks:
        text.append(f"({','.join(entry.marks)})", style="not bold dim")
    elif entry.half and not entry.bold:
        text.append(" ")  # keeps the digits of bold and plain entries in line
    return text


def _claims(console: Console, section: Section) -> None:
    if not section.claims:
        return
    titles = {row.method: row.title for row in section.rows}
    console.print(Text("\nClaims", style="bold"))
    grid = Grid.grid(padding=(0, 2, 0, 0))
    for claim in section.claims:
        verdict = Text(claim.verdict, style=STYLES.get(claim.verdict, ""))
        grid.add_row(verdict, Text(titles.get(claim.method, claim.method)), Text(f"{claim.text}: {claim.detail}"))
    console.print(grid)


def _papers(console: Console, board: Board) -> None:
    """What became of each paper's table: its backbones, and how many claims had which verdict."""
    console.print(Text("\nThe papers' tables", style="bold"))
    grid = Grid.grid(padding=(0, 2, 0, 0))
    for made in board.experiments:
        counts = Counter(claim.verdict for claim in made.claims)
        judged = f"claims: {', '.join(f'{n} {verdict}' for verdict, n in counts.items())}" if counts else "no claims"
        here = f"{', '.join(section.backbone for section in made.sections)}; {judged}"
        grid.add_row(Text(made.experiment.name), Text(here if made.sections else " ".join(absences(made))))
    console.print(grid)


def _flags(console: Console, section: Section) -> None:
    found = doubts(section)
    if not found:
        return
    console.print(Text("\nFlags", style="bold"))
    grid = Grid.grid(padding=(0, 2, 0, 0))
    for doubt in found[:MOST]:
        grid.add_row(Text(doubt.kind, style=STYLES.get(doubt.kind, "yellow")), *map(Text, doubt[1:]))
    console.print(grid)
    if len(found) > MOST:
        console.print(Text(f"and {len(found) - MOST} more, on the page", style="dim"))
