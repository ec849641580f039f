"""What cells of the papers' size need, in a terminal: files, recipe, memory, hours."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from suite.report.terminal import console_of

if TYPE_CHECKING:
    from suite.inventory import Item
    from suite.needs import Need

HEADS = ("method", "trained\nparameters", "learning\nrate", "batch", "at\nonce", "updates", "memory,\nGiB", "hours", "examples\nthat fit")
GIB = 2**30
RECKONED = (
    "Memory: fp32 weights, gradients and moments of what is trained, and what a forward keeps. Hours: of one seed on one GPU at {rates}, an"
    " assumption and no measurement; reading pictures not counted."
)


def print_needs(found: Iterable[tuple[Item, Need | str]], files: dict[tuple[str, str], Sequence[tuple[str, str | None]]], seeds: int,
                room: int | None, rates: str, console: Console | None = None) -> None:  # fmt: skip
    """A block for each backbone and task. files: of it, see suite.needs.files. room: bytes of the GPU here (None: there is none)."""
    console = console_of(console)
    for (backbone, task), cells in groupby(found, lambda pair: (pair[0].backbone, pair[0].task)):
        needs = list(cells)
        console.print(Text(f"\n{backbone} on {task}", style="bold"))
        for name, lack in files[backbone, task]:
            console.print(Text(f"{name}: {'there' if lack is None else f'missing: {lack}'}", style="" if lack is None else "yellow"))
        console.print(_grid([need for _, need in needs if not isinstance(need, str)], room))
        for reason in dict.fromkeys(need for _, need in needs if isinstance(need, str)):
            names = ", ".join(item.method for item, need in needs if need == reason)
            console.print(Text(f"not run: {names}: {reason}", style="dim"))
    console.print(Text(f"\n{seeds} seed{'s' if seeds > 1 else ''} each. {RECKONED.format(rates=rates)}", style="dim"))


def _grid(needs: Sequence[Need], room: int | None) -> Grid:
    grid = Grid(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)
    for i, title in enumerate(HEADS if room else HEADS[:-1]):
        grid.add_column(title, justify="right" if i else "left", vertical="bottom", no_wrap=True)
    for need in needs:
        hours = f"{need.hours:.1f}" if need.hours < 100 else f"{need.hours:,.0f}"
        cells = [need.item.method, f"{need.trainable:,}", f"{need.lr:g}", f"{need.batch_size} x {need.epochs}", str(need.micro_batch),
                 f"{need.updates:,}", f"{need.memory / GIB:.1f}", hours]  # fmt: skip
        grid.add_row(*cells, *([str(need.fitting(room))] if room else []))
    return grid
