"""Reads the generated sentences by their key words and judges them on objects; knows neither templates nor how facts are drawn."""

from __future__ import annotations

import re
from itertools import pairwise, permutations

from suite.data.world import COLOURS, COLUMNS, ROWS, SHAPES, SIZES, Object

NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven")
SINGULAR = {"circles": "circle", "rectangles": "rectangle", "triangles": "triangle", "stars": "star", "crosses": "cross"}
NOUNS = ("shapes", "shape", "objects", "object", "figures", "figure", "things", "thing")
PHRASE = re.compile(
    rf"\b(?:(?:{'|'.join(SIZES)}) )?(?:(?:{'|'.join(COLOURS)}) )?(?:{'|'.join((*SINGULAR, *SHAPES, *NOUNS))})\b"
    rf"(?: at the (?:{'|'.join(ROWS)}) (?:{'|'.join(COLUMNS)}))?")
ASKED = {
    "colour": ("color", "colour"), "shape": ("form", "kind", "what is this"), "size": ("size", "big", "small or large"),
    "row": ("height", "high", "row"), "column": ("side", "column"), "number": ("number", "count", "how many"),
}
VALUES = {"colour": COLOURS, "shape": SHAPES, "size": SIZES, "row": ROWS, "column": COLUMNS}


def fitting(objs: list[Object], phrase: str) -> list[Object]:
    """The objects that "large red circle at the top left" or a part of it is said of."""
    words = {SINGULAR.get(w, w) for w in phrase.split()} - {*NOUNS, "at", "the"}
    return [o for o in objs if words <= {SIZES[o.size], COLOURS[o.colour], SHAPES[o.shape], ROWS[o.row], COLUMNS[o.column]}]


def statement(text: str, objs: list[Object]) -> bool:
    """Is a claim about one or two descriptions true?"""
    phrases, rest = PHRASE.findall(text), re.sub(r"\bone (finds|counts)\b", r"\1", PHRASE.sub("D", text)).split()
    found = [fitting(objs, phrase) for phrase in phrases]
    if len(phrases) == 1:
        number = [NUMBERS.index(w) for w in rest if w in NUMBERS]
        if number:
            return [len(found[0])] == number
        return bool(found[0]) != bool({"no", "not", "without"} & set(rest))
    one, two = (len(f) for f in found)
    if "more" in rest or "fewer" in rest:
        return one > two if "more" in rest else one < two
    if "many" in rest:
        return one == two
    for word, beyond in (("left", lambda a, b: a.x < b.x), ("right", lambda a, b: a.x > b.x),
                         ("above", lambda a, b: a.y < b.y), ("below", lambda a, b: a.y > b.y)):
        if word in rest:
            assert one == two == 1, text
            a, b = found[0][0], found[1][0]
            return beyond(b, a) if rest[0] == word else beyond(a, b)
    return one == two == 0 if {"neither", "not"} & set(rest) else one > 0 and two > 0


def answer(question: str, objs: list[Object]) -> str:
    """The right answer of a question for a value or a number."""
    question = re.sub(r"\b(what|kind of) shape\b", "what form", question)
    asked = [kind for kind, words in ASKED.items() if any(re.search(rf"\b{w}\b", question) for w in words)]
    (phrase,) = PHRASE.findall(question)
    found = fitting(objs, phrase)
    assert len(asked) == 1, (question, asked)
    if asked == ["number"]:
        return NUMBERS[len(found)]
    assert len(found) == 1, question
    return VALUES[asked[0]][getattr(found[0], asked[0])]


def short(text: str, objs: list[Object]) -> bool:
    """Is a claim, a claim with a verdict or a question with its answer true?"""
    if verdict := re.fullmatch(r"it is (true|false) that (.*)", text):
        return statement(verdict[2], objs) == (verdict[1] == "true")
    if verdict := re.fullmatch(r"(.*) : (true|false)", text):
        return statement(verdict[1], objs) == (verdict[2] == "true")
    if verdict := re.fullmatch(r"(?:is it so that )?(.*?) (?:, yes or no )?\? (yes|no)", text):
        return statement(verdict[1], objs) == (verdict[2] == "yes")
    question, _, last = text.rpartition(" ")
    if "?" in question or question.split()[0] in ("name", "count"):
        return answer(question, objs) == last
    return statement(text, objs)


def caption(text: str, objs: list[Object]) -> bool:
    """Is there an object for each description, and a description for each object?"""
    found = [fitting(objs, phrase) for phrase in PHRASE.findall(text)]
    return len(found) == len(objs) and all(found) and all(any(o in f for f in found) for o in objs)


def pair(text: str, left: list[Object], right: list[Object]) -> bool:
    """Is a statement about two pictures true?"""
    if "more" in text or "fewer" in text:
        return len(left) > len(right) if "more" in text else len(left) < len(right)
    (phrase,) = PHRASE.findall(text)
    seen = bool(fitting(left, phrase)), bool(fitting(right, phrase))
    return seen == next(v for k, v in {"only the left": (True, False), "only the right": (False, True), "neither": (False, False),
                                       "both": (True, True), "each": (True, True)}.items() if k in text)


def chain(text: str, objs: list[Object]) -> bool:
    """Do the objects, in some order, fit the descriptions, and stand to one another as it is said between them?"""
    beyond = {"left": lambda a, b: a.x < b.x, "right": lambda a, b: a.x > b.x,
              "above": lambda a, b: a.y < b.y, "below": lambda a, b: a.y > b.y}
    named, said = PHRASE.findall(text), re.findall(rf"\b(?:{'|'.join(beyond)})\b", text)
    assert len(named) == len(said) + 1, text
    return len(named) == len(objs) and any(
        all(obj in fitting(objs, phrase) for obj, phrase in zip(order, named))
        and all(beyond[word](*pair) for word, pair in zip(said, pairwise(order)))
        for order in permutations(objs))
