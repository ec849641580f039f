"""The stored results of the current grid, and nothing else: what tables, check and reference are made from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from suite import grid
from suite.board import Board, Flag
from suite.collect import collect, samples
from suite.plugins import discover
from suite.errors import UserError
from suite.record import Cell, Cost, Record
from suite.settings import Settings, chosen
from suite.store import Examples, Store, pack, write_atomic


@dataclass(frozen=True)
class Results:
    """Records and costs whose keys are the current grid's; examples by key; grid: every planned cell; doubts: flags by backbone."""

    records: list[Record]
    costs: list[Cost]
    examples: dict[str, Examples]
    grid: list[Cell]
    doubts: dict[str, list[Flag]]

    def board(self) -> Board:
        """Everything that tables and plots show."""
        board = collect(self.records, self.costs, self.examples, self.grid)
        sections = [s.model_copy(update={"flags": [*s.flags, *self.doubts.get(s.backbone, [])]}) for s in board.sections]
        return board.model_copy(update={"sections": sections})

    def write(self, path: Path) -> None:
        """Write the board, and beside it what its grids of samples show, in the place of an older board's.

        Raises UserError like `write_atomic`.
        """
        board = self.board()
        shown = {path.parent / f"{name}.npz": arrays for name, arrays in samples(board, self.records, self.examples).items()}
        write_atomic(path, board.model_dump_json(indent=1).encode() + b"\n")
        for old in set(path.parent.glob("*.npz")) - set(shown):
            old.unlink(missing_ok=True)
        for file, arrays in shown.items():
            write_atomic(file, pack(arrays))


def current(settings: Settings, store: Store | None = None, files: tuple[str, ...] = ()) -> Results:
    """What is stored for this grid. Raises UserError naming the file where one is damaged."""
    store = store or Store()
    jobs = grid.cells(settings, files)
    records = {job.key: record for job in jobs if (record := store.record(job.key))}
    costs = [cost for task in grid.cost_tasks(jobs, records, settings) if (cost := store.cost(task.key))]
    examples = {key: store.examples(record) for key, record in records.items() if record.examples}
    return Results(list(records.values()), costs, examples, [job.cell for job in jobs], _doubts(jobs))


def _doubts(jobs: Iterable[grid.Job]) -> dict[str, list[Flag]]:
    """A flag for each reason to doubt a method's learning rates, by backbone."""
    tasks: dict[tuple[str, str, str], dict[str, None]] = {}
    for job in jobs:
        if job.doubt and job.refusal is None:
            tasks.setdefault((job.cell.backbone, job.cell.method, job.doubt), {})[job.cell.task] = None
    found: dict[str, list[Flag]] = {}
    for (backbone, method, doubt), names in tasks.items():
        found.setdefault(backbone, []).append(Flag(kind="untuned", method=method, text=f"{doubt}: {', '.join(names)}"))
    return found


def methods_of(file: Path) -> tuple[tuple[str, ...], list[str]]:
    """The file as `grid.cells` takes it, and the names of its methods; it may lie in `methods/` or anywhere else.

    Raises UserError where it cannot be read, defines no method or one whose name is taken.
    """
    if not file.is_file():
        raise UserError(f"there is no file {file}")
    files = (str(file.resolve()),)
    catalogue = discover(files)
    for name, error in catalogue.broken.items():
        if Path(name).resolve() == file.resolve():
            raise UserError(f"{name}: {error}")
    new = [name for name, place in catalogue.files.items() if str(place) in files]
    if not new:
        raise UserError(f"{file} defines no method: a dataclass derived from suite.core.Method with a `name`")
    return files, new


def compared(file: Path, settings: Settings, *, quiet: bool = False) -> Board:
    """Run the methods of a file on the grid and put them beside the results that are stored of `settings.methods`.

    Raises UserError, before anything runs, like `methods_of`, and where `settings.methods` names one that is not there.
    """
    from suite.run import run

    files, new = methods_of(file)
    beside = chosen("method", settings.methods, list(discover(files).methods))
    run(settings.model_copy(update={"methods": new}), Store(), quiet=quiet, files=files)
    return current(settings.model_copy(update={"methods": [*beside, *new]}), files=files).board()
