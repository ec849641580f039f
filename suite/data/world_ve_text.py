"""The hypotheses of world-ve: what follows from a scene of which a third lies behind a panel. Pre-training uses none of these templates.

A hypothesis is a statement, or two, of how many of something there are in a cell, a row or a column; it is neutral where what is behind
the panel decides. The text does not tell the label: how many, what is said of them and the sort of place are drawn before the label
is looked at, and are kept only where the scene has statements of all three labels.
"""

from __future__ import annotations

import math
import random
from typing import NamedTuple

import numpy as np

from suite.data.facts import Description, anything, describe, number, one_word_off, some_keys
from suite.data.wording import phrase, pick, value
from suite.data.world import COLUMNS, ROWS, Object
from suite.data.world_text import generator

LABELS = ("entailment", "neutral", "contradiction")
ENTAILMENT, NEUTRAL, CONTRADICTION = range(3)

Strip = tuple[str, int]
"""A row or a column of the grid, and which: what a panel covers."""

STRIPS: tuple[Strip, ...] = (*(("row", k) for k in range(len(ROWS))), *(("column", k) for k in range(len(COLUMNS))))

_CELLS = [{"row": row, "column": column} for row in range(len(ROWS)) for column in range(len(COLUMNS))]
_AMOUNTS = {"some": (1, len(_CELLS)), "none": (0, 0), "one": (1, 1), "two": (2, 2)}
"""The least and the most there may be."""

_TEMPLATES = {
    "some": ("a {d} is {p}", "{p} is a {d}"), "none": ("no {d} is {p}", "{p} is no {d}"),
    "one": ("exactly one {d} is {p}",), "two": ("exactly two {ds} are {p}",),
}  # fmt: skip
_LINES, _PLACES = (("row",), ("column",)), (("row",), ("column",), ("row", "column"), ("row", "column"))
_DOUBLE = 0.3
"""Share of hypotheses of two statements."""

_PARTS = {ENTAILMENT: ((ENTAILMENT, ENTAILMENT),), NEUTRAL: ((NEUTRAL, NEUTRAL), (NEUTRAL, ENTAILMENT), (ENTAILMENT, NEUTRAL)),
          CONTRADICTION: tuple((CONTRADICTION, k) for k in range(3)) + tuple((k, CONTRADICTION) for k in range(3))}
"""What two statements have to be that both of them together are this."""


class Statement(NamedTuple):
    """So many (a key of `_AMOUNTS`) fit `what` in this place: a row, a column, or a cell (both)."""

    amount: str
    what: Description
    place: Description

    def label(self, shown: list[Object], strip: Strip) -> int | None:
        """What it is, given the objects in sight and what is covered. None: one would have to know that a cell holds at most one."""
        least, most = _AMOUNTS[self.amount]
        seen = number(shown, self.what | self.place)
        room = self._room(strip)
        if seen > most or (seen < least and not room):
            return CONTRADICTION
        if seen >= least and seen + room <= most:
            return ENTAILMENT
        return NEUTRAL if seen + room >= least else None

    def apart(self, other: Statement) -> bool:
        """Have the two places no cell in common?"""
        return not any(self._has(cell) and other._has(cell) for cell in _CELLS)

    def words(self, rng: random.Random) -> str:
        """The statement as a sentence."""
        return pick(_TEMPLATES[self.amount], rng, d=phrase(self.what), ds=phrase(self.what, plural=True), p=_where(self.place))

    def _room(self, strip: Strip) -> int:
        """How many cells of the place are covered."""
        key, k = strip
        free = [len(line) for name, line in (("row", ROWS), ("column", COLUMNS)) if name != key and name not in self.place]
        return 0 if self.place.get(key, k) != k else math.prod(free)

    def _has(self, cell: Description) -> bool:
        return all(cell[key] == k for key, k in self.place.items())


def _where(place: Description) -> str:
    """"in the top row", "in the left column", "at the top left"."""
    named = [value(key, place[key]) for key in ("row", "column") if key in place]
    return f"at the {' '.join(named)}" if len(named) == 2 else f"in the {named[0]} {next(iter(place))}"


def hypotheses(shown: list[list[Object]], strips: list[Strip], rng: np.random.Generator) -> tuple[list[str], list[int]]:
    """A hypothesis for each scene and its label; as many of one label as of another. shown: the objects in sight, two at least."""
    dice, labels = generator(rng), rng.permutation(np.arange(len(shown)) % len(LABELS)).tolist()
    return [_hypothesis(objs, strip, label, dice) for objs, strip, label in zip(shown, strips, labels)], labels


def _hypothesis(shown: list[Object], strip: Strip, label: int, rng: random.Random) -> str:
    double = rng.random() < _DOUBLE
    while True:
        one, two = (_of_each_label(shown, strip, rng) for _ in range(2))
        if not double:
            return one[label].words(rng)
        first, second = rng.choice(_PARTS[label])
        if one[first].apart(two[second]):
            return f"{one[first].words(rng)} and {two[second].words(rng)}"


def _of_each_label(shown: list[Object], strip: Strip, rng: random.Random) -> list[Statement]:
    """Statements that differ in their values alone, one of each label."""
    while True:
        amount = rng.choice(("some", "some", "some", "none", "none", "none", "one", "two"))
        counts = amount in ("one", "two")
        place = rng.choice(_LINES if counts else _PLACES)
        keys = rng.choice(((), ("colour",), ("shape",))) if counts else some_keys(rng, place=0.0)
        found = [_statement(amount, keys, place, label, shown, strip, rng) for label in range(len(LABELS))]
        if None not in found:
            return found


def _statement(amount: str, keys: tuple[str, ...], place: tuple[str, ...], label: int, shown: list[Object], strip: Strip,
               rng: random.Random) -> Statement | None:  # fmt: skip
    """A statement of this label, mostly true of another place, or one word off. None: not found."""
    for _ in range(16):
        obj = rng.choice(shown)
        what = describe(obj, keys)
        if what and rng.random() < 0.5:
            what = one_word_off(what, rng) if rng.random() < 0.7 else anything(rng, keys)
        found = Statement(amount, what, describe(obj, place) if rng.random() < 0.5 else anything(rng, place))
        if found.label(shown, strip) == label:
            return found
    return None
