"""Options that several commands share."""

from __future__ import annotations

import os
from typing import Annotated, Any

import typer

Profile = Annotated[str | None, typer.Option(help="mini, smoke or paper; overrides params.yaml.")]
Some = Annotated[list[str] | None, typer.Option(help="Only this one; may be repeated.")]
Seeds = Annotated[list[int] | None, typer.Option(help="Only this seed; may be repeated.")]
Workers = Annotated[int | None, typer.Option(help="Worker processes; one per core by default.")]
Epochs = Annotated[int | None, typer.Option(help="Epochs instead of each task's own.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Plain lines instead of a progress bar.")]


def settings_of(profile: str | None = None, **lists: Any) -> Any:
    """params.yaml with the command line's options in their place; libraries stay off the network unless the profile needs it."""
    from suite import settings

    loaded = settings.load(profile=profile, **lists)
    if loaded.profile != "paper":
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
    return loaded
