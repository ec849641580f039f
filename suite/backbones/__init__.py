"""Backbones, one file each, found by file name; a module is imported when its backbone is asked for."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from suite.names import unknown

if TYPE_CHECKING:
    from suite.core import Backbone

SUPPORT = {"__init__", "common", "hub", "language", "meter_keys", "shipped", "unet"}


def names() -> list[str]:
    """The backbones there are, sorted."""
    return sorted(path.stem for path in Path(__file__).parent.glob("*.py") if path.stem not in SUPPORT)


def load(name: str) -> type[Backbone]:
    """The class of backbone `name`. Raises UserError for an unknown name."""
    if name not in names():
        raise unknown("backbone", name, names())
    return import_module(f"suite.backbones.{name}").BACKBONE
