"""What rows of a real dataset may lack: said in one line, instead of an error in the middle of a training."""

from __future__ import annotations

from typing import Any

from suite.errors import UserError


def checked(where: str, rows: dict[str, list[Any]], pictures: tuple[str, ...], texts: bool = True) -> dict[str, list[Any]]:
    """The columns of a split (see Reader), as they are. where: how to call it, as `nlvr/train`. texts: do rows have any?

    Raises UserError for columns of unequal lengths, no rows, a row without picture, an empty text, and one label for all rows.
    """
    lengths = {column: len(cells) for column, cells in rows.items()}
    if len(set(lengths.values())) > 1:
        raise UserError(f"{where}: columns of unequal lengths, {', '.join(f'{n:,} {column}' for column, n in lengths.items())}")
    if not rows["text"]:
        raise UserError(f"{where} has no rows")
    for column in pictures:
        _all_there(f"{where}: no picture in {column}", rows[column])
    if texts:
        _all_there(f"{where}: an empty text", [text and text.strip() for text in rows["text"]])
    if len(set(rows.get("label", [0, 1]))) == 1:
        raise UserError(f"{where}: all {lengths['text']:,} rows have one label, {rows['label'][0]}; there is nothing to tell apart")
    return rows


def _all_there(lack: str, cells: list[Any]) -> None:
    empty = [i for i, cell in enumerate(cells) if not cell]
    if empty:
        raise UserError(f"{lack} of row {empty[0]} ({len(empty):,} such rows)")
