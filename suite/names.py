"""What is said of a name that is not there: the one that was meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from suite.errors import UserError


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The name most like `name`, or None where nothing is."""
    close = difflib.get_close_matches(name, list(names), n=1, cutoff=0.5)
    return close[0] if close else None


def unknown(kind: str, name: str, names: Iterable[str]) -> UserError:
    """The error for a name that is not there, with the nearest one that is, or all of them."""
    names = list(names)
    close = nearest(name, names)
    hint = f"did you mean {close!r}?" if close else f"there are {', '.join(names) or 'none'}"
    return UserError(f"unknown {kind} {name!r}; {hint}")
