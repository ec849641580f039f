"""The questions of world-gqa, each of two steps or more: find by place, compare, join, choose. Pre-training uses none of these templates.

What is asked for is decided first (`CELLS`: a sort of question and its answer), so that no answer of a sort is commoner than another.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from itertools import combinations, permutations
from typing import NamedTuple

import numpy as np

from suite.data.facts import CLEAR, Description, anything, describe, matches, number, offset, one_word_off
from suite.data.wording import phrase, pick, value
from suite.data.world import COLOURS, SHAPES, SIZES, Object, Scenes
from suite.data.world_text import generator

ANSWERS = (*COLOURS, *SHAPES, *SIZES, "yes", "no")
VALUES = {"colour": COLOURS, "shape": SHAPES, "size": SIZES}
PLACES = ("left of", "right of", "above", "below")
"""In the order of facts.RELATIONS."""

KINDS = ("query", "choose", "compare", "verify", "logical")
"""The structural types of GQA's questions (Hudson and Manning, CVPR 2019)."""

_QUERY = {"colour": ("what colour is the {x}?", "of what colour is the {x}?"),
          "shape": ("of what shape is the {x}?", "what is the form of the {x}?"),
          "size": ("of what size is the {x}?", "what is the size of the {x}?")}
_CHOOSE = {"colour": ("is the {x} {v} or {w}?", "which colour is the {x}, {v} or {w}?"),
           "shape": ("is the {x} a {v} or a {w}?", "which is the {x}, a {v} or a {w}?")}
_COMPARE = {"colour": ("does the {x} have the colour of the {y}?", "is the colour of the {x} that of the {y}?"),
            "shape": ("does the {x} have the form of the {y}?", "is the form of the {x} that of the {y}?"),
            "size": ("does the {x} have the size of the {y}?", "is the size of the {x} that of the {y}?")}
_BESIDE = ("which is {p} the other, the {x} or the {y}?", "of the {x} and the {y}, which is {p} the other?")
_EXISTS = ("is there a {d} {p} the {x}?", "is a {d} {p} the {x}?")
_BOTH = ("is the {x} {p} the {y} and {q} the {z}?",)
_JOINED = {"and": ("is there a {d} and a {e}?", "does the picture have a {d} and a {e}?"),
           "or": ("is there a {d} or a {e}?", "does the picture have a {d} or a {e}?")}

_YES_NO = ("yes", "no")
_SHARES = {  # how -> (share of the questions, answers, kind)
    "query colour": (16, COLOURS, "query"), "query shape": (14, SHAPES, "query"), "query size": (8, SIZES, "query"),
    "choose colour": (8, COLOURS, "choose"), "choose shape": (8, SHAPES, "choose"),
    "compare colour": (3, _YES_NO, "compare"), "compare shape": (3, _YES_NO, "compare"), "compare size": (3, _YES_NO, "compare"),
    "beside": (8, SHAPES, "compare"), "exists": (12, _YES_NO, "verify"), "both": (6, _YES_NO, "verify"),
    "and": (6, _YES_NO, "logical"), "or": (6, _YES_NO, "logical"),
}  # fmt: skip
CELLS = {(how, answer): share / len(answers) for how, (share, answers, _) in _SHARES.items() for answer in answers}
"""(how it is asked, answer) -> its share, in percent."""

_SOME = (("shape",), ("colour",), ("colour", "shape"), ("size", "shape"), ("size", "colour"))
_TWICE = 0.25
_SUBSETS = [keys for n in (1, 2, 3) for keys in combinations(("size", "colour", "shape"), n)]
_NOUNS = ("shape", "thing", "object")


class Named(NamedTuple):
    """An object; a name that fits it alone, without article and with the noun left open; what the name says of the object itself; the
    objects by which it is found; the attributes named on the way: what is the only large one tells that the others are small."""

    obj: Object
    words: str
    what: Description
    through: tuple[Object, ...] = ()
    told: frozenset[str] = frozenset()


def questions(scenes: Scenes, rng: np.random.Generator) -> tuple[list[str], list[str], list[str]]:
    """One question a scene, its answer (one of ANSWERS) and its kind (one of KINDS).

    Of what a scene allows it is what the scenes before left rarest.
    """
    seen: Counter[tuple[str, str]] = Counter()
    dice, found = generator(rng), []
    for objs in map(scenes.objects, range(len(scenes))):
        due = sorted(CELLS, key=lambda cell: (seen[cell] + dice.random()) / CELLS[cell])
        cell, text = next((cell, text) for cell in due if (text := _ask(*cell, objs, dice)))
        seen[cell] += 1
        found.append((text, cell[1], _SHARES[cell[0]][2]))
    texts, answers, kinds = zip(*found) if found else ((), (), ())
    return list(texts), list(answers), list(kinds)


def names(objs: list[Object]) -> list[Named]:
    """Every object by each of the shortest descriptions that fit it alone."""
    found: list[Named] = []
    for obj in objs:
        shorter: list[set[str]] = []
        for keys in _SUBSETS:
            what = describe(obj, keys)
            if number(objs, what) == 1 and not any(part <= set(keys) for part in shorter):
                shorter.append(set(keys))
                found.append(Named(obj, phrase(what, "{noun}"), what, told=frozenset(keys)))
    return found


def placed(objs: list[Object], anchors: list[Named]) -> list[Named]:
    """Objects by where they stand beside one of `anchors`, with one attribute more where several stand there."""
    beside = {obj: [(place, *found) for relation, place in enumerate(PLACES) for found in _told_apart(beyond(objs, obj, relation) or [])]
              for obj in objs}
    found = []
    for anchor in anchors:
        for place, obj, keys, what in beside[anchor.obj]:
            if obj not in anchor.through:
                words = f"{phrase(what, '{noun}')} {place} the {anchor.words}"
                found.append(Named(obj, words, what, (anchor.obj, *anchor.through), anchor.told.union(keys)))
    return found


def _told_apart(there: list[Object]) -> Iterator[tuple[Object, tuple[str, ...], Description]]:
    """Each of these objects by every attribute that tells it from the others; by none where it is the only one."""
    for obj in there:
        for keys in [()] if len(there) == 1 else [(key,) for key in VALUES]:
            what = describe(obj, keys)
            if number(there, what) == 1:
                yield obj, keys, what


def beyond(objs: list[Object], anchor: Object, relation: int) -> list[Object] | None:
    """The objects that stand clearly in this relation to `anchor`; None where one does so by a few pixels only."""
    far = [(offset(obj, anchor, relation), obj) for obj in objs if obj is not anchor]
    return None if any(0 < distance < CLEAR for distance, _ in far) else [obj for distance, obj in far if distance > 0]


def _ask(question: str, answer: str, objs: list[Object], rng: random.Random) -> str | None:
    """A question of this sort with this answer; None: not to be had here."""
    how, _, attribute = question.partition(" ")
    return _DRAW[how](attribute or how, answer, objs, rng)


def _query(attribute: str, answer: str, objs: list[Object], rng: random.Random) -> str | None:
    target = _found_by_place(attribute, answer, objs, rng)
    return target and pick(_QUERY[attribute], rng, x=_noun(target.words, attribute, rng))


def _choose(attribute: str, answer: str, objs: list[Object], rng: random.Random) -> str | None:
    target = _found_by_place(attribute, answer, objs, rng)
    if target is None:
        return None
    v, w = rng.sample((answer, rng.choice([v for v in VALUES[attribute] if v != answer])), 2)
    return pick(_CHOOSE[attribute], rng, x=_noun(target.words, attribute, rng), v=v, w=w)


def _found_by_place(attribute: str, answer: str, objs: list[Object], rng: random.Random) -> Named | None:
    """An object with this value, named by one place or, at the rate `_TWICE` where that can be, by two."""
    near = placed(objs, names(objs))
    first = rng.random() < _TWICE
    for twice in (first, not first):
        pool = placed(objs, near) if twice else near
        fitting = [x for x in pool if attribute not in x.told and value(attribute, getattr(x.obj, attribute)) == answer]
        if fitting:
            return rng.choice(fitting)
    return None


def _beside(_: str, answer: str, objs: list[Object], rng: random.Random) -> str | None:
    """Which of two objects of different shapes stands in this relation to the other."""
    named = [x for x in names(objs) if "shape" in x.what]
    pairs = [(x, y, r) for x, y in permutations(named, 2) for r in range(4)
             if value("shape", x.obj.shape) == answer != value("shape", y.obj.shape) and offset(x.obj, y.obj, r) >= CLEAR]
    if not pairs:
        return None
    x, y, relation = rng.choice(pairs)
    one, two = rng.sample((x.words, y.words), 2)
    return pick(_BESIDE, rng, x=one, y=two, p=PLACES[relation])


def _exists(_: str, answer: str, objs: list[Object], rng: random.Random) -> str | None:
    """Is there such a thing at that place? False ones are true of another place, or one word off."""
    for _ in range(8):
        anchor, relation, keys = rng.choice(names(objs) or [None]), rng.randrange(4), rng.choice(_SOME)
        there = None if anchor is None else beyond(objs, anchor.obj, relation)
        if there is None or (answer == "yes" and not there):
            continue
        what = describe(rng.choice(there if answer == "yes" else [o for o in objs if o is not anchor.obj]), keys)
        if answer == "no" and any(matches(o, what) for o in there):
            what = one_word_off(what, rng)
        fits = any(matches(o, what) for o in there)
        if fits == (answer == "yes") and not anchor.what.items() <= what.items():
            return pick(_EXISTS, rng, d=phrase(what), p=PLACES[relation], x=_noun(anchor.words, "", rng))
    return None


def _joined(word: str, answer: str, objs: list[Object], rng: random.Random) -> str | None:
    """Two things, one of which decides: `and` is false by one of them, `or` true by one of them."""
    wanted = {("and", "yes"): 2, ("and", "no"): 1, ("or", "yes"): 1, ("or", "no"): 0}[word, answer]
    for _ in range(8):
        pair = [describe(obj, rng.choice(_SOME[2:])) for obj in rng.sample(objs, 2)]
        for k in range(2 - wanted):
            pair[k] = one_word_off(pair[k], rng) if rng.random() < 0.7 else anything(rng, tuple(pair[k]))
        if sum(number(objs, what) > 0 for what in pair) == wanted and pair[0] != pair[1]:
            d, e = rng.sample([phrase(what) for what in pair], 2)
            return pick(_JOINED[word], rng, d=d, e=e)
    return None


def _both(_: str, answer: str, objs: list[Object], rng: random.Random) -> str | None:
    """Does one object stand in two relations to two others?"""
    named = names(objs)
    for _ in range(8):
        x, y, z = (rng.choice(named) for _ in range(3)) if named else (None,) * 3
        if x is None or len({x.obj, y.obj, z.obj}) < 3:
            continue
        sides = [[r for r in range(4) if offset(x.obj, o.obj, r) >= CLEAR] for o in (y, z)]
        if all(sides):
            said = [rng.choice(side) for side in sides]
            if answer == "no":
                for k in rng.choice(((0,), (1,), (0, 1))):
                    said[k] ^= 1
            words = {k: _noun(o.words, "", rng) for k, o in zip("xyz", (x, y, z))}
            return pick(_BOTH, rng, **words, p=PLACES[said[0]], q=PLACES[said[1]])
    return None


def _compare(attribute: str, answer: str, objs: list[Object], rng: random.Random) -> str | None:
    """Have two objects the same value? One of them is named by its place where that can be."""
    near = names(objs)
    for pool in (placed(objs, near), near):
        pairs = [(x, y) for x in pool for y in near if x.obj is not y.obj and attribute not in x.told | y.told
                 and (getattr(x.obj, attribute) == getattr(y.obj, attribute)) == (answer == "yes")]
        if pairs:
            x, y = rng.choice(pairs)
            return pick(_COMPARE[attribute], rng, x=_noun(x.words, attribute, rng), y=_noun(y.words, attribute, rng))
    return None


def _noun(words: str, attribute: str, rng: random.Random) -> str:
    """The name with a noun, which is not "shape" where the shape is asked for."""
    return words.format(noun=rng.choice(_NOUNS[attribute == "shape" :]))


_DRAW = {"query": _query, "choose": _choose, "beside": _beside, "exists": _exists, "and": _joined, "or": _joined, "both": _both,
         "compare": _compare}
