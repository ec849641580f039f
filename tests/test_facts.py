"""Facts of scenes: hand-made scenes with known truths, and that what is drawn is as true or false as asked for."""

from __future__ import annotations

import random

import pytest

from suite.data import facts, wording
from suite.data.facts import ATTRIBUTES, Claim, Compare, Count, Exists, Pair, Relation
from suite.data.world import COLOURS, SHAPES, Object, scenes

RED, GREEN, BLUE = (COLOURS.index(c) for c in ("red", "green", "blue"))
CIRCLE, STAR, CROSS = (SHAPES.index(s) for s in ("circle", "star", "cross"))
SCENE = [Object(CIRCLE, RED, 1, 0, 0, 10, 10), Object(STAR, RED, 0, 0, 2, 54, 12), Object(CIRCLE, BLUE, 0, 2, 1, 32, 52)]
"""Top left a large red circle, top right a small red star, bottom center a small blue circle."""

TWINS = [Object(CIRCLE, RED, 0, 0, 0, 10, 10), Object(CIRCLE, RED, 0, 2, 2, 50, 50)]
LEFT, RIGHT, ABOVE, BELOW = range(4)
KINDS = ("exists", "count", "relation", "compare", "pair")


@pytest.fixture(scope="module")
def drawn() -> list[list[Object]]:
    some = scenes("test-facts", 300, (1, 4))
    return [some.objects(i) for i in range(len(some))]


@pytest.mark.parametrize(("claim", "true"), [
    (Exists({"colour": RED, "shape": STAR}), True),
    (Exists({"colour": BLUE, "shape": STAR}), False),
    (Exists({"shape": STAR, "row": 0, "column": 2}), True),
    (Exists({"shape": STAR, "row": 2, "column": 0}), False),
    (Exists({"shape": CROSS}, positive=False), True),
    (Exists({"shape": CIRCLE}, positive=False), False),
    (Count({}, 3), True),
    (Count({"shape": CIRCLE}, 2), True),
    (Count({"shape": CIRCLE}, 1), False),
    (Count({"shape": CIRCLE}, 3), False),
    (Count({"shape": CROSS}, 0), True),
    (Relation({"shape": STAR}, RIGHT, {"colour": BLUE}), True),
    (Relation({"shape": STAR}, LEFT, {"colour": BLUE}), False),
    (Relation({"shape": STAR}, ABOVE, {"colour": BLUE}), True),
    (Relation({"shape": STAR}, BELOW, {"colour": BLUE}), False),
    (Relation({"shape": STAR}, BELOW, {"size": 1}), False),
    (Relation({"colour": BLUE}, BELOW, {"size": 1}), True),
    (Relation({"colour": BLUE}, RIGHT, {"size": 1}), True),
    (Compare({"colour": RED}, 1, {"colour": BLUE}), True),
    (Compare({"colour": RED}, -1, {"colour": BLUE}), False),
    (Compare({"shape": CROSS}, -1, {"colour": BLUE}), True),
    (Compare({"shape": STAR}, 0, {"colour": BLUE}), True),
    (Compare({"shape": CIRCLE}, 0, {"colour": BLUE}), False),
    (Pair({"shape": STAR}, True, {"shape": CIRCLE}), True),
    (Pair({"shape": STAR}, True, {"shape": CROSS}), False),
    (Pair({"colour": GREEN}, False, {"shape": CROSS}), True),
    (Pair({"shape": CROSS}, False, {"shape": STAR}), False),
])
def test_claims_about_a_known_scene(claim: Claim, true: bool) -> None:
    assert claim.holds(SCENE) is true


def test_a_relation_needs_a_clear_distance() -> None:
    near, far = ([SCENE[0], SCENE[2]._replace(x=10 + d)] for d in (facts.CLEAR - 1, facts.CLEAR))
    claim = Relation({"colour": BLUE}, RIGHT, {"colour": RED})
    assert not claim.holds(near) and claim.holds(far)


@pytest.mark.parametrize("truth", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_a_drawn_claim_has_the_truth_asked_for_and_often_exists(kind: str, truth: bool, drawn: list[list[Object]]) -> None:
    rng = random.Random(1)
    claims = [(facts.draw(kind, objs, truth, rng), objs) for objs in drawn if len(objs) > 1]
    found = [(claim, objs) for claim, objs in claims if claim is not None]
    assert len(found) > 0.7 * len(claims)
    assert all(type(claim).__name__.lower() == kind and claim.holds(objs) is truth for claim, objs in found)


def test_drawn_relations_are_about_two_objects_beyond_doubt(drawn: list[list[Object]]) -> None:
    rng = random.Random(2)
    for objs in drawn:
        claim = facts.draw("relation", objs, False, rng)
        if claim is not None:
            assert facts.number(objs, claim.what) == facts.number(objs, claim.other) == 1
            assert Relation(claim.what, claim.relation ^ 1, claim.other).holds(objs)


def test_nothing_can_be_related_in_a_scene_of_one_or_of_twins() -> None:
    rng = random.Random(3)
    assert all(facts.draw("relation", objs, truth, rng) is None for objs in (SCENE[:1], TWINS) for truth in (True, False))


def test_false_claims_are_mostly_one_word_away(drawn: list[list[Object]]) -> None:
    rng, near, total = random.Random(4), 0, 0
    for objs in drawn:
        claim = facts.draw("exists", objs, False, rng)
        if claim is not None and claim.positive:
            total += 1
            near += any(sum(getattr(o, k) != v for k, v in claim.what.items()) == 1 for o in objs)
    assert near > 0.6 * total > 60


def test_falsified_descriptions_fit_nothing(drawn: list[list[Object]]) -> None:
    rng, near, total = random.Random(5), 0, 0
    for objs in drawn:
        what = facts.describe(rng.choice(objs), facts.some_keys(rng))
        other = facts.falsify(what, objs, rng)
        assert not any(all(getattr(o, k) == v for k, v in other.items()) for o in objs)
        total += 1
        near += other.keys() == what.keys() and sum(other[k] != what[k] for k in what) == 1
    assert near > 0.9 * total


def test_falsify_ends_where_every_near_description_fits() -> None:
    both = [SCENE[0], SCENE[0]._replace(size=0)]
    assert facts.number(both, facts.falsify({"size": 0}, both, random.Random(6))) == 0


def test_unique_descriptions_fit_their_object_alone(drawn: list[list[Object]]) -> None:
    rng, found = random.Random(7), 0
    for objs in drawn:
        for exclude in ((), ("colour",), ("shape", "size")):
            result = facts.unique(objs, rng, exclude)
            if result is not None:
                obj, what = result
                assert [o for o in objs if all(getattr(o, k) == v for k, v in what.items())] == [obj]
                assert what and not set(what) & set(exclude)
                found += 1
    assert found > 2 * len(drawn)
    assert facts.unique(TWINS, rng) is None


def test_a_question_has_one_right_answer_and_does_not_tell_it(drawn: list[list[Object]]) -> None:
    rng, asked = random.Random(8), set()
    for objs in drawn * 4:
        query = facts.ask(objs, rng)
        if query is None:
            continue
        fitting = [o for o in objs if all(getattr(o, k) == v for k, v in query.what.items())]
        answers = {len(fitting)} if query.attribute is None else {getattr(o, query.attribute) for o in fitting}
        assert answers == {query.answer} and query.attribute not in query.what
        assert query.attribute is None or len(fitting) == 1
        asked.add(query.attribute)
    assert asked == {None, *ATTRIBUTES}


def test_wrong_answers_are_wrong_and_of_the_same_kind() -> None:
    rng = random.Random(9)
    for attribute, values in {None: range(7), **{k: range(len(v)) for k, v in ATTRIBUTES.items()}}.items():
        for answer in values:
            query = facts.Query({"size": 0}, attribute, answer)
            for _ in range(20):
                other = facts.wrong(query, rng)
                assert other.answer != answer and (other.what, other.attribute) == (query.what, attribute)
                assert wording.value(attribute, other.answer)


@pytest.mark.parametrize(("what", "plural", "words"), [
    ({}, False, "shape"),
    ({}, True, "shapes"),
    ({"shape": CROSS}, True, "crosses"),
    ({"colour": RED, "size": 1, "shape": CIRCLE}, False, "large red circle"),
    ({"shape": STAR, "row": 0, "column": 0}, False, "star at the top left"),
    ({"colour": BLUE, "row": 1, "column": 1}, True, "blue shapes at the middle center"),
])
def test_descriptions_in_words(what: facts.Description, plural: bool, words: str) -> None:
    assert wording.phrase(what, plural=plural) == words
