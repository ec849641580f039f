"""Published cost figures held against what is counted at the papers' sizes: which convention gives their digits; papers.md sections 6, 7.

Nothing is added to hit a figure: every convention of suite/conventions.py is counted, and those that round to the published digits are
named. Of a figure that none gives, variants are counted too: the method made otherwise, other parts of the model, other figures compared.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from suite import variants
from suite.counts import Counts, extra, trained
from suite.experiments import APT_MAIN, DAS_SCIENCE, Place
from suite.report.reported import Figure

SKIPPED = {"DAS2-7B": 2, "DAS4-7B": 4, "DAS6-7B": 6}


@dataclass(frozen=True)
class Audit:
    """A figure, its counts by convention, and, where none of them gives it, those of variants."""

    figure: Figure
    counts: Counts
    tried: Counts

    @property
    def gives(self) -> list[str]:
        """The conventions whose count has the published digits."""
        return [name for name, count in self.counts.items() if self.figure.given_by(count)]


def audits(figures: Iterable[Figure]) -> list[Audit]:
    """Of every published number of parameters and MACs that a method here has, and of the abstracts' changes, in their order."""
    figures = list(figures)
    found = []
    for figure in figures:
        counts = variants.of_abstract(figure, figures) if figure.table == "abstract" else _of_table(figure)
        if counts is not None:
            audit = Audit(figure, counts, {})
            found.append(audit if audit.gives else Audit(figure, counts, variants.of(figure)))
    return found


def _of_table(figure: Figure) -> Counts | None:
    """Of a figure in the tables of APT and of DAS on LaVIN; None for others."""
    for experiment in (APT_MAIN, DAS_SCIENCE):
        for place in experiment.places:
            if (figure.paper, figure.table, figure.backbone) == (experiment.paper, experiment.table, place.published):
                return _of_line(figure, place)
    return None


def _of_line(figure: Figure, place: Place) -> Counts | None:
    """None for what is no count: accuracies, seconds."""
    name = next((line.method for line in place.lines if line.published == figure.method), None)
    name, plan = ("das", {"skipped": list(range(SKIPPED[figure.method]))}) if figure.method in SKIPPED else (name, None)
    if name is None:
        return None
    if figure.metric == "updated parameters":
        return trained(name, place.backbone, plan)
    return extra(name, place.backbone) if figure.metric == "additional FLOPs" else None
