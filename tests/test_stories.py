"""The language models' pre-training text: true, decided by its description, known to the tokenizer, in no template of a task."""

from __future__ import annotations

import random
import re
from collections import Counter

import numpy as np
import pytest
from test_corpus import FILL, easy_questions, skeleton

from suite.data import stories, text, world, world_text
from suite.data.world import COLOURS, COLUMNS, ROWS, SHAPES, SIZES, Object
from tests import reading

VERDICT = re.compile(r"^(?:so that|so is it that|so ,|tell me :) (?P<claim>.*?) (?:is|\?|, true or false \?) (?P<says>yes|no|true|false)$")
CONCLUSION = re.compile(r"^(?:so it is|it is) (?P<says>true|false) that (?P<claim>.*)$|^(?:so one can tell :|so) (?P<plain>.*)$")

SIDES = {*ROWS, *COLUMNS}


@pytest.fixture(scope="module")
def drawn() -> list[list[Object]]:
    some = world.scenes("test-stories", 1200, (1, 3))
    return [some.objects(i) for i in range(len(some))]


def true(sentence: str, objs: list[Object]) -> bool:
    """Does what follows a description hold for these objects?"""
    if found := VERDICT.match(sentence):
        return reading.statement(found["claim"], objs) == (found["says"] in ("yes", "true"))
    if sentence.endswith((" yes", " no", ": true", ": false")):
        return reading.short(sentence, objs)
    if found := CONCLUSION.match(sentence):
        return reading.statement(found["claim"] or found["plain"], objs) == (found["says"] != "false")
    return reading.short(sentence, objs)


def parts(whole: str) -> tuple[str, str]:
    """A whole text as description and what follows it, which a colon or full stop parts; a colon may also stand before the list."""
    for at in (m.end() for m in re.finditer(r" [.:] ", whole)):
        if len(reading.PHRASE.findall(whole[:at])):
            return whole[:at], whole[at:]
    raise AssertionError(whole)


def retold(description: str, rng: random.Random) -> list[Object]:
    """Objects that fit the description, with whatever it leaves open drawn anew."""
    objs = []
    for phrase in reading.PHRASE.findall(description):
        words = {reading.SINGULAR.get(word, word) for word in phrase.split()}

        def read(names: tuple[str, ...], words: set[str] = words) -> int:
            said = [i for i, name in enumerate(names) if name in words]
            return said[0] if said else rng.randrange(len(names))

        row, column = read(ROWS), read(COLUMNS)
        objs.append(Object(read(SHAPES), read(COLOURS), read(SIZES), row, column, (2 * column + 1) * 32 // 3, (2 * row + 1) * 32 // 3))
    return objs


def test_texts_are_true_and_the_description_says_all_that_is_needed(drawn: list[list[Object]]) -> None:
    rng, kinds = random.Random(0), Counter()
    for objs in drawn:
        for make in (stories.conclusion, stories.whole):
            description, rest = parts(make(objs, rng))
            assert reading.caption(description, objs), description
            assert true(rest, objs), (description, rest)
            assert true(rest, retold(description, rng)), (description, rest)
        kinds["false" in rest] += 1
    assert min(kinds.values()) > 30


def test_a_wrong_word_is_noticed(drawn: list[list[Object]]) -> None:
    """By what judges here."""
    rng = random.Random(3)
    for objs in drawn[:300]:
        asked = stories.asked(objs, rng)
        opposite = {"yes": "no", "no": "yes", "true": "false", "false": "true"}.get(asked.answer)
        others = {"value": "purple", "count": "seven", "verdict": opposite}
        assert true(f"{asked.open} {asked.answer}", objs) and not true(f"{asked.open} {others[asked.kind]}", objs)


def test_answers_are_one_word_of_many_and_verdicts_even(drawn: list[list[Object]]) -> None:
    rng = random.Random(1)
    asked = [stories.asked(objs, rng) for objs in drawn]
    words, vocabulary = Counter(one.answer for one in asked), text.tokenizer().get_vocab()
    assert set(words) <= vocabulary.keys() and len(words) >= 8 + 5 + 2 + 3 + 3 + 3 + 4
    assert 0.8 < (words["yes"] + words["true"]) / (words["no"] + words["false"]) < 1.25
    assert min(Counter(one.kind for one in asked).values()) > 0.05 * len(asked)
    assert all(one.description and one.text == f"{one.description} {one.open}" for one in asked)


def test_descriptions_are_left_out_at_the_given_rate(drawn: list[list[Object]]) -> None:
    rng = random.Random(2)
    asked = [stories.asked(objs, rng, 0.3) for objs in drawn]
    blind = [one for one in asked if not one.description]
    assert 0.25 < len(blind) / len(asked) < 0.35 and all(one.text == one.open for one in blind)


def test_a_scene_is_described_twice_at_the_given_rate(drawn: list[list[Object]]) -> None:
    rng = random.Random(5)
    told = [parts(stories.whole(objs, rng, twice=1.0)) for objs in drawn]
    assert all(reading.caption(said, objs) for objs, both in zip(drawn, told) for said in both)
    counts = [[len([word for word in said.split() if word in SIDES]) for said in both] for both in told]
    assert all(first == again for first, again in counts) and len({first for first, _ in counts}) > 3
    rests = [parts(stories.whole(objs, rng, twice=0.4))[1] for objs in drawn]
    often = np.mean([rest.endswith((".", ":")) for rest in rests])
    assert 0.35 < often < 0.45


def test_every_word_is_known_and_every_text_fits(drawn: list[list[Object]]) -> None:
    rng = random.Random(4)
    ids, lengths = text.tokenize([stories.whole(objs, rng) for objs in drawn for _ in range(3)], limit=100)
    assert not (ids == text.UNK).any() and lengths.max() <= 64 and lengths.max() > 40
    assert {word for template in (*stories.GIVEN, *stories.VERDICTS, *stories.CONCLUSIONS)
            for word in re.findall("[a-z]+", re.sub("{.*?}", "", template))} <= text.tokenizer().get_vocab().keys()  # fmt: skip


def test_no_template_is_used_by_a_task() -> None:
    left, right = (world.scenes(f"test-stories/{side}", 1500, (1, 3)) for side in ("left", "right"))
    rng = np.random.default_rng(0)
    sentences = [*world_text.questions(left, rng)[0], *world_text.statements(left, right, rng)[0], *world_text.captions(left, rng),
                 *easy_questions()]  # fmt: skip
    theirs = {skeleton(sentence) for sentence in sentences}
    claims = [claim.format(**FILL) for claim in ("one finds a {d}", "the {d} is left of the {e}", "only {n} {ds}")]
    ours = {skeleton(t.format(body=FILL["body"], claim=claim, yes="", true="")) for claim in claims
            for t in (*stories.GIVEN, *stories.VERDICTS, *stories.CONCLUSIONS)}  # fmt: skip
    assert not ours & theirs and len(ours) > 15
