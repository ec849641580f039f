"""Published cost figures beside what gives their digits, in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from suite.report.formats import markdown_escape
from suite.report.reported import SCALES, Figure
from suite.report.units import MINUS

if TYPE_CHECKING:
    from suite.audit import Audit

HEAD = """# Published costs, counted again

Parameters and multiply-accumulates at the papers' sizes and sequence lengths, counted without weights (`petlbench cost --published`).
*Counted* is the method's own parameters, of full tuning the model's without a head, and the MACs of matrix products alone. *Given by* names
every convention that rounds to the published digits. Of parameters these are the method's own and, for LaVIN, with what it always trains;
of MACs the matrix products, alone or with one kind of term more, and the method folded into the weights; of an abstract's percentages
quotients of either, or of the published figures. *None* means that no convention does; below the table stands all that was tried. Each term
is counted for every method, none was chosen to hit a figure. The published figures are not of one convention: bias adds belong to ViLT's
adapter and not to METER's.

| Backbone | Method | Figure | Published | Counted | Given by |
| :-- | :-- | :-- | --: | --: | :-- |"""


def audited(audits: Sequence[Audit]) -> str:
    """A table, and below it a list of the figures that nothing gives."""
    lines = [HEAD, *map(_row, audits), ""]
    open_ones = [audit for audit in audits if not audit.gives]
    if open_ones:
        lines += ["## What no convention gives", "", *map(_tried, open_ones), ""]
    return "\n".join(lines)


def _row(audit: Audit) -> str:
    figure, plain = audit.figure, next(iter(audit.counts.values()))
    given = [f"{name} ({_shown(audit.counts[name], figure)})" for name in audit.gives]
    shown = "" if figure.table == "abstract" else _shown(plain, figure)
    cells = [markdown_escape(cell) for cell in (figure.backbone, figure.method, figure.metric, figure.text, shown, "; ".join(given))]
    return f"| {' | '.join(cells[:-1])} | {cells[-1] or '**none**'} |"


def _tried(audit: Audit) -> str:
    figure, all_counts = audit.figure, audit.counts | audit.tried
    told = "; ".join(f"{name}: {_shown(count, figure)}" for name, count in all_counts.items())
    named = markdown_escape(f"{figure.backbone}, {figure.method}, {figure.metric}: {figure.text}")
    return f"- **{named}.** {markdown_escape(told)}."


def _shown(count: float, figure: Figure) -> str:
    """One or two decimals more than were printed, so that rounding shows."""
    decimals = len(figure.value.partition(".")[2]) + 1
    return f"{count / SCALES.get(figure.unit, 1.0):.{decimals}f} {figure.unit}".replace("-", MINUS)
