"""Every file of the report, from one board."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from suite.board import Board, Section
from suite.report import reported
from suite.report.details import details
from suite.report.experiment import absences, reproduced, verdicts
from suite.report.formats import markdown_escape, to_csv, to_latex, to_markdown
from suite.report.page import index_page, table_page
from suite.report.plot import KINDS, pareto_plot
from suite.report.samples import Shown, picture
from suite.report.table import Table, build
from suite.store import write_atomic


def render(board: Board, figures: Mapping[reported.Place, reported.Figure] | None = None,
           shown: Mapping[str, Shown] | None = None) -> dict[str, bytes]:  # fmt: skip
    """Every file of the report by name: per backbone .md .tex .csv .html, the two plots and its grids of samples, the papers' tables as
    .md .tex .csv, then index.html, claims.csv and metrics.json. figures: the published ones; shown: the samples by `Section.grid`. The
    same input gives the same bytes."""
    files: dict[str, bytes] = {}
    for section in board.sections:
        files |= _backbone(section, board.profile, shown or {})
    tables = paper_tables(board, figures or {})
    files |= papers(board, tables)
    plots = {name: content for name, content in files.items() if name.endswith((".svg", ".png"))}
    files["index.html"] = index_page(board, plots, tables).encode()
    files["claims.csv"] = claims_csv(board).encode()
    files["metrics.json"] = json.dumps(metrics(board), indent=1, sort_keys=True, allow_nan=False).encode() + b"\n"
    return files


def paper_tables(board: Board, figures: Mapping[reported.Place, reported.Figure]) -> dict[str, Table]:
    """The papers' tables of which something is there, by experiment."""
    return {made.experiment.name: reproduced(made, board.profile, figures) for made in board.experiments if made.sections}


def papers(board: Board, tables: Mapping[str, Table]) -> dict[str, bytes]:
    """Their files; a table of which nothing is there is a line that says so."""
    files: dict[str, str] = {}
    for made in board.experiments:
        name, table = made.experiment.name, tables.get(made.experiment.name)
        if table is None:
            files[f"{name}.md"] = "\n\n".join([f"### {made.experiment.title}", *absences(made), ""])
        else:
            texts = {"md": "\n".join([to_markdown(table), verdicts(made)]), "tex": to_latex(table), "csv": to_csv(table)}
            files |= {f"{name}.{ending}": text for ending, text in texts.items()}
    return {name: text.encode() for name, text in files.items()}


def _backbone(section: Section, profile: str, shown: Mapping[str, Shown]) -> dict[str, bytes]:
    name, table = section.backbone, build(section, profile)
    tables = [table, *details(section, profile)]
    grids = {task: section.grid(task) for task in (column.task for column in section.columns) if section.grid(task) in shown}
    pictures = [f"![Samples of {markdown_escape(task)}]({grid}.png)\n" for task, grid in grids.items()]
    texts = {"md": "\n".join([*map(to_markdown, tables), *pictures]), "tex": "\n".join(map(to_latex, tables))}
    texts |= {"csv": to_csv(table), "html": table_page(tables)}
    files = {f"{name}.{ending}": text.encode() for ending, text in texts.items()}
    files |= {f"{grid}.png": picture(shown[grid]) for grid in grids.values()}
    for kind in KINDS:
        drawn = pareto_plot(section, kind, profile)
        files |= {f"{name}-{kind}.{ending}": content for ending, content in drawn.items()}
    return files


def claims_csv(board: Board) -> str:
    """One line per claim of the leaderboard (`table` is the backbone) and of the papers' tables (the experiment)."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["table", "method", "claim", "verdict", "measured", "in parts", "source"])
    stated = [(s.backbone, claim) for s in board.sections for claim in s.claims]
    stated += [(made.experiment.name, claim) for made in board.experiments for claim in made.claims]
    for table, claim in stated:
        parts = "; ".join(f"{part}: {verdict}" for part, verdict in claim.by_task.items())
        writer.writerow([table, claim.method, claim.text, claim.verdict, claim.detail, parts, claim.source])
    return out.getvalue()


def write(board: Board, folder: Path, shown: Mapping[str, Shown] | None = None) -> list[Path]:
    """Write the report; returns its files. Raises UserError where the folder cannot be written or published figures are damaged."""
    paths = []
    for name, content in render(board, reported.read(), shown).items():
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
