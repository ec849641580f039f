"""From the records and costs of the current grid to one board."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import product

import numpy as np

from suite.board import Board, Claim, Reproduction, Section
from suite.claims import overall
from suite.errors import UserError
from suite.experiments import EXPERIMENTS, Experiment, Place
from suite.findings import Findings
from suite.record import Cell, Cost, Record
from suite.section import section
from suite.stats import Examples

SHOWN = 10
"""Prompts of a grid of samples, at most."""


def collect(
    records: Sequence[Record],
    costs: Sequence[Cost] = (),
    examples: Mapping[str, Examples] | None = None,
    grid: Sequence[Cell] = (),
) -> Board:
    """The board of one profile. examples: by the record's key; grid: what was planned (default: all combinations of what the
    records name), so that a cell without a record is shown as missing. The result does not depend on the order of the records.

    Raises UserError where there is nothing, where profiles are mixed, or where a cell has two records.
    """
    cells = list(grid) or _combinations(records)
    profiles = sorted({c.profile for c in cells} | {r.cell.profile for r in records})
    if not profiles:
        raise UserError("nothing to report: no records and an empty grid")
    if len(profiles) > 1:
        raise UserError(f"a table never mixes profiles: {', '.join(profiles)}")
    found: dict[Cell, Record] = {}
    for record in sorted(records, key=lambda r: (str(r.cell), r.key)):
        if record.cell in found:
            raise UserError(f"two records for {record.cell}: {found[record.cell].key} and {record.key}")
        found[record.cell] = record
    mine = [c for c in costs if c.profile == profiles[0]]
    findings = {b: Findings(b, cells, found, mine, examples or {}) for b in dict.fromkeys(c.backbone for c in cells)}
    return Board(
        profile=profiles[0], sections=[section(f) for f in findings.values()],
        experiments=[_reproduction(experiment.at(profiles[0]), findings) for experiment in EXPERIMENTS],
        **_origin([found[c] for c in sorted(found, key=str)]),
    )  # fmt: skip


def samples(board: Board, records: Iterable[Record], examples: Mapping[str, Examples]) -> dict[str, Examples]:
    """What grids of generated pictures show, by `Section.grid`: a picture for the first prompt of each cluster, N = SHOWN at most.

    `prompts` (N,), `learned` (N, H, W, 3) uint8, a picture that each subject was learned from; for each of M methods, in the order
    of the rows, `titles` (M,) and `samples` (M, N, H, W, 3) uint8 of its first seed. Raises UserError where prompts differ.
    """
    first: dict[tuple[str, str, str], Examples] = {}
    for record in sorted(records, key=lambda r: r.cell.seed):
        if "samples" in (kept := examples.get(record.key, {})):
            first.setdefault((record.cell.backbone, record.cell.task, record.cell.method), kept)
    found = {}
    for part in board.sections:
        for task in (column.task for column in part.columns):
            methods = [(row.title, kept) for row in part.rows if (kept := first.get((part.backbone, task, row.method)))]
            if methods:
                found[part.grid(task)] = _chosen(methods, f"{part.backbone}/{task}")
    return found


def _chosen(methods: Sequence[tuple[str, Examples]], where: str) -> Examples:
    titles, kept = zip(*methods, strict=True)
    others = (i for i, k in enumerate(kept) if any(not np.array_equal(k[name], kept[0][name]) for name in ("prompts", "cluster")))
    if at := next(others, 0):
        files = " and ".join(f"the records of {title}" for title in (titles[0], titles[at]))
        raise UserError(f"{where}: {files} hold samples of different prompts; remove those that are out of date from results/runs")
    rows = np.sort(np.unique(kept[0]["cluster"], return_index=True)[1])[:SHOWN]
    shown = {name: kept[0][name][rows] for name in ("prompts", "learned")}
    return shown | {"titles": np.array(titles), "samples": np.stack([k["samples"][rows] for k in kept])}


def _combinations(records: Iterable[Record]) -> list[Cell]:
    """Every method with every task and seed that the records of a backbone name."""
    by_backbone: defaultdict[str, list[Cell]] = defaultdict(list)
    for cell in sorted((r.cell for r in records), key=str):
        by_backbone[cell.backbone].append(cell)
    everything = []
    for mine in by_backbone.values():
        methods, tasks = (dict.fromkeys(names) for names in ([c.method for c in mine], [c.task for c in mine]))
        combined = product(methods, tasks, sorted({c.seed for c in mine}))
        everything += [mine[0].model_copy(update={"method": m, "task": t, "seed": s}) for m, t, s in combined]
    return everything


def _reproduction(experiment: Experiment, findings: Mapping[str, Findings]) -> Reproduction:
    """A paper's table from what there is; where its own method is not planned on a backbone, what is missing there."""
    there, absent = [], {}
    for place in experiment.places:
        found = _narrowed(experiment, place, findings.get(place.backbone))
        if found is None:
            absent[place.backbone] = f"this grid has no cells of {experiment.subject} there ({', '.join(experiment.of(place))})"
        else:
            there.append(found)
    return Reproduction(experiment=experiment, sections=there, absent=absent, claims=_claims(there))


def _claims(sections: Sequence[Section]) -> list[Claim]:
    """Every claim once, over the backbones where it is stated."""
    stated: defaultdict[tuple[str, str], dict[str, Claim]] = defaultdict(dict)
    for found in sections:
        for claim in found.claims:
            stated[claim.method, claim.text].setdefault(found.backbone, claim)
    return [overall(by_backbone) for by_backbone in stated.values()]


def _narrowed(experiment: Experiment, place: Place, findings: Findings | None) -> Section | None:
    if findings is None or not any((experiment.subject, task) in findings.seeds for task in experiment.of(place)):
        return None
    tasks = {task: counts for task, counts in experiment.of(place).items() if task in findings.tasks or task not in place.on_demand}
    methods = [line.method for line in place.lines if line.method in findings.methods]
    return section(findings, methods, tasks).model_copy(update={"flags": []})  # they stand on the leaderboard


def _origin(records: Sequence[Record]) -> dict[str, object]:
    """Where the records come from; more than one commit, machine or version shows."""
    sources = [r.provenance for r in records if r.provenance]
    versions: defaultdict[str, set[str]] = defaultdict(set)
    for source in sources:
        for name, version in source.versions.items():
            versions[name].add(version)
    return {
        "protocols": sorted({r.protocol for r in records}),
        "commits": sorted({s.commit for s in sources if s.commit}),
        "dirty": any(s.dirty for s in sources),
        "machines": sorted({s.machine for s in sources}),
        "versions": {name: sorted(versions[name]) for name in sorted(versions)},
        "finished": max((s.finished for s in sources), default=None),
    }
