"""Every file of the report, from one board."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from suite.board import Board
from suite.report.details import details
from suite.report.formats import to_csv, to_latex, to_markdown
from suite.report.page import index_page, table_page
from suite.report.plot import KINDS, pareto_plot
from suite.report.table import build
from suite.store import write_atomic


def render(board: Board) -> dict[str, bytes]:
    """Every file of the report by name: per backbone .md .tex .csv .html and the two plots, then index.html and metrics.json.
    The same board gives the same bytes."""
    files: dict[str, bytes] = {}
    for section in board.sections:
        name, table = section.backbone, build(section, board.profile)
        tables = [table, *details(section, board.profile)]
        texts = {"md": "\n".join(map(to_markdown, tables)), "tex": "\n".join(map(to_latex, tables))}
        texts |= {"csv": to_csv(table), "html": table_page(tables)}
        files |= {f"{name}.{ending}": text.encode() for ending, text in texts.items()}
        for kind in KINDS:
            drawn = pareto_plot(section, kind, board.profile)
            files |= {f"{name}-{kind}.{ending}": content for ending, content in drawn.items()}
    files["index.html"] = index_page(board, {name: files[name].decode() for name in files if name.endswith(".svg")}).encode()
    files["metrics.json"] = json.dumps(metrics(board), indent=1, sort_keys=True, allow_nan=False).encode() + b"\n"
    return files


def write(board: Board, folder: Path) -> list[Path]:
    """Write the report; returns its files. Raises UserError where the folder cannot be written."""
    paths = []
    for name, content in render(board).items():
        write_atomic(folder / name, content)
        paths.append(folder / name)
    return paths


def metrics(board: Board) -> dict[str, Any]:
    """Means by backbone, method and task, with the average and the costs, for `dvc metrics`; what is not there is left out."""
    out: dict[str, Any] = {}
    for section in board.sections:
        for row in section.rows:
            means = {task: cell.mean for task, cell in row.cells.items() if cell.mean is not None}
            if row.average.mean is not None:
                means["average"] = row.average.mean
            if row.costs:
                means |= {"trainable": row.costs.trainable, "extra_macs": row.costs.extra_macs}
            if means:
                out.setdefault(section.backbone, {})[row.method] = means
    return out
