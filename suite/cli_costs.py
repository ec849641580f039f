"""The commands about costs, as thin as the others in cli.py."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from suite.errors import UserError
from suite.options import Profile, Some, Workers, settings_of


def cost(method: Annotated[str | None, typer.Argument(help="One method, in detail; without it all of them, a line each.")] = None,
         backbone: Some = None, profile: Profile = None,
         task: Annotated[str | None, typer.Option(help="Of the backbone's; its first one by default.")] = None,
         plan: Annotated[str | None, typer.Option(help="What a method that searches found: JSON, or a file with it.")] = None,
         format: Annotated[Literal["text", "csv"] | None, typer.Option(help="Of the list of all methods; text by default.")] = None,
         published: Annotated[bool, typer.Option("--published", help="The papers' figures, and what gives their digits.")] = False,
         workers: Workers = None) -> None:  # fmt: skip
    """Print what methods cost: parameters and multiply-accumulates, without weights or training."""
    if published:
        return _published(not any((method, backbone, task, plan, profile, format, workers)))
    if method is None and (task or plan):
        raise UserError("--task and --plan are for one method: petlbench cost METHOD")
    if method is None:
        return _inventory(_all_of(settings_of(profile, workers=workers), backbone, None), format or "text")
    if format or workers:
        raise UserError("--format and --workers are for the list of all methods: petlbench cost")
    from suite.inventory import told

    for name in backbone or ["vilt"]:
        typer.echo("\n".join(told(method, name, settings_of(profile), task, plan)))


def _published(alone: bool) -> None:
    from suite.audit import audits
    from suite.report.audited import audited
    from suite.report.reported import read

    if not alone:
        raise UserError("--published is about all of results/reported: give it alone")
    if not (figures := read()):
        raise UserError("there are no figures in results/reported; run petlbench where params.yaml lies")
    typer.echo(audited(audits(figures.values())))


def _all_of(settings: Any, backbones: list[str] | None, methods: list[str] | None) -> Any:
    """Settings for all backbones and methods, or those of the command line: params.yaml says what runs, not what can be counted."""
    from suite.plugins import discover

    for file, error in discover().broken.items():
        typer.echo(f"warning: {file} is left out: {error}", err=True)
    return settings.model_copy(update={"backbones": backbones or "all", "methods": methods or "all"})


def _inventory(settings: Any, format: str) -> None:
    from suite import inventory
    from suite.report.terminal import print_sizes

    rows, lacks = inventory.counted(inventory.items(settings), settings.processes())
    inventory.write_csv(rows, sys.stdout) if format == "csv" else print_sizes(rows)
    for line in lacks:
        typer.echo(line, err=True)


def measure(backbone: Some = None, method: Some = None,
            batch: Annotated[list[int] | None, typer.Option(min=1, help="Examples of a forward pass; 1 and 32 by default.")] = None,
            steps: Annotated[bool, typer.Option(help="Training steps too, with their memory.")] = True) -> None:  # fmt: skip
    """Measure milliseconds and memory at the papers' size, with random weights, on the GPU or CPU here; kept in results/paper."""
    from suite import inventory, speed
    from suite.report import speeds

    lacks = []
    for item, found in speed.measure_all(inventory.items(_all_of(settings_of("paper"), backbone, method)), batch or [1, 32], steps):
        lacks += [(item, found)] if isinstance(found, str) else []
        if not isinstance(found, str):
            typer.echo(speeds.line(found))
    for line in inventory.reasons(lacks):
        typer.echo(line, err=True)
    path = speed.path_of(speed.here())
    if path.is_file():
        _told(speed.read(path), path)


def _told(known: Any, path: Path) -> None:
    """What the file says of saved MACs, and its plot."""
    from suite.report import speeds
    from suite.store import write_atomic

    typer.echo("\n".join([*speeds.findings(known), f"measured so far: {path}"]))
    if plot := speeds.plot(known):
        write_atomic(path.with_suffix(".png"), plot)
        typer.echo(f"plot: {path.with_suffix('.png')}")
