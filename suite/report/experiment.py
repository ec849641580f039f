"""A paper's table made anew: our figures, and under each row the published ones where there are any."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from suite.board import Reproduction, Row, Section, Summary
from suite.experiments import Experiment, Key, Line, Measure, Place
from suite.report.details import measured
from suite.report.formats import markdown_escape
from suite.report.reported import Figure
from suite.report.reported import Place as Where
from suite.report.table import COSTS_LEGEND, NONE, Block, Entry, Head, Notes, Table, Units, cell, name, refusals, unshown
from suite.report.units import MINUS, label

COSTS = ("trainable", "extra_macs", "ms")
"""The columns of costs for which figures are published; the last column of costs, batch 32, has none."""
SMALL = "at its model's size and on its data: levels do not compare, orders and ratios do"
FULL = (
    "behind its scores ours less theirs and a verdict: reproduced where the paper's lies within our 95 % interval. Which convention gives"
    " its costs is told in docs/paper-costs.md"
)


def reproduced(made: Reproduction, profile: str, figures: Mapping[Where, Figure]) -> Table:
    """The table of an experiment, a block for each backbone that is there; `remarks` name the others, and what else was published."""
    notes, units = Notes(), Units.of(made.sections)
    experiment = made.experiment
    headlines = {c.task: c.metric for section in made.sections for c in section.columns if c.metric}
    heads = [*units.heads(), *(_head(measure, headlines) for measure in experiment.measures)]
    heads += [Head("Average")] if len(experiment.tasks) > 1 else []
    places = {place.backbone: place for place in experiment.places}
    full = profile == "paper"
    parts = [_Part(experiment, places[section.backbone], section, units, notes, figures, full) for section in made.sections]
    blocks = [part.block() for part in parts]
    refused = [f"{s.backbone}: {line}" for s in made.sections for line in refusals(s)]
    unplanned = [line for part in parts for line in part.unplanned()]
    remarks = [*absences(made), *refused, *unplanned, *_sources(parts), *_besides(made, figures), *experiment.contradictions]
    left_out = [{"backbone": s.backbone} | unshown(refusal, s) for s in made.sections for refusal in s.not_applicable]
    legend = _legend(experiment, bool(figures), full)
    return Table(f"{experiment.title}, profile {profile}", legend, heads, blocks, notes.texts, remarks, left_out)


def absences(made: Reproduction) -> list[str]:
    """Which backbones of the paper's table have none here, a line for each reason."""
    backbones: dict[str, list[str]] = {}
    for backbone, reason in made.absent.items():
        backbones.setdefault(reason, []).append(backbone)
    return [f"Not here: {', '.join(names)}: {reason}." for reason, names in backbones.items()]


def verdicts(made: Reproduction) -> str:
    """The experiment's claims as a Markdown list."""
    named = titles(made)
    told = [(c.verdict, f"{named.get(c.method, c.method)}: {c.text} ({c.detail})") for c in made.claims]
    lines = [f"- **{verdict}**: {markdown_escape(text)}" for verdict, text in told]
    return "\n".join(["Claims:", "", *lines, ""]) if lines else ""


def titles(made: Reproduction) -> dict[str, str]:
    """The methods' titles."""
    return {row.method: row.title for section in made.sections for row in section.rows}


def _head(measure: Measure, headlines: Mapping[str, str]) -> Head:
    shown = label(measure.metric or headlines.get(measure.task, ""))
    return Head(measure.task, f"{shown}, {measure.dataset}" if shown else measure.dataset)


def _legend(experiment: Experiment, published: bool, full: bool) -> str:
    reason = experiment.unpublished if published else "there are no figures in results/reported"
    return (
        "Mean over seeds, plus or minus half the 95 % interval (t). Bold: the best of its column in the block, or not told apart from it,"
        f" by the task's headline metric and by the average. {COSTS_LEGEND} Under a task's name stands the data set whose"
        f" place it takes; lines marked published hold the paper's figures, {FULL if full else SMALL}. {experiment.note}Where nothing"
        f" published stands: {reason}."
    )


def _sources(parts: Sequence[_Part]) -> list[str]:
    """A line that says where the published figures of the table were read."""
    found = dict.fromkeys(source for part in parts for line in part.place.lines if (source := part.source(line)))
    return [f"Published figures: {'; '.join(found)}."] if found else []


def _besides(made: Reproduction, figures: Mapping[Where, Figure]) -> list[str]:
    """What the paper says elsewhere than in its table, a line each."""
    found = [f for f in figures.values() if (f.paper, f.table) in made.experiment.also]
    return [f"Published in the {f.table}: {f.metric}: {f.text} ({f.backbone}, {f.task}; {f.source})." for f in found]


@dataclass(frozen=True)
class _Part:
    """One backbone of an experiment."""

    experiment: Experiment
    place: Place
    section: Section
    units: Units
    notes: Notes
    figures: Mapping[Where, Figure]
    full: bool = False

    def block(self) -> Block:
        """The rows in the published order."""
        ours = {row.method: row for row in self.section.rows}
        rows = [self._line(line, ours.get(line.method or "")) for line in self.place.lines]
        return Block(f"{self.section.backbone} (published: {self.place.published})", [row for row in rows if row])

    def unplanned(self) -> list[str]:
        """A line that names the methods of the table that the grid leaves out."""
        there = {row.method for row in self.section.rows} | {refusal.method for refusal in self.section.not_applicable}
        left = [line.method for line in self.place.lines if line.method and line.method not in there]
        return [f"{self.section.backbone}: not in this grid: {', '.join(left)}."] if left else []

    def _line(self, line: Line, row: Row | None) -> list[Entry]:
        """Ours with what was published; nothing where there is neither."""
        columns = self._columns()
        ours = self._ours(row) if row else [Entry(line.published or NONE), *[Entry(NONE)] * len(columns)]
        figures = [self._find(line, key) for _, key in columns]
        published = [None, *(self._entry(*found) for found in zip(figures, (column for column, _ in columns), ours[1:], strict=True))]
        if row is None and not any(published):
            return []
        if any(published):
            alike = ours[0].text.casefold() == str(line.published).casefold()
            data = {"published as": line.published, "published source": self.source(line)}
            published[0] = Entry("published" if alike else f"published: {line.published}", data=data)
        ours[0] = replace(ours[0], data={"backbone": self.section.backbone} | ours[0].data)
        return [replace(mine, published=theirs) for mine, theirs in zip(ours, published, strict=True)]

    def _ours(self, row: Row) -> list[Entry]:
        entries = [name(row, self.notes), *self.units.costs(row.costs)]
        entries += [self._measure(row, measure) for measure in self.experiment.measures]
        return entries + ([cell(row.average, "average", self.notes)] if self._averaged else [])

    @property
    def _averaged(self) -> bool:
        return len(self.experiment.tasks) > 1

    def _measure(self, row: Row, measure: Measure) -> Entry:
        """The headline with its test, or a further metric without one; a dash where the backbone does not have the task."""
        headline = next((c.metric for c in self.section.columns if c.task == measure.task), None)
        if headline is None:
            return Entry(NONE)
        found = row.cells.get(measure.task)
        if found is None or found.mean is None or measure.metric in (None, headline):
            return cell(found, measure.task, self.notes)
        further = found.metrics.get(measure.metric)
        if further is None:
            return cell(Summary(status="missing", reason=f"no {measure.metric} in the records"), _column(measure), self.notes)
        marks = (self.notes.mark(found.why()),) if found.status != "ok" else ()
        return replace(measured(further), marks=marks, data={_column(measure): further.mean, f"{_column(measure)} half": further.half})

    def _columns(self) -> list[tuple[str, Key | None]]:
        """Name of each column but the first, and where its figures stand."""
        columns = [*((column, self.experiment.costs.get(column)) for column in COSTS), ("", None)]
        columns += [(_column(measure), measure.figure) for measure in self.experiment.measures]
        return columns + ([("average", self.experiment.average)] if self._averaged else [])

    def _find(self, line: Line, key: Key | None) -> Figure | None:
        if key is None or line.published is None:
            return None
        experiment = self.experiment
        return self.figures.get((experiment.paper, experiment.table, self.place.published, key.task, key.metric, line.published))

    def _entry(self, figure: Figure | None, column: str, mine: Entry) -> Entry | None:
        if figure is None:
            return None
        entry = Entry(figure.text.removesuffix(" %"), data={f"published {column}": figure.number})
        ours = mine.data.get(column)
        if ours is None or not self.full or column in COSTS:
            return entry
        return _compared(entry, figure, column, ours, mine.data.get(f"{column} half"))

    def source(self, line: Line) -> str:
        """Where the published row was read."""
        wanted = (self.experiment.paper, self.experiment.table, self.place.published, line.published)
        found = [f.source for f in self.figures.values() if (f.paper, f.table, f.backbone, f.method) == wanted]
        return "; ".join(dict.fromkeys(found))


def _compared(entry: Entry, figure: Figure, column: str, ours: float, half: float | None) -> Entry:
    """The published score with the difference of ours and a verdict; one seed alone has no interval."""
    difference = ours - figure.number
    side = "higher" if difference > 0 else "lower"
    verdict = "inconclusive" if half is None else "reproduced" if abs(difference) <= half else side
    shown = f"{difference:+.{len(figure.value.partition('.')[2])}f}".replace("-", MINUS)
    data = {f"difference {column}": difference, f"verdict {column}": verdict}
    return replace(entry, text=f"{entry.text} ({shown}, {verdict})", data=entry.data | data)


def _column(measure: Measure) -> str:
    return f"{measure.task} {measure.metric}" if measure.metric else measure.task
