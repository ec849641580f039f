"""The command `petlbench`, thin: every command imports what it needs when it is called, so that `--help` answers at once."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from suite import cli_costs
from suite.errors import UserError
from suite.options import Epochs, Profile, Quiet, Seeds, Some, Workers, settings_of
from suite.plugins import one_line

app = typer.Typer(add_completion=False, no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False,
                  help="Reproducibility benchmark of parameter-efficient transfer learning for vision-language models.")  # fmt: skip

BOARD = Path("results/tables/board.json")
REFERENCE, REPORTS = Path("results/reference"), Path("reports")


@app.command()
def run(profile: Profile = None, backbone: Some = None, method: Some = None, task: Some = None, seed: Seeds = None,
        workers: Workers = None, epochs: Epochs = None, quiet: Quiet = False,
        dry_run: Annotated[bool, typer.Option("--dry-run", help="Paper profile: only say what the cells would need.")] = False,
        launcher: Annotated[Literal["pytorch", "slurm"] | None, typer.Option(help="Started by torchrun, srun: `gpus` at once.")] = None
        ) -> None:  # fmt: skip
    """Run the cells and costs that are missing. Failed cells are recorded; `check` sets the exit code."""
    settings = settings_of(profile, backbones=backbone, methods=method, tasks=task, seeds=seed, workers=workers, epochs=epochs)
    if dry_run:
        return _needed(settings)
    from collections import Counter

    from suite.plugins import discover
    from suite import run as runs
    from suite.store import Store

    _warn(discover().broken)
    if launcher is None:
        records = runs.run(settings, Store(), quiet=quiet)
    elif (records := runs.run_together(settings, Store(), launcher)) is None:
        return
    counts = Counter(record.status for record in records)
    typer.echo(f"{len(records)} cells: " + ", ".join(f"{count} {status}" for status, count in sorted(counts.items())))


def _needed(settings: Any) -> None:
    from suite import needs, speed, tasks
    from suite.report.needed import print_needs

    found = list(needs.reckoned(settings))
    places = dict.fromkeys((item.backbone, item.task) for item, _ in found)
    files = {place: list(needs.files(place[0], tasks.load(place[1]))) for place in places}
    rates = " and ".join(f"{rate / 1e12:g} TFLOP/s ({name})" for name, rate in needs.RATES.items() if name != "bf16")
    print_needs(found, files, len(settings.seeds), speed.room(), rates)


def _warn(broken: dict[str, str]) -> None:
    for file, error in broken.items():
        typer.echo(f"warning: {file} is left out: {error}", err=True)


@app.command()
def collect(profile: Profile = None) -> None:
    """Compute the board from the records of the current grid."""
    from suite.results import current

    results = current(settings_of(profile))
    results.write(BOARD)
    typer.echo(f"{len(results.records)} of {len(results.grid)} cells in {BOARD}")


@app.command()
def report() -> None:
    """Write the tables, plots and the page from the board."""
    from suite.report import samples
    from suite.report.write import write

    typer.echo("\n".join(f"wrote {path}" for path in write(_board(), REPORTS, samples.read(BOARD.parent))))


@app.command()
def show() -> None:
    """Print the leaderboard, and where the page and the plots lie."""
    from suite.report.terminal import print_board

    print_board(_board())
    for kind, pattern in (("page", "index.html"), ("table", "*.md"), ("plot", "*.png")):
        for path in sorted(REPORTS.glob(pattern)):
            typer.echo(f"{kind:6} {path}")


def _board() -> Any:
    """What `collect` wrote; raises UserError where it is not there or damaged."""
    from pydantic import ValidationError

    from suite.board import Board

    try:
        return Board.model_validate_json(BOARD.read_bytes())
    except OSError as error:
        raise UserError(f"there is no {BOARD}; `petlbench collect` writes it") from error
    except ValidationError as error:
        raise UserError(f"{BOARD} is damaged; `petlbench collect` writes it anew") from error


@app.command()
def check(profile: Profile = None) -> None:
    """Compare with results/reference. Exit code 1: a regression or cells without a result; 2: a method file that cannot be read."""
    from suite import gate
    from suite.plugins import discover
    from suite.results import current

    results = current(settings_of(profile))
    verdict = gate.check(results.records, results.costs, REFERENCE, results.grid)
    typer.echo(str(verdict))
    if broken := discover().broken:
        raise UserError("; ".join(f"{file} was left out: {error}" for file, error in broken.items()))
    raise typer.Exit(verdict.exit_code)


@app.command()
def accept(profile: Profile = None) -> None:
    """Make the current results the reference."""
    from suite import gate
    from suite.results import current

    results = current(settings_of(profile))
    for path in gate.accept(results.records, results.costs, REFERENCE, results.grid):
        typer.echo(f"wrote {path}")


@app.command()
def tune(backbone: Some = None, method: Some = None, task: Some = None, workers: Workers = None, quiet: Quiet = False,
         file: Annotated[Path | None, typer.Option(help="The methods of this file, wherever it lies.")] = None) -> None:  # fmt: skip
    """Try each method's learning rates, on validation only, and store what was found in results/tuning."""
    settings = settings_of("mini", backbones=backbone, methods=method, tasks=task, workers=workers)
    from suite.results import methods_of
    from suite.run import tune_grid

    if file and method:
        raise UserError("give --file or --method, not both")
    files, names = methods_of(file) if file else ((), settings.methods)
    if failed := tune_grid(settings.model_copy(update={"methods": names, "epochs": None}), quiet=quiet, files=files):
        raise UserError(f"{len(failed)} runs failed, first {failed[0]}")


@app.command()
def compare(file: Annotated[Path, typer.Argument(help="A method file, wherever it lies.")],
            against: Annotated[list[str] | None, typer.Option(help="Compare with this method only; may be repeated.")] = None,
            quiet: Quiet = False) -> None:  # fmt: skip
    """Run a method file on the grid of params.yaml and print its rows beside the others'."""
    from suite.plugins import discover
    from suite.report.terminal import print_board
    from suite.results import compared

    _warn(discover().broken)
    print_board(compared(file, settings_of(methods=against), quiet=quiet))


@app.command()
def fetch(profile: Profile = None, task: Some = None) -> None:
    """Read every dataset of the grid once and verify it: counts and content hash. In the paper profile these are the papers' own."""
    settings = settings_of(profile)
    if settings.profile == "paper":
        return _papers_data(task or "all")
    settings = settings_of(profile, tasks=task)
    from suite import tasks
    from suite.grid import takers
    from suite.settings import chosen

    for data in map(tasks.load, chosen("task", settings.tasks, tasks.names())):
        if not takers(data, settings):
            continue
        sizes = ", ".join(f"{size:,} {split}" for split, size in data.sizes.items())
        typer.echo(f"{data.name}: {sizes}; sha256 {data.data_hash()}")


def _papers_data(names: Any) -> None:
    """One line each. Raises UserError, once all were looked at, where one is missing or not the published one."""
    from suite.data import papers

    found = list(papers.verified(names))
    for _, line, lacks in found:
        typer.echo(line, err=lacks)
    if lost := [name for name, _, lacks in found if lacks]:
        raise UserError(f"{len(lost)} datasets cannot be had as published: {', '.join(lost)}")


@app.command()
def pretrain(backbone: str) -> None:
    """Pre-train a mini backbone and write suite/weights. Takes up to 40 minutes on two cores; its result is committed."""
    from suite.pretrain import main as pretrain_main

    pretrain_main(backbone)


@app.command(name="list")
def list_names() -> None:
    """List methods, backbones and tasks."""
    from suite import backbones, tasks
    from suite.plugins import discover, shown

    catalogue = discover()
    for name, cls in catalogue.methods.items():
        typer.echo(f"method    {name:18} {cls.title:28} {shown(catalogue.files[name])}")
    for kind, names in (("backbone", backbones.names()), ("task", tasks.names())):
        for name in names:
            typer.echo(f"{kind:9} {name}")
    if catalogue.broken:
        raise UserError("; ".join(f"{file}: {error}" for file, error in catalogue.broken.items()))


@app.command()
def answers() -> None:
    """Write the predictions of the paper profile for VQA2.0's test-dev, as files for its evaluation server."""
    from suite.answers import write
    from suite.results import current

    if not (written := write(current(settings_of("paper", tasks=["vqa2"])))):
        raise UserError("no stored cell has predictions for test-dev: those of vqa2 in the paper profile do")
    typer.echo("\n".join(f"wrote {path}" for path in written))


app.command()(cli_costs.cost)
app.command()(cli_costs.measure)


@app.callback()
def options(debug: Annotated[bool, typer.Option("--debug", help="Show where an error comes from.")] = False) -> None:
    """What comes before the command."""


def main() -> None:
    """The console script: UserError and mistakes on the command line are one line and exit code 2."""
    sys.path.insert(0, os.getcwd())  # the project's own `methods` and `baselines` come before installed ones
    debug = "--debug" in sys.argv
    try:
        sys.exit(app(standalone_mode=False) or 0)
    except UserError as error:
        _fail(str(error), 2, debug)
    except KeyboardInterrupt:
        _fail("interrupted; finished cells are kept", 130, debug)
    except Exception as error:
        usage = getattr(error, "format_message", None)  # of typer's own errors, whose classes differ between its versions
        if usage is None and not debug:
            _fail(f"{one_line(error)} (`petlbench --debug` shows where)", 1, debug)
        _fail(usage() if usage else one_line(error), 2 if usage else 1, debug)


def _fail(message: str, code: int, debug: bool) -> None:
    if debug:
        import traceback

        traceback.print_exc()
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
