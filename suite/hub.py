"""Where files of the hub are taken from. Knows nobody else in the suite."""

from __future__ import annotations

import os
from pathlib import Path


def hub(repository: str) -> str:
    """Where to load a hub repository from: the folder of that name below PETLBENCH_MIRROR if it is there, else the hub."""
    mirror = os.environ.get("PETLBENCH_MIRROR")
    return str(Path(mirror, repository)) if mirror and Path(mirror, repository).is_dir() else repository


def first_line(error: BaseException) -> str:
    """Of what it says; its class where it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
