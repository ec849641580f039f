"""What can be said of a scene: descriptions of objects, claims with a truth value, and questions. No wording here."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from suite.data.world import COLOURS, COLUMNS, ROWS, SHAPES, SIZES, SLOTS, Object

ATTRIBUTES = {"size": SIZES, "colour": COLOURS, "shape": SHAPES, "row": ROWS, "column": COLUMNS}
RELATIONS = ("left", "right", "above", "below")
CLEAR = 9
"""Pixels between two centres from which on "left of" and "above" are beyond doubt."""

Description = dict[str, int]
"""attribute -> index of its value; row and column always come together."""


def matches(obj: Object, what: Description) -> bool:
    """Does the object fit the description?"""
    return all(getattr(obj, key) == value for key, value in what.items())


def number(objs: list[Object], what: Description) -> int:
    """How many objects fit."""
    return sum(matches(obj, what) for obj in objs)


class Claim:
    """Something said of the objects of a scene, true or false."""

    def holds(self, objs: list[Object]) -> bool:
        """Is it true of these objects?"""
        raise NotImplementedError


@dataclass(frozen=True)
class Exists(Claim):
    """There is (`positive`) or is not an object that fits."""

    what: Description
    positive: bool = True

    def holds(self, objs: list[Object]) -> bool:
        return any(matches(obj, self.what) for obj in objs) == self.positive


@dataclass(frozen=True)
class Count(Claim):
    """Exactly `n` objects fit."""

    what: Description
    n: int

    def holds(self, objs: list[Object]) -> bool:
        return number(objs, self.what) == self.n


@dataclass(frozen=True)
class Relation(Claim):
    """The one object that fits `what` stands left of, right of, above or below the one that fits `other`."""

    what: Description
    relation: int
    other: Description

    def holds(self, objs: list[Object]) -> bool:
        one = [o for o in objs if matches(o, self.what)]
        two = [o for o in objs if matches(o, self.other)]
        return any(a is not b and offset(a, b, self.relation) >= CLEAR for a in one for b in two)


@dataclass(frozen=True)
class Compare(Claim):
    """More (sign 1), fewer (-1) or as many (0) objects fit `what` than `other`."""

    what: Description
    sign: int
    other: Description

    def holds(self, objs: list[Object]) -> bool:
        difference = number(objs, self.what) - number(objs, self.other)
        return (difference > 0) - (difference < 0) == self.sign


@dataclass(frozen=True)
class Pair(Claim):
    """Both (`both`) or neither of two descriptions are met."""

    what: Description
    both: bool
    other: Description

    def holds(self, objs: list[Object]) -> bool:
        return all((number(objs, what) > 0) == self.both for what in (self.what, self.other))


def offset(a: Object, b: Object, relation: int) -> int:
    """How far `a` lies beyond `b` in the direction of the relation, in pixels."""
    return (b.x - a.x, a.x - b.x, b.y - a.y, a.y - b.y)[relation]


def describe(obj: Object, keys: tuple[str, ...]) -> Description:
    """The object's values of these attributes."""
    return {key: getattr(obj, key) for key in keys}


def some_keys(rng: random.Random, place: float = 0.25) -> tuple[str, ...]:
    """Attributes for a description, the shape in most; with the place at the given rate."""
    keys = [k for k, p in (("size", 0.3), ("colour", 0.65), ("shape", 0.75)) if rng.random() < p] or [rng.choice(("colour", "shape"))]
    return (*keys, "row", "column") if rng.random() < place else tuple(keys)


def anything(rng: random.Random, keys: tuple[str, ...]) -> Description:
    """A description with random values."""
    return {key: rng.randrange(len(ATTRIBUTES[key])) for key in keys}


def one_word_off(what: Description, rng: random.Random) -> Description:
    """The description with one value changed."""
    key = rng.choice(list(what))
    values = len(ATTRIBUTES[key])
    return {**what, key: (what[key] + rng.randrange(1, values)) % values}


def falsify(what: Description, objs: list[Object], rng: random.Random) -> Description:
    """A description near `what` that no object fits: one word off where that will do."""
    for _ in range(6):
        near = one_word_off(what, rng)
        if not number(objs, near):
            return near
    while number(objs, near):
        near = anything(rng, ("colour", "shape"))
    return near


def unique(objs: list[Object], rng: random.Random, exclude: tuple[str, ...] = ()) -> tuple[Object, Description] | None:
    """An object and a shortest-first random description that fits it alone, without the attributes in `exclude`. None: it has none."""
    obj = rng.choice(objs)
    pool = [k for k in ("shape", "colour", "size") if k not in exclude]
    rng.shuffle(pool)
    for n in range(1, len(pool) + 1):
        what = describe(obj, tuple(k for k in ("size", "colour", "shape") if k in pool[:n]))
        if number(objs, what) == 1:
            return obj, what
    return None


def draw(kind: str, objs: list[Object], truth: bool, rng: random.Random) -> Claim | None:
    """A claim of this kind with this truth value; false ones are mostly one word away from a true one. None: not to be had."""
    for _ in range(8):
        claim = _DRAW[kind](objs, truth, rng)
        if claim is not None and claim.holds(objs) == truth:
            return claim
    return None


def _exists(objs: list[Object], truth: bool, rng: random.Random) -> Claim | None:
    positive = rng.random() < 0.7
    what = describe(rng.choice(objs), some_keys(rng))
    if truth != positive:
        what = one_word_off(what, rng) if rng.random() < 0.75 else anything(rng, some_keys(rng))
    return Exists(what, positive)


def _count(objs: list[Object], truth: bool, rng: random.Random) -> Claim | None:
    what = {} if rng.random() < 0.25 else describe(rng.choice(objs), rng.choice((("shape",), ("colour",), ("size",), ("colour", "shape"))))
    n = number(objs, what)
    return Count(what, n if truth else min(max(0, n + rng.choice((-1, 1, 1, 2))), SLOTS + 1))


def _relation(objs: list[Object], truth: bool, rng: random.Random) -> Claim | None:
    one, two = unique(objs, rng), unique(objs, rng)
    if one is None or two is None or one[0] is two[0]:
        return None
    clear = [r for r in range(4) if offset(one[0], two[0], r) >= CLEAR]
    if not clear:
        return None
    relation = rng.choice(clear)
    return Relation(one[1], relation if truth else relation ^ 1, two[1])


def _compare(objs: list[Object], truth: bool, rng: random.Random) -> Claim | None:
    key = rng.choice(("shape", "colour"))
    one, two = (describe(rng.choice(objs), (key,)) if rng.random() < 0.7 else anything(rng, (key,)) for _ in range(2))
    return None if one == two else Compare(one, rng.choice((-1, 0, 1)), two)


def _pair(objs: list[Object], truth: bool, rng: random.Random) -> Claim | None:
    both = rng.random() < 0.6
    one, two = (describe(rng.choice(objs), some_keys(rng, 0.0)) for _ in range(2))
    if not both:
        one, two = falsify(one, objs, rng), falsify(two, objs, rng) if truth else two
    elif not truth:
        two = falsify(two, objs, rng)
    one, two = rng.sample((one, two), 2)
    return None if one == two else Pair(one, both, two)


_DRAW = {"exists": _exists, "count": _count, "relation": _relation, "compare": _compare, "pair": _pair}


@dataclass(frozen=True)
class Query:
    """What is the `attribute` of the one object that fits `what`? `answer` is its value; None asks how many fit."""

    what: Description
    attribute: str | None
    answer: int


def ask(objs: list[Object], rng: random.Random, counts: float = 0.2) -> Query | None:
    """A question with one right answer, at the rate `counts` a how-many question. None: not to be had at this try."""
    if rng.random() < counts:
        claim = _count(objs, True, rng)
        return Query(claim.what, None, claim.n)
    attribute = rng.choice(("colour", "colour", "shape", "shape", "size", "row", "column"))
    if len(objs) > 1:
        found = unique(objs, rng, (attribute,))
    else:
        found = objs[0], describe(objs[0], rng.choice(((), ("size",), ("shape",), ("colour",))))
    if found is None or attribute in found[1]:
        return None
    return Query(found[1], attribute, getattr(found[0], attribute))


def wrong(query: Query, rng: random.Random) -> Query:
    """The same question with another answer."""
    values = 4 if query.attribute is None else len(ATTRIBUTES[query.attribute])
    return replace(query, answer=(query.answer + rng.randrange(1, values)) % values)
