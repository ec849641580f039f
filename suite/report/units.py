"""Numbers and names of metrics for people: one unit per column, as many digits as say something."""

from __future__ import annotations

import re
from collections.abc import Iterable
from math import floor, log10
from statistics import median_low

UNITS = ((1e9, "G"), (1e6, "M"), (1e3, "K"), (1.0, ""))
MINUS = "\N{MINUS SIGN}"


def unit(values: Iterable[float]) -> tuple[float, str]:
    """Divisor and letter for a column: the largest unit in which the (lower) median non-zero value is at least 0.1."""
    sizes = [abs(v) for v in values if v]
    middle = median_low(sizes) if sizes else 0.0
    return next((u for u in UNITS if middle >= 0.1 * u[0]), UNITS[-1])


def number(value: float, digits: int = 3) -> str:
    """Three significant digits but at most three places, no exponent, thousands apart: 0.084, 9.22, 12.4, 1,290. Zero is "0"."""
    if not value:
        return "0"
    places = min(3, max(0, digits - 1 - floor(log10(abs(value)))))
    text = f"{abs(value):,.{places}f}"
    return (MINUS if value < 0 else "") + text


def scaled(value: float) -> str:
    """One value with its own unit: 9.2 K, 1.3 M."""
    divisor, letter = next((u for u in UNITS if abs(value) >= u[0]), UNITS[-1])
    return f"{number(value / divisor, 2 if abs(value / divisor) < 10 else 3)} {letter}".strip()


def label(name: str) -> str:
    """A metric as papers print it: ir_r1 -> IR R@1 (image and text retrieval), clip_i -> CLIP-I, context_image -> context image."""
    if found := re.fullmatch(r"([it]r)_r(\d+)", name):
        return f"{found[1].upper()} R@{found[2]}"
    if re.fullmatch(r"clip_[it]|dino", name):
        return name.upper().replace("_", "-")
    return {"h_mean": "harmonic mean"}.get(name, name.replace("_", " "))
