"""Subjects: shapes of a look that no generated scene has, each the same thing at every place, for subject-driven generation.

A picture is a scene of one object, drawn in two colours and put together: the look says which colour shows where.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, ClassVar, NamedTuple

import numpy as np

from suite.data.reader import Reader, portable_pixmap
from suite.data.text import tokenize
from suite.data.world import COLOURS, COLUMNS, ROWS, SHAPES, SIDE, VERSION, render, scenes
from suite.errors import UserError

LOOKS = ("plain", "striped", "ringed", "halved", "checked")
"""The first is what scenes have; the others need two colours."""

IDENTIFIERS = tuple("qzjxvkwfpbgh")
"""Rare words (Ruiz et al. 2023, section 3.2), one piece of the shipped tokenizer each, one for each subject."""

PLACES = tuple(product(range(len(ROWS)), range(len(COLUMNS))))
_BRIGHT, _DARK = ([COLOURS.index(name) for name in names] for names in (("red", "green", "yellow"), ("blue", "black", "gray")))
"""Colours far enough apart for a look to show."""

LONGEST = 32
"""Tokens of a prompt."""
SHOWN = (4, 6)
"""Pictures of a subject, at least and at most."""

_VARIANT = 5
_DRAWS = 1_500
"""Scenes of which those with a large object at the wanted place are taken."""


class Subject(NamedTuple):
    """Indices into SHAPES, LOOKS and COLOURS (twice the same where the look is plain)."""

    shape: int
    look: int
    first: int
    second: int


def subjects(domain: str, count: int) -> list[Subject]:
    """`count` different subjects, no two of one shape and look, drawn by the domain's name."""
    rng = np.random.default_rng([VERSION, *hashlib.sha256(f"{domain}/subjects".encode()).digest()])
    kinds = list(product(range(len(SHAPES)), range(1, len(LOOKS))))
    colours = [pair for one, two in product(_BRIGHT, _DARK) for pair in ((one, two), (two, one))]
    chosen = rng.permutation(len(kinds))[:count]
    return [Subject(*kinds[i], *colours[rng.integers(len(colours))]) for i in chosen]


def plain() -> list[Subject]:
    """Every shape in every colour, as scenes have them."""
    return [Subject(shape, 0, colour, colour) for shape, colour in product(range(len(SHAPES)), range(len(COLOURS)))]


def pictures(domain: str, subject: Subject, places: list[int]) -> np.ndarray:
    """(N, 32, 32, 3) uint8: the subject, large, at these places (indices into PLACES), on the domain's backgrounds."""
    drawn = scenes(domain, _DRAWS, (1, 1))
    here = [(drawn.row[:, 0] == PLACES[p][0]) & (drawn.column[:, 0] == PLACES[p][1]) & (drawn.size[:, 0] == 1) for p in places]
    taken = drawn.take(np.array([np.flatnonzero(rows)[k] for k, rows in enumerate(here)]))
    same = np.zeros_like(taken.shape)
    alike = replace(taken, shape=same + subject.shape, variant=same + _VARIANT, tint=0 * taken.tint)
    one, two = (render(replace(alike, colour=same + colour)) for colour in (subject.first, subject.second))
    x, y = ((np.arange(SIDE) - centre[:, :1]) / taken.radius[:, :1] for centre in (taken.x, taken.y))
    return shrink(np.where(_second(subject.look, x[:, None, :], y[:, :, None])[..., None], two, one))


def shrink(big: np.ndarray) -> np.ndarray:
    """(N, 64, 64, 3) -> (N, 32, 32, 3) uint8, means of 2 x 2."""
    n, side = big.shape[:2]
    return (big.reshape(n, side // 2, 2, side // 2, 2, 3).astype(np.float32).mean((2, 4)) + 0.5).astype(np.uint8)


def _second(look: int, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Where the second colour shows; x, y from the centre, in radii."""
    name = LOOKS[look]
    if name == "striped":
        return (np.floor(2 * y) % 2 == 0) & (x == x)
    if name == "ringed":
        return np.hypot(x, y) < 0.55
    if name == "halved":
        return (x > 0) & (y == y)
    if name == "checked":
        return (x > 0) == (y > 0)
    return (x != x) & (y != y)


class Prompt(NamedTuple):
    """Index of a subject, and of the place (into PLACES) where its picture shows it."""

    subject: int
    place: int


@dataclass(eq=False)
class WorldSubject(Reader):
    """`count` subjects with `shown` pictures each to learn from; for validation and test prompts that ask for them at places.

    asked: split -> (places of each subject, rows of each prompt); no place of a subject is asked for in both splits. `label` is the
    subject; the picture of a prompt's row shows what it asks for, and is there to look at. sizes follows from these.
    Raises UserError for a number of subjects or pictures that the protocol does not have.
    """

    count: int = 10
    shown: int = 5
    asked: tuple[tuple[str, int, int], ...] = (("validation", 3, 1), ("test", 6, 2))
    version: ClassVar[str] = str(VERSION)

    def __post_init__(self) -> None:
        if not SHOWN[0] <= self.shown <= SHOWN[1]:
            raise UserError(f"{self.name} learns a subject from {SHOWN[0]} to {SHOWN[1]} pictures, not from {self.shown}")
        if not 2 <= self.count <= len(IDENTIFIERS):
            raise UserError(f"{self.name} tells apart 2 to {len(IDENTIFIERS)} subjects, not {self.count}")
        self.sizes = {"train": self.count * self.shown} | {split: self.count * places * rows for split, places, rows in self.asked}

    @property
    def classes(self) -> tuple[str, ...]:
        return IDENTIFIERS[: self.count]

    @property
    def subjects(self) -> list[Subject]:
        """In the order of their identifiers."""
        return subjects(self.name, self.count)

    def prompts(self, split: str) -> list[Prompt]:
        """What the rows of a split show or ask for, subject by subject."""
        found = []
        for i in range(self.count):
            order = np.random.default_rng([VERSION, i, *hashlib.sha256(self.name.encode()).digest()]).permutation(len(PLACES)).tolist()
            parts = {"train": order[: self.shown]}
            for name, places, rows in self.asked:
                parts[name], order = order[:places] * rows, order[places:]
            found += [Prompt(i, place) for place in parts[split]]
        return found

    def rows(self, split: str) -> dict[str, list[Any]]:
        prompts = self.prompts(split)
        told = [prompt(IDENTIFIERS[p.subject], self.subjects[p.subject], None if split == "train" else p.place) for p in prompts]
        each = [[p.place for p in prompts if p.subject == i] for i in range(self.count)]
        drawn = np.concatenate([pictures(f"{self.name}/{split}/{i}", self.subjects[i], places) for i, places in enumerate(each)])
        ids = [f"{split}/{row}" for row in range(len(prompts))]
        return {"image": portable_pixmap(drawn), "image_id": ids, "text": told, "label": [p.subject for p in prompts]}


def prompt(identifier: str, subject: Subject, place: int | None) -> str:
    """The subject by its rare word and its class, at a place. Raises UserError for more than LONGEST tokens."""
    told = f"this picture shows a {identifier} {called(subject, place)}"
    if (length := tokenize([told], LONGEST + 1)[1][0]) > LONGEST:
        raise UserError(f"a prompt has at most {LONGEST} tokens, this one has {length} or more: {told[:60]}")
    return told


def called(subject: Subject, place: int | None) -> str:
    """Class and place, as a caption names them."""
    return SHAPES[subject.shape] + ("" if place is None else f" at the {ROWS[PLACES[place][0]]} {COLUMNS[PLACES[place][1]]}")
