"""The HTML pages: one table by itself, and the static leaderboard. Self-contained: no script, no network."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from suite.board import Board, Claim
from suite.report import plot
from suite.report.details import details, doubts
from suite.report.details import titles as named
from suite.report.experiment import absences, titles
from suite.report.formats import html_escape
from suite.report.table import Table, build, published

_COLOURS = {
    plot.PAPER: "var(--paper)", plot.INK: "var(--ink)", plot.MUTED: "var(--muted)", plot.GRID: "var(--grid)",
    plot.FRONT: "var(--front)", plot.OTHER: "var(--other)",
}  # fmt: skip


@cache
def _environment() -> Environment:
    loader = PackageLoader("suite.report")
    made = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    made.globals["published"], made.filters["named"] = published, html_escape
    return made


def table_page(tables: Sequence[Table]) -> str:
    """A table, and the small ones that belong to it, as a page of their own."""
    return _environment().get_template("table.html.j2").render(tables=tables, title=tables[0].caption)


def index_page(board: Board, plots: Mapping[str, bytes], tables: Mapping[str, Table]) -> str:
    """The leaderboard. plots: by file name, `<backbone>-<kind>.svg` and, where there are samples, `<backbone>-<task>-samples.png`;
    tables: those of the papers, by experiment."""
    sections = []
    for i, section in enumerate(board.sections):
        drawn = {kind: inline(plots[f"{section.backbone}-{kind}.svg"].decode(), f"p{i}-{kind}") for kind in plot.KINDS}
        shown = [(kind, label, drawn[kind]) for kind, (_, label) in plot.KINDS.items()]
        page_tables = {"table": build(section, board.profile), "details": details(section, board.profile)}
        grids = [(c.task, name, plots[name]) for c in section.columns if (name := f"{section.grid(c.task)}.png") in plots]
        page_tables["grids"] = [(task, name, f"data:image/png;base64,{b64encode(png).decode()}") for task, name, png in grids]
        sections.append({"it": section, "plots": shown, "titles": named(section), "doubts": doubts(section), **page_tables})
    papers = [
        {"it": made, "table": tables.get(made.experiment.name), "titles": titles(made), "absences": absences(made)}
        for made in board.experiments
    ]
    template = _environment().get_template("index.html.j2")
    return template.render(board=board, sections=sections, papers=papers, by_task=by_task, title=f"petlbench, profile {board.profile}")


def by_task(claim: Claim) -> str:
    """The verdicts on the single tasks, or backbones, in few words."""
    kinds = list(dict.fromkeys(claim.by_task.values()))
    if len(kinds) < 2:
        return f"all {len(claim.by_task)}: {kinds[0]}" if kinds else "none"
    return "; ".join(f"{kind}: {', '.join(t for t, v in claim.by_task.items() if v == kind)}" for kind in kinds)


def inline(svg: str, prefix: str) -> Markup:
    """A plot to stand within a page: no prologue, ids of its own, colours that follow the page's."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r'\bid="', f'id="{prefix}-', svg)
    svg = re.sub(r'href="#', f'href="#{prefix}-', svg).replace("url(#", f"url(#{prefix}-")
    for colour, variable in _COLOURS.items():
        svg = svg.replace(colour, variable)
    return Markup(re.sub(r'<svg([^>]*?) width="[^"]*"| height="[^"]*pt"', lambda m: f"<svg{m[1]}" if m[1] is not None else "", svg))
