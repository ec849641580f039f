"""The texts of the world tasks: questions, statements about one or two images, captions. Pre-training uses none of these templates."""

from __future__ import annotations

import random
from itertools import pairwise, product

import numpy as np

from suite.data.facts import ATTRIBUTES, CLEAR, RELATIONS, Claim, Compare, Count, Exists, Relation, ask, describe, draw, offset
from suite.data.wording import NUMBERS, phrase, pick, value
from suite.data.world import COLOURS, COLUMNS, ROWS, SHAPES, SIZES, Object, Scenes

ANSWERS = (*COLOURS, *SHAPES, *SIZES, *ROWS, *COLUMNS, *NUMBERS[:5], "yes", "no")
"""The answers of world-vqa, each a class."""

_QUERY = {
    "colour": ("what is the colour of the {d}?", "which colour is the {d}?"),
    "shape": ("what kind of shape is the {d}?", "which form has the {d}?"),
    "size": ("how big is the {d}?", "is the {d} small or large?"),
    "row": ("how high up is the {d}: top, middle or bottom?",),
    "column": ("on which side is the {d}: left, center or right?",),
    None: ("how many {ds} are in the picture?", "how many {ds} can you count?"),
}
_YES_NO = {
    Exists: (("can you see a {d}?", "does the picture show a {d}?"), ("is the picture without any {d}?",)),
    Count: ("are there exactly {n} {ds}?",),
    Relation: {"left": ("is the {d} to the left of the {e}?",), "right": ("is the {d} to the right of the {e}?",),
               "above": ("is the {d} above the {e}?",), "below": ("is the {d} below the {e}?",)},
    Compare: {1: ("are there more {ds} than {es}?",), -1: ("are there fewer {ds} than {es}?",), 0: ("are there as many {ds} as {es}?",)},
}


def generator(rng: np.random.Generator) -> random.Random:
    """Python's generator, seeded by numpy's: scalar draws are ten times faster."""
    return random.Random(int(rng.integers(2**62)))


def questions(scenes: Scenes, rng: np.random.Generator) -> tuple[list[str], list[str]]:
    """One question a scene and its answer (one of ANSWERS)."""
    dice = generator(rng)
    pairs = [_question(scenes.objects(i), dice) for i in range(len(scenes))]
    return [q for q, _ in pairs], [a for _, a in pairs]


def _question(objs: list[Object], rng: random.Random) -> tuple[str, str]:
    while True:
        if rng.random() < 0.6:
            query = ask(objs, rng)
            if query and query.answer < 5 + 3 * (query.attribute is not None):
                words = {"d": phrase(query.what), "ds": phrase(query.what, plural=True)}
                return pick(_QUERY[query.attribute], rng, **words), value(query.attribute, query.answer)
            continue
        truth = rng.random() < 0.5
        claim = draw(rng.choice(("exists", "exists", "count", "relation", "compare")), objs, truth, rng)
        if claim:
            return _yes_no(claim, rng), "yes" if truth else "no"


def _yes_no(claim: Claim, rng: random.Random) -> str:
    templates = _YES_NO[type(claim)]
    words = {"d": phrase(claim.what), "ds": phrase(claim.what, plural=True)}
    if isinstance(claim, Exists):
        return pick(templates[not claim.positive], rng, **words)
    if isinstance(claim, Count):
        return pick(templates, rng, n=NUMBERS[claim.n], **words)
    words |= {"e": phrase(claim.other), "es": phrase(claim.other, plural=True)}
    return pick(templates[claim.sign if isinstance(claim, Compare) else RELATIONS[claim.relation]], rng, **words)


_PAIR = {
    "left": ("only the left picture shows a {d}",),
    "right": ("only the right picture shows a {d}",),
    "both": ("both pictures show a {d}", "a {d} is in each of the two pictures"),
    "neither": ("neither picture shows a {d}",),
    "more": ("the left picture has more shapes than the right picture",),
    "fewer": ("the left picture has fewer shapes than the right picture",),
}
Values = tuple[int, ...]

_KINDS = ("left", "right", "both", "neither", "left", "right", "both")
_KEYS = {keys: set(product(*(range(len(ATTRIBUTES[key])) for key in keys))) for keys in (("shape",), ("colour",), ("colour", "shape"))}
"""Attributes of a description, and all their values."""


def statements(left: Scenes, right: Scenes, rng: np.random.Generator) -> tuple[list[str], np.ndarray]:
    """One statement a pair of scenes, and whether it is true (bool, balanced in expectation)."""
    dice = generator(rng)
    pairs = [_statement(left.objects(i), right.objects(i), dice) for i in range(len(left))]
    return [text for text, _ in pairs], np.array([truth for _, truth in pairs])


def _statement(left: list[Object], right: list[Object], rng: random.Random) -> tuple[str, bool]:
    """Truth, kind and attributes are drawn apart, of those that can be true and can be false here: the template does not tell the truth."""
    truth = rng.random() < 0.5
    values = {(kind, keys): _values(kind, keys, left, right) for kind, keys in product(_KINDS, _KEYS)}
    open_keys = {kind: [keys for keys in _KEYS if all(values[kind, keys])] for kind in _KINDS}
    kind = rng.choice([kind for kind in _KINDS if open_keys[kind]] + ["number"] * 2 * (len(left) != len(right)))
    if kind == "number":
        return pick(_PAIR["more" if (len(left) > len(right)) == truth else "fewer"], rng), truth
    keys = rng.choice(open_keys[kind])
    what = dict(zip(keys, rng.choice(values[kind, keys][truth])))
    return pick(_PAIR[kind], rng, d=phrase(what)), truth


def _values(kind: str, keys: tuple[str, ...], left: list[Object], right: list[Object]) -> tuple[list[Values], list[Values]]:
    """Values of the attributes with which the statement is false, and is true; false ones are of an object where there is such a one."""
    one, two = ({tuple(getattr(obj, key) for key in keys) for obj in objs} for objs in (left, right))
    true = {"left": one - two, "right": two - one, "both": one & two, "neither": _KEYS[keys] - one - two}[kind]
    return sorted((one | two) - true or _KEYS[keys] - true), sorted(true)


_PLACES = ("to the left of", "to the right of", "above", "below")


def captions(scenes: Scenes, rng: np.random.Generator) -> list[str]:
    """One true caption a scene: every object once, in random order and detail, each but the first by its place beside the one before.

    Lists of objects, as in pre-training, are no task: the matching head alone ranks them as well as any tuning does.
    """
    dice = generator(rng)
    return [_caption(scenes.objects(i), dice) for i in range(len(scenes))]


def _caption(objs: list[Object], rng: random.Random) -> str:
    order = rng.sample(objs, len(objs))
    body = _named(order[0], rng)
    for count, (one, two) in enumerate(pairwise(order)):
        place = rng.choice([r for r in range(len(_PLACES)) if offset(one, two, r) >= CLEAR])
        body += f"{', which is' if count else ''} {_PLACES[place]} {_named(two, rng)}"
    return pick(("the picture shows {body}", "you can see {body}", "here is {body}"), rng, body=body)


def _named(obj: Object, rng: random.Random) -> str:
    keys = [key for key, rate in (("size", 0.3), ("colour", 0.85), ("shape", 0.85)) if rng.random() < rate] or ["colour"]
    return "a " + phrase(describe(obj, tuple(keys)))
