"""What a reader should not miss: the sanity checks on a board's results."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from suite.board import Column, Flag, Row, Summary
from suite.record import Record
from suite.stats import Noise, Runs, difference

HEAD, BLIND = "head", "blind"


def find_flags(
    rows: Sequence[Row], columns: Sequence[Column], runs: Mapping[tuple[str, str], Runs], records: Mapping[tuple[str, str, int], Record]
) -> list[Flag]:
    """All flags of a backbone, in a fixed order. runs: by (method, task); records: by (method, task, seed).

    Failed and missing cells; flags the run itself recorded; results below the frozen head or the image-blind floor; methods that
    train the same parameters; results that were compared without their per-example files; costs that were not measured. A control
    may be bad, and the same as what it controls.
    """
    controls = {row.method for row in rows if row.control}
    found = [*_recorded(records), *_duplicates({k: r for k, r in records.items() if k[0] not in controls})]
    for row in rows:
        if row.costs is None:
            found.append(Flag(kind="costs", method=row.method, text="costs were not measured"))
        for column in columns:
            if cell := row.cells.get(column.task):
                found += _absent(row.method, column.task, cell)
                found += [] if row.control else _low(row.method, column, runs)
    return sorted(found, key=lambda f: (f.kind, f.method, f.task or "", f.text))


def _absent(method: str, task: str, cell: Summary) -> Iterator[Flag]:
    kinds = {seed.status for seed in cell.seeds}
    if kinds & {"failed", "missing"}:
        yield Flag(kind="failed" if "failed" in kinds else "missing", method=method, task=task, text=cell.why())


def _recorded(records: Mapping[tuple[str, str, int], Record]) -> Iterator[Flag]:
    for (method, task, seed), record in records.items():
        for text in record.flags:
            yield Flag(kind="recorded", method=method, task=task, text=f"seed {seed}: {text}")


def _low(method: str, column: Column, runs: Mapping[tuple[str, str], Runs]) -> Iterator[Flag]:
    """Worse than the frozen backbone with a head, or than a model that does not see the image."""
    mine, head = runs.get((method, column.task)), runs.get((HEAD, column.task))
    if mine is None:
        return
    if mine.sums is None:
        text = "per-example results are missing: compared by seeds alone"
        yield Flag(kind="examples", method=method, task=column.task, text=text)
    if head and method != HEAD and mine.mean < head.mean:
        p = difference(mine, head, Noise(column.seed_sd, column.seed_df)).p
        text = f"{mine.mean:.1f} is below the frozen head's {head.mean:.1f} (p = {p:.2g})"
        yield Flag(kind="below head", method=method, task=column.task, text=text)
    floor = column.floors.get(BLIND)
    if floor is not None and mine.mean < floor:
        text = f"{mine.mean:.1f} is below {floor:.1f}, reached without the image"
        yield Flag(kind="below floor", method=method, task=column.task, text=text)


def _duplicates(records: Mapping[tuple[str, str, int], Record]) -> Iterator[Flag]:
    """Methods that train the very same parameters besides the head, and read the backbone out alike, are probably one."""
    owners: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for (method, task, _), record in records.items():
        if record.signature and record.status == "ok":
            owners[task, record.signature].add(method)
    for names in sorted({tuple(sorted(names)) for names in owners.values() if len(names) > 1}):
        yield Flag(kind="duplicate", method=names[0], text=f"trains the same parameters as {', '.join(names[1:])}")
