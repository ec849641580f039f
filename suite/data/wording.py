"""Words for descriptions and numbers, shared by the tasks' texts and the pre-training text; templates are in the files that use them."""

from __future__ import annotations

import random

from suite.data.facts import ATTRIBUTES, Description

NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven")
PLURALS = {"circle": "circles", "rectangle": "rectangles", "triangle": "triangles", "star": "stars", "cross": "crosses"}
CONTENT = frozenset(
    [*(w for values in ATTRIBUTES.values() for w in values), *PLURALS.values(), *NUMBERS,
     "above", "below", "more", "fewer", "many", "yes", "no", "not", "true", "false"])
"""Words that say something of the picture: what masked-word pre-training hides."""


def value(attribute: str | None, index: int) -> str:
    """The word for a value; attribute None: a number."""
    return NUMBERS[index] if attribute is None else ATTRIBUTES[attribute][index]


def phrase(what: Description, noun: str = "shape", plural: bool = False) -> str:
    """A description as words: "large red circle", "blue shape", "star at the top left"; without article."""
    words = [value(k, what[k]) for k in ("size", "colour") if k in what]
    head = value("shape", what["shape"]) if "shape" in what else noun
    if plural:
        head = PLURALS.get(head, head + "s")
    words.append(head)
    if "row" in what and "column" in what:
        words.append(f"at the {value('row', what['row'])} {value('column', what['column'])}")
    return " ".join(words)


def pick(templates: tuple[str, ...], rng: random.Random, **words: str) -> str:
    """One of the templates, filled in."""
    return rng.choice(templates).format(**words)
