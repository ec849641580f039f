"""The questions of world-science, with two to four options each: to be answered from the picture, from a text, or from neither.

Every option is one word of WORDS. Pre-training uses none of these templates.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import NamedTuple

from suite.data.facts import ATTRIBUTES, unique
from suite.data.wording import NUMBERS, phrase, pick, value
from suite.data.world import COLOURS, SHAPES, SIZES, Object

KINDS = ("text", "image", "none")
"""The context that a question is answered from: a text that goes before it, the picture, or none but what is known anyway."""

PLACES = ("first", "second", "third", "fourth")
"""Which option is right."""

_NUMBERS = NUMBERS[:6]
WORDS = (*(word for values in ATTRIBUTES.values() for word in values), *_NUMBERS)
"""Each is one token of the shipped tokenizer."""

_COUNTS = _NUMBERS[1:5]
_CATEGORIES = {"colour": COLOURS, "shape": SHAPES, "size": SIZES, "number": _NUMBERS}
_IMAGE = {
    "colour": "in the picture, what colour is the {d}", "shape": "in the picture, of what shape is the {d}",
    "size": "in the picture, of what size is the {d}", "row": "in the picture, at which height is the {d}",
    "column": "in the picture, on which side is the {d}", "count": "in the picture, how many shapes are there",
}  # fmt: skip
_VALUE = {"colour": ("what colour is the {s}", "of what colour is the {s}"),
          "size": ("of what size is the {s}", "what is the size of the {s}")}
_BEARER = ("what is {v}", "which shape is {v}")
_BESIDE = (("{a} is above {b}", "{b} is below {a}", "at the bottom"), ("{b} is above {a}", "{a} is below {b}", "at the top"),
           ("{a} is left of {b}", "{b} is right of {a}", "at the right"), ("{b} is left of {a}", "{a} is right of {b}", "at the left"))


class Asked(NamedTuple):
    """A question with its options, these options in order, and the index of the right one."""

    text: str
    options: tuple[str, ...]
    right: int


def of_image(objs: list[Object], rng: random.Random) -> Asked:
    """About the only one that fits a description, or about how many there are."""
    while True:
        attribute = rng.choice(("colour", "colour", "shape", "shape", "size", "row", "column", "count"))
        if attribute == "count":
            return _chosen(_IMAGE["count"], _COUNTS[len(objs) - 1], _COUNTS, rng)
        found = unique(objs, rng, (attribute,))
        if found is not None:
            obj, what = found
            asked = _IMAGE[attribute].format(d=phrase(what, rng.choice(("thing", "object"))))
            return _chosen(asked, value(attribute, getattr(obj, attribute)), ATTRIBUTES[attribute], rng)


def of_text(rng: random.Random) -> Asked:
    """About one of two or three facts that are given, or about what follows from two of them."""
    return rng.choice((_value, _bearer, _order))(rng)


def of_neither(rng: random.Random) -> Asked:
    """About what a word names, and about small numbers."""
    return rng.choice((_category, _sum, _next))(rng)


def _value(rng: random.Random) -> Asked:
    attribute, shapes = rng.choice(("colour", "colour", "size")), rng.sample(SHAPES, rng.randint(2, 3))
    values = [rng.choice(ATTRIBUTES[attribute]) for _ in shapes]
    asked = rng.randrange(len(shapes))
    text = f"{_facts(shapes, values)}. {pick(_VALUE[attribute], rng, s=shapes[asked])}"
    return _chosen(text, values[asked], ATTRIBUTES[attribute], rng, values)


def _bearer(rng: random.Random) -> Asked:
    shapes = rng.sample(SHAPES, rng.randint(2, 3))
    colours = rng.sample(COLOURS, len(shapes))
    asked = rng.randrange(len(shapes))
    return _chosen(f"{_facts(shapes, colours)}. {pick(_BEARER, rng, v=colours[asked])}", shapes[asked], SHAPES, rng, shapes)


def _facts(shapes: Sequence[str], values: Sequence[str]) -> str:
    return ", ".join(f"the {shape} is {word}" for shape, word in zip(shapes, values))


def _order(rng: random.Random) -> Asked:
    """Three in a row, told by two pairs: which one is at the end?"""
    shapes, (*ways, end) = rng.sample(SHAPES, 3), rng.choice(_BESIDE)
    pairs = [rng.choice(ways).format(a=f"the {a}", b=f"the {b}") for a, b in zip(shapes, shapes[1:])]
    return _chosen(f"{', '.join(rng.sample(pairs, 2))}. which shape is {end}", shapes[-1], SHAPES, rng, shapes)


def _category(rng: random.Random) -> Asked:
    name = rng.choice(list(_CATEGORIES))
    others = [word for key, words in _CATEGORIES.items() if key != name for word in words]
    return _chosen(f"which of these is a {name}", rng.choice(_CATEGORIES[name]), others, rng)


def _sum(rng: random.Random) -> Asked:
    x, y = rng.randint(0, 3), rng.randint(0, 2)
    return _chosen(f"how many are {_NUMBERS[x]} and {_NUMBERS[y]}", _NUMBERS[x + y], _NUMBERS, rng)


def _next(rng: random.Random) -> Asked:
    x, more = rng.randint(0, len(_NUMBERS) - 2), rng.random() < 0.5
    known, answer = (x, x + 1) if more else (x + 1, x)
    return _chosen(f"which number is one {'more' if more else 'less'} than {_NUMBERS[known]}", _NUMBERS[answer], _NUMBERS, rng)


def _chosen(asked: str, answer: str, pool: Sequence[str], rng: random.Random, first: Sequence[str] = ()) -> Asked:
    """The question with two to four options in random order; wrong ones are taken from `first`, then from `pool`."""
    wrong = list(dict.fromkeys([*rng.sample(first, len(first)), *rng.sample(pool, len(pool))]))
    wrong = [word for word in wrong if word != answer][: rng.randint(1, len(PLACES) - 1)]
    options = rng.sample([answer, *wrong], len(wrong) + 1)
    return Asked(f"{asked}: {', '.join(options[:-1])} or {options[-1]}?", tuple(options), options.index(answer))
