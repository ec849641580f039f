"""The pre-training text of the language models: a scene in words, then a question with its answer, a verdict on a claim, a conclusion, or
the scene again in other words.

Claims, questions and their templates are those of suite/data/corpus.py; no template here is used by a task (tests/test_stories.py). A
description says what is needed for what follows, and some more, always of all objects alike, so that nothing is left open.
"""

from __future__ import annotations

import random
from typing import NamedTuple

from suite.data import corpus
from suite.data.facts import Claim, Description, Query, Relation, ask, describe, draw
from suite.data.wording import phrase, pick, value
from suite.data.world import Object

GIVEN = ("{body} .", "there is {body} .", "in this image : {body} .", "here one finds {body} :", "all that appears : {body} .",
         "the image to see has {body} .", "on display here : {body} :")  # fmt: skip
JOINTS = (" , ", " and ", " , and ", " with ", " ; ")
VERDICTS = tuple(check for check in corpus.CHECKS if check.endswith(("{yes}", "{true}"))) + (
    "so that {claim} is {true}", "so is it that {claim} ? {yes}", "so , {claim} , true or false ? {true}", "tell me : {claim} ? {yes}",
)  # fmt: skip
"""Claims with a word at the end that says whether they hold."""
CONCLUSIONS = ("so it is {true} that {claim}", "so {claim}", "it is {true} that {claim}", "so one can tell : {claim}")
"""Claims with that word inside, or true ones without any."""
CLAIMS = ("exists", "exists", "count", "relation", "relation", "compare", "pair")
KEYS = ("size", "colour", "shape", "place")


class Asked(NamedTuple):
    """description: of the scene ("": none); open: what is asked; answer: the word that goes on; kind: `value`, `count` or `verdict`."""

    description: str
    open: str
    answer: str
    kind: str

    @property
    def text(self) -> str:
        """Description and question."""
        return f"{self.description} {self.open}".strip()


def asked(objs: list[Object], rng: random.Random, blind: float = 0.0) -> Asked:
    """A question or a claim about the scene behind its description, which is left out at the rate `blind`."""
    while True:
        if rng.random() < 0.55:
            query = ask(objs, rng)
            if query is not None:
                answer, kind = value(query.attribute, query.answer), "value" if query.attribute else "count"
                return Asked(told(objs, query, rng, blind), corpus.question(query, rng), answer, kind)
        else:
            truth = rng.random() < 0.5
            claim = draw(rng.choice(CLAIMS), objs, truth, rng)
            if claim is not None:
                before, answer = verdict(claim, truth, rng)
                return Asked(told(objs, claim, rng, blind), before, answer, "verdict")


def verdict(claim: Claim, truth: bool, rng: random.Random) -> tuple[str, str]:
    """A claim up to the word that says whether it holds, and that word."""
    *before, word = pick(VERDICTS, rng, claim=corpus.tell(claim, rng), yes="yes" if truth else "no", true=str(truth).lower()).split()
    return " ".join(before), word


def conclusion(objs: list[Object], rng: random.Random) -> str:
    """A description and what follows from it."""
    template = rng.choice(CONCLUSIONS)
    while True:
        truth = rng.random() < 0.5 or "{true}" not in template
        claim = draw(rng.choice(CLAIMS), objs, truth, rng)
        if claim is not None:
            return f"{told(objs, claim, rng)} {template.format(claim=corpus.tell(claim, rng), true=str(truth).lower())}"


def whole(objs: list[Object], rng: random.Random, blind: float = 0.0, twice: float = 0.0) -> str:
    """A true text: something asked with its answer, or a conclusion; at the rate `twice` two descriptions."""
    if twice and rng.random() < twice:  # without it nothing is drawn, so that texts pre-trained on before stay what they were
        keys = set(rng.sample(KEYS, rng.choice((2, 3))))
        return f"{description(objs, keys, rng)} {description(objs, keys, rng)}"
    if rng.random() < 0.3:
        return conclusion(objs, rng)
    found = asked(objs, rng, blind)
    return f"{found.text} {found.answer}"


def description(objs: list[Object], keys: set[str], rng: random.Random) -> str:
    """All objects in random order by these attributes of KEYS."""
    chosen = tuple(k for key in KEYS if key in keys for k in (("row", "column") if key == "place" else (key,)))
    noun, joint = rng.choice(corpus.NOUNS), rng.choice(JOINTS)
    return pick(GIVEN, rng, body=joint.join("a " + phrase(describe(obj, chosen), noun) for obj in rng.sample(objs, len(objs))))


def needed(said: Claim | Query) -> set[str]:
    """The attributes, of KEYS, that decide about a claim or a question."""
    parts: list[Description] = [said.what, *([said.other] if hasattr(said, "other") else [])]
    keys = {key for what in parts for key in what} | ({said.attribute} if isinstance(said, Query) and said.attribute else set())
    if isinstance(said, Relation):
        keys.add("row")
    return {"place" if key in ("row", "column") else key for key in keys}


def told(objs: list[Object], said: Claim | Query, rng: random.Random, blind: float = 0.0) -> str:
    """A description that decides about a claim or a question; "" at the rate `blind`."""
    if rng.random() < blind:
        return ""
    more = {key for key in KEYS if rng.random() < 0.4}
    return description(objs, needed(said) | more or {"shape"}, rng)
