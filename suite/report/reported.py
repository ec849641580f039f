"""The published figures of results/reported: one CSV a paper, every line with its source."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from suite.errors import UserError
from suite.record import Strict
from suite.report.units import MINUS

FOLDER = Path("results/reported")
SCALES = {"M": 1e6, "G": 1e9, "s": 1e3}
"""Of units into those of the report's CSV files: parameters, MACs, milliseconds."""

Said = Annotated[str, Field(min_length=1)]


class Figure(Strict):
    """One published figure. value: as it was printed, digits and sign included; source: where it was read."""

    paper: Said
    table: Said
    backbone: Said
    task: Said
    split: Said
    metric: Said
    method: Said
    value: Annotated[str, Field(pattern=r"^[+-]?\d+(\.\d+)?$")]
    unit: Literal["%", "points", "M", "G", "s", "h", "GB", "x"]
    source: Said

    @property
    def number(self) -> float:
        """In base units: parameters, MACs, milliseconds, percent."""
        return float(self.value) * SCALES.get(self.unit, 1.0)

    def given_by(self, count: float) -> bool:
        """Is the count, in base units, what was printed, to as many decimals?"""
        decimals = len(self.value.partition(".")[2])
        return f"{count / SCALES.get(self.unit, 1.0):.{decimals}f}" == self.value.removeprefix("+")

    @property
    def text(self) -> str:
        """As printed, with a true minus sign and its unit."""
        return f"{self.value.replace('-', MINUS)} {self.unit}"


Place = tuple[str, str, str, str, str, str]
"""(paper, table, backbone, task, metric, method) of a figure."""


def place(figure: Figure) -> Place:
    """What tells a figure from every other one."""
    return figure.paper, figure.table, figure.backbone, figure.task, figure.metric, figure.method


def read(folder: Path = FOLDER) -> dict[Place, Figure]:
    """All figures of the folder's CSV files, in their order; none where there is no folder.

    Raises UserError naming file and line where a file is damaged or a figure stands there twice.
    """
    found: dict[Place, Figure] = {}
    for path in sorted(folder.glob("*.csv")):
        for line, row in _rows(path):
            figure = _figure(row, f"{path}, line {line}")
            if found.setdefault(place(figure), figure) is not figure:
                raise UserError(f"{path}, line {line}: this figure stands in results/reported twice: {', '.join(place(figure))}")
    return found


def _rows(path: Path) -> Iterable[tuple[int, Mapping[str, str | None]]]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file, strict=True)
            rows = [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} is damaged: {error}") from error
    if list(reader.fieldnames or []) != list(Figure.model_fields):
        raise UserError(f"{path} is damaged: its columns are not {', '.join(Figure.model_fields)}")
    return rows


def _figure(row: Mapping[str, str | None], where: str) -> Figure:
    try:
        return Figure.model_validate(row)
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(f"{where}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
