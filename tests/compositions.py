"""Reads the questions of world-gqa, the hypotheses of world-ve and the texts of world-science, and answers them on its own."""

from __future__ import annotations

import re
from itertools import product

from suite.data.world import COLUMNS, ROWS, SHAPES, Object
from suite.data.world_ve_text import Strip
from tests.reading import NUMBERS, VALUES, fitting

BEYOND = {"left of": lambda a, b: a.x < b.x, "right of": lambda a, b: a.x > b.x,
          "above": lambda a, b: a.y < b.y, "below": lambda a, b: a.y > b.y}
PLACE = rf"({'|'.join(BEYOND)})"
ATTRIBUTES = {"form": "shape", "shape": "shape", "colour": "colour", "size": "size"}
QUESTIONS = {
    "same": (r"is the (?P<k>colour|form|size) of (?P<x>the .+) that of (?P<y>the .+)\?",
             r"does (?P<x>the .+) have the (?P<k>\w+) of (?P<y>the .+)\?"),
    "value": (r"(?:of )?what (?P<k>colour|shape|size) is (?P<x>the .+)\?", r"what is the (?P<k>form|size) of (?P<x>the .+)\?"),
    "other": (rf"which is {PLACE} the other, (?P<x>the .+) or (?P<y>the .+)\?",
              rf"of (?P<x>the .+) and (?P<y>the .+), which is {PLACE} the other\?"),
    "either": (r"which (?:colour )?is (?P<x>the .+), (?:a )?(?P<v>\w+) or (?:a )?(?P<w>\w+)\?",),
    "joined": (r"(?:is there|does the picture have) a (?P<d>.+) (?P<how>and|or) a (?P<e>.+)\?",),
    "both": (rf"is (?P<x>the [a-z ]+?) {PLACE} (?P<y>the [a-z ]+?) and (?P<q>left of|right of|above|below) (?P<z>the [a-z ]+)\?",),
    "exists": (rf"is (?:there )?a (?P<d>.+?) {PLACE} (?P<x>the .+)\?",),
    "choose": (r"is (?P<x>the .+?) (?:a )?(?P<v>\w+) or (?:a )?(?P<w>\w+)\?",),
}  # fmt: skip


def the(words: str, objs: list[Object]) -> Object:
    """The one object of "the red thing left of the small star"."""
    head, place, tail = re.fullmatch(rf"(the .+?)(?: {PLACE} (the .+))?", words).groups()
    found = [o for o in fitting(objs, head) if place is None or (o is not (anchor := the(tail, objs)) and BEYOND[place](o, anchor))]
    assert len(found) == 1, (words, objs)
    return found[0]


def gqa(question: str, objs: list[Object]) -> str:
    """The answer."""
    how, m = next((how, m) for how, patterns in QUESTIONS.items() for pattern in patterns if (m := re.fullmatch(pattern, question)))
    said = m.groupdict()
    place = next((g for g in m.groups() if g in BEYOND), None)
    x, y, z = (the(said[k], objs) if said.get(k) else None for k in "xyz")
    if how == "value":
        key = ATTRIBUTES[said["k"]]
        return VALUES[key][getattr(x, key)]
    if how in ("either", "choose"):
        (key,) = (key for key, words in VALUES.items() if said["v"] in words and said["w"] in words)
        assert VALUES[key][getattr(x, key)] in (said["v"], said["w"])
        return VALUES[key][getattr(x, key)]
    if how == "other":
        assert BEYOND[place](x, y) != BEYOND[place](y, x)
        return SHAPES[(x if BEYOND[place](x, y) else y).shape]
    if how == "same":
        true = getattr(x, ATTRIBUTES[said["k"]]) == getattr(y, ATTRIBUTES[said["k"]])
    elif how == "joined":
        true = (all if said["how"] == "and" else any)([fitting(objs, said["d"]), fitting(objs, said["e"])])
    elif how == "both":
        true = BEYOND[place](x, y) and BEYOND[said["q"]](x, z)
    else:
        true = any(o is not x and BEYOND[place](o, x) for o in fitting(objs, said["d"]))
    return "yes" if true else "no"


def entailed(text: str, shown: list[Object], strip: Strip) -> str:
    """What a hypothesis is, by trying how many fitting objects may be behind the panel."""
    found = [_possible(part, shown, strip) for part in text.split(" and ")]
    worlds = {all(truths) for truths in product(*found)}
    return {(True,): "entailment", (False,): "contradiction"}.get(tuple(worlds), "neutral")


def _possible(text: str, shown: list[Object], strip: Strip) -> set[bool]:
    """The truth values that a statement may have."""
    place = re.search(r"(?:at|in) the (?:(\w+) (row|column)|(\w+) (\w+))", text)
    named = {place[3]: "row", place[4]: "column"} if place[3] else {place[1]: place[2]}
    where = {key: {"row": ROWS, "column": COLUMNS}[key].index(word) for word, key in named.items()}
    rest = text.replace(place[0], "").replace(" is ", " ").replace(" are ", " ").removeprefix("is ").strip()
    amount, what = re.fullmatch(r"(a|no|exactly one|exactly two) (.+)", rest).groups()
    seen = sum(all(getattr(o, key) == k for key, k in where.items()) for o in fitting(shown, what))
    cells = [cell for cell in product(range(3), range(3)) if all(cell[key == "column"] == k for key, k in where.items())]
    hidden = sum(cell[strip[0] == "column"] == strip[1] for cell in cells)
    counts = range(seen, seen + hidden + 1)
    return {{"a": n >= 1, "no": n == 0, "exactly one": n == 1, "exactly two": n == 2}[amount] for n in counts}


def told(text: str) -> str:
    """The answer to a question of world-science that needs no picture."""
    *facts, question = text.split(". ")
    asked, _, options = question.rstrip("?").partition(": ")
    words = re.split(r", | or ", options)
    if facts:
        return _from_facts(facts[0].split(", "), asked)
    if m := re.fullmatch(r"which of these is a (\w+)", asked):
        (answer,) = (word for word in words if word in (VALUES | {"number": NUMBERS})[m[1]])
        return answer
    if m := re.fullmatch(r"how many are (\w+) and (\w+)", asked):
        return NUMBERS[NUMBERS.index(m[1]) + NUMBERS.index(m[2])]
    m = re.fullmatch(r"which number is one (more|less) than (\w+)", asked)
    return NUMBERS[NUMBERS.index(m[2]) + (1 if m[1] == "more" else -1)]


def _from_facts(facts: list[str], asked: str) -> str:
    pairs = [re.fullmatch(rf"the (\w+) is {PLACE} the (\w+)", fact) for fact in facts]
    if all(pairs):
        end = {"bottom": "below", "top": "above", "right": "right of", "left": "left of"}[asked.split()[-1]]
        other = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
        further = {(m[1], m[3]) if m[2] == end else (m[3], m[1]) for m in pairs}
        assert all(m[2] in (end, other[end]) for m in pairs)
        (answer,) = {a for a, _ in further} - {b for _, b in further}
        return answer
    known = dict(re.fullmatch(r"the (\w+) is (\w+)", fact).groups() for fact in facts)
    if m := re.search(r"is the (\w+)$|of the (\w+)$", asked):
        return known[m[1] or m[2]]
    (answer,) = (shape for shape, word in known.items() if word == asked.split()[-1])
    return answer
