"""The commands about costs, as thin as the others in cli.py."""

from __future__ import annotations

import sys
from typing import Annotated, Any, Literal

import typer

from suite.errors import UserError
from suite.options import Profile, Some, Workers, settings_of


def cost(method: Annotated[str | None, typer.Argument(help="One method, in detail; without it all of them, a line each.")] = None,
         backbone: Some = None, profile: Profile = None,
         task: Annotated[str | None, typer.Option(help="Of the backbone's; its first one by default.")] = None,
         plan: Annotated[str | None, typer.Option(help="What a method that searches found: JSON, or a file with it.")] = None,
         format: Annotated[Literal["text", "csv"], typer.Option(help="Of the list of all methods.")] = "text",
         published: Annotated[bool, typer.Option("--published", help="The papers' figures, and what gives their digits.")] = False,
         workers: Workers = None) -> None:  # fmt: skip
    """Print what methods cost: parameters and multiply-accumulates, without weights or training."""
    if published:
        return _published(method is None and not (backbone or task or plan or profile))
    if method is None and (task or plan):
        raise UserError("--task and --plan are for one method: petlbench cost METHOD")
    if method is None:
        return _inventory(settings_of(profile, workers=workers).model_copy(update={"backbones": backbone or "all", "methods": "all"}), format)
    from suite.inventory import told

    for name in backbone or ["vilt"]:
        typer.echo("\n".join(told(method, name, settings_of(profile), task, plan)))


def _published(alone: bool) -> None:
    from suite.audit import audits
    from suite.report.audited import audited
    from suite.report.reported import read

    if not alone:
        raise UserError("--published is about all of results/reported: give it alone")
    typer.echo(audited(audits(read().values())))


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

    wanted = inventory.items(settings_of("paper").model_copy(update={"backbones": backbone or "all", "methods": method or "all"}))
    for row in speed.measure_all(wanted, batch or [1, 32], steps):
        typer.echo(speeds.line(row))
    known = speed.read(speed.path_of(speed.here()))
    typer.echo("\n".join([*speeds.findings(known), f"wrote {speed.path_of(known.device)}"]))
    if plot := speeds.plot(known):
        path = speed.path_of(known.device).with_suffix(".png")
        path.write_bytes(plot)
        typer.echo(f"wrote {path}")
