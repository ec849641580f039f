"""The pre-training text: captions, claims, questions with answers, true and false, about generated scenes.

No template here is used by a task (tests/test_corpus.py). A sample is one of two kinds:
`words` (a true text, of which content words will be hidden) and `match` (a true or false text to be judged).
"""

from __future__ import annotations

import random
import re
from typing import NamedTuple

from suite.data.facts import (
    RELATIONS, Claim, Compare, Count, Exists, Pair, Query, Relation, anything, ask, describe, draw, falsify, some_keys, wrong,
)
from suite.data.wording import NUMBERS, phrase, pick, value
from suite.data.world import Object

ASKS = {
    "colour": ("the {d} , color ?", "name the colour of the {d}", "the {d} has which color ?", "tell me : what color has the {d} ?"),
    "shape": ("the {d} , form ?", "name the form of the {d}", "the {d} , what kind ?", "tell me : what is this {d} ?",
              "the {d} has what shape ?"),
    "size": ("the {d} , size ?", "the {d} , how big ?", "name the size of the {d}", "the {d} has which size ?"),
    "row": ("the {d} , height ?", "the {d} , how high up ?", "name the row of the {d}", "the {d} lies in which row ?"),
    "column": ("the {d} , side ?", "name the column of the {d}", "on what side can you see the {d} ?"),
    None: ("number of {ds} ?", "count the {ds}", "tell me : how many {ds} in all ?", "{ds} , how many ?", "you can count how many {ds} ?"),
}
TELLS = {
    Exists: (("one finds a {d}", "a {d} appears", "there is a {d} here", "the image does contain a {d}", "present : a {d}", "you see a {d}",
              "the picture can show a {d}"),
             ("one finds no {d}", "no {d} appears", "there is not a {d} here", "the image does not contain a {d}", "without any {d}",
              "not present : a {d}")),
    Count: ("{n} {ds} , no more", "one counts {n} {ds}", "the number of {ds} is {n}", "exactly {n} {ds} appear", "only {n} {ds}"),
    Compare: {1: ("{ds} are more than {es}", "more {ds} than {es} appear"), -1: ("{ds} are fewer than {es}", "fewer {ds} than {es} appear"),
              0: ("as many {ds} appear as {es}", "{ds} and {es} are as many")},
    Pair: (("neither a {d} nor a {e}", "not a {d} and not a {e}"), ("both a {d} and a {e}", "each appears : a {d} and a {e}")),
    "left": ("the {d} is left of the {e}", "left of the {e} one finds the {d}"),
    "right": ("the {d} is right of the {e}", "right of the {e} one finds the {d}"),
    "above": ("the {d} is above the {e}", "the {d} lies above the {e}"),
    "below": ("the {d} is below the {e}", "the {d} lies below the {e}"),
}
CHECKS = ("{claim} ? {yes}", "{claim} , yes or no ? {yes}", "is it so that {claim} ? {yes}", "{claim} : {true}",
          "it is {true} that {claim}")
CAPTIONS = ("{body}", "image of {body}", "a picture with {body}", "on display : {body}", "this image has {body}", "it shows {body}",
            "pictures of {body}")
NOUNS = ("shape", "shape", "object", "figure", "thing")
SHORT = ("exists", "exists", "count", "relation", "compare", "pair", "query", "query", "query", "check", "check")


MARK = "~"
"""Stands before a word that is wrong, where it is known which one is."""


class Sample(NamedTuple):
    """text, with marks; kind `words` or `match`; truth: does it fit? (Always for `words`.)"""

    text: str
    kind: str
    truth: bool


def plain(text: str) -> str:
    """The text without marks."""
    return text.replace(MARK, "")


def caption(objs: list[Object], truth: bool, rng: random.Random) -> str:
    """All objects in random order and detail. Half of the false ones have one wrong word, marked; the others describe other objects."""
    parts = [describe(obj, some_keys(rng, place=0.5)) for obj in rng.sample(objs, len(objs))]
    noun, spot = rng.choice(NOUNS), rng.randrange(len(parts))
    phrases = [phrase(part, noun) for part in parts]
    if not truth and rng.random() < 0.5:
        off = falsify(parts[spot], objs, rng)
        phrases[spot] = phrase(off, noun)
        for key in off.keys() & parts[spot].keys():
            if off[key] != parts[spot][key]:
                phrases[spot] = re.sub(rf"\b{value(key, off[key])}\b", MARK + value(key, off[key]), phrases[spot])
    elif not truth:
        phrases = [phrase(falsify(anything(rng, tuple(part)), objs, rng), noun) for part in parts]
    return listed(phrases, rng)


def listed(phrases: list[str], rng: random.Random) -> str:
    """Phrases without article as one caption."""
    joint = rng.choice((" , ", " and ", " with "))
    return pick(CAPTIONS, rng, body=joint.join("a " + p for p in phrases))


def tell(claim: Claim, rng: random.Random) -> str:
    """A claim as a sentence."""
    noun = rng.choice(NOUNS)
    words = {"d": phrase(claim.what, noun), "ds": phrase(claim.what, noun, plural=True)}
    if isinstance(claim, Exists):
        return pick(TELLS[Exists][not claim.positive], rng, **words)
    if isinstance(claim, Count):
        return pick(TELLS[Count], rng, n=NUMBERS[claim.n], **words)
    words |= {"e": phrase(claim.other, noun), "es": phrase(claim.other, noun, plural=True)}
    if isinstance(claim, Relation):
        return pick(TELLS[RELATIONS[claim.relation]], rng, **words)
    return pick(TELLS[type(claim)][claim.sign if isinstance(claim, Compare) else claim.both], rng, **words)


def question(query: Query, rng: random.Random) -> str:
    """A question without its answer."""
    noun = rng.choice(NOUNS)
    return pick(ASKS[query.attribute], rng, d=phrase(query.what, noun), ds=phrase(query.what, noun, plural=True))


def checked(objs: list[Object], right: bool, rng: random.Random) -> tuple[str, str] | None:
    """A claim put as a question, and the answer that is `right` or not."""
    truth = rng.random() < 0.5
    claim = draw(rng.choice(SHORT[:6]), objs, truth, rng)
    if claim is None:
        return None
    says = truth == right
    text = pick(CHECKS, rng, claim=tell(claim, rng), yes="{w}", true="{t}")
    return text.replace("{t}", "true" if says else "false"), "yes" if says else "no"


def short(objs: list[Object], truth: bool, rng: random.Random) -> str:
    """A claim, a checked claim or a question with its answer; true or false."""
    while True:
        kind = rng.choice(SHORT)
        if kind == "query":
            query = ask(objs, rng)
            if query is not None:
                query = query if truth else wrong(query, rng)
                return f"{question(query, rng)} {'' if truth else MARK}{value(query.attribute, query.answer)}"
        elif kind == "check":
            found = checked(objs, truth, rng)
            if found is not None:
                return found[0].replace("{w}", found[1] if truth else MARK + found[1])
        else:
            claim = draw(kind, objs, truth, rng)
            if claim is not None:
                return tell(claim, rng)


def sample(objs: list[Object], long: bool, rng: random.Random) -> Sample:
    """One pre-training text of a scene: a caption (`long`) or something short."""
    kind = "words" if rng.random() < 0.55 else "match"
    truth = kind == "words" or rng.random() < 0.5
    return Sample(caption(objs, truth, rng) if long else short(objs, truth, rng), kind, truth)
