"""The texts: pre-training and tasks share no template, what is called true is true, every word is known to the tokenizer."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterator
from itertools import product

import numpy as np
import pytest

from suite.data import corpus, easy_vqa, text, wording, world, world_text
from suite.data.easy_vqa import EasyVqa
from suite.data.world import Object
from tests import reading

LONGEST = 32
FILL = {"d": "red circle", "ds": "red circles", "e": "small star", "es": "small stars", "n": "two", "body": "a red circle and a star"}


@pytest.fixture(scope="module")
def drawn() -> list[list[Object]]:
    some = world.scenes("test-corpus", 1500, (1, 3))
    return [some.objects(i) for i in range(len(some))]


@pytest.fixture(scope="module")
def task_texts() -> dict[str, list[str]]:
    left, right = (world.scenes(f"test-corpus/{side}", 2500, (1, 3)) for side in ("left", "right"))
    rng = np.random.default_rng(0)
    return {"world-vqa": world_text.questions(left, rng)[0], "world-nlvr2": world_text.statements(left, right, rng)[0],
            "world-retrieval": world_text.captions(left, rng), "easy-vqa": easy_questions()}


def easy_questions() -> list[str]:
    return sorted({q for part in ("train", "test") for q in easy_vqa.part(part).questions})


def strings(node: object) -> Iterator[str]:
    """All strings in nested dictionaries and tuples."""
    if isinstance(node, str):
        yield node
    else:
        for child in node.values() if isinstance(node, dict) else node:
            yield from strings(child)


def skeleton(sentence: str) -> str:
    """The template of a sentence: every description and value an X; no articles and punctuation, one spelling of colour."""
    values = "|".join(sorted({*reading.SINGULAR, *reading.NOUNS, *reading.NUMBERS, *(w for v in reading.VALUES.values() for w in v)}))
    words = " ".join(re.findall(r"[a-z]+", sentence.lower().replace("colour", "color")))
    words = re.sub(rf"\b(?:{values})\b", "X", re.sub(r"\b(?:a|an|the|any)\b ?", "", words))
    return re.sub(r"X(?: (?:at |and |with )?X)+", "X", words)


def pretraining_templates() -> set[str]:
    tells = set(strings(corpus.TELLS))
    checks = {check.format(claim=claim, yes="", true=true) for check, claim, true in product(corpus.CHECKS, tells, ("true", "false"))}
    return {*strings(corpus.ASKS), *tells, *checks, *corpus.CAPTIONS}


def test_skeletons_see_templates_and_not_words() -> None:
    assert skeleton("What color is the circle?") == skeleton("what colour is a large teal star at the top left") == "what color is X"
    assert skeleton("here are a red star, a circle and a small cross at the top left") == skeleton("here are a star") == "here are X"
    assert skeleton("is there a star?") != skeleton("is there not a star?")


def test_no_template_of_pretraining_is_used_by_a_task(task_texts: dict[str, list[str]]) -> None:
    ours = {skeleton(template.format(**FILL)) for template in pretraining_templates()}
    for task, sentences in task_texts.items():
        theirs = {skeleton(sentence): sentence for sentence in sentences}
        assert not ours & theirs.keys(), (task, [theirs[s] for s in ours & theirs.keys()])
        assert len(theirs) >= 3


def test_no_sample_of_pretraining_has_the_template_of_a_task(drawn: list[list[Object]], task_texts: dict[str, list[str]]) -> None:
    rng = random.Random(1)
    theirs = {skeleton(sentence) for sentences in task_texts.values() for sentence in sentences}
    seen = set()
    for objs, k in product(drawn, range(4)):
        sample = corpus.plain(corpus.sample(objs, k == 0, rng).text)
        for sentence in (sample, sample.rpartition(" ")[0]):
            seen.add(skeleton(sentence))
    assert not seen & theirs
    assert {skeleton(t.format(**FILL)) for t in strings((corpus.ASKS, corpus.TELLS, corpus.CAPTIONS))} <= seen


def test_all_task_templates_are_among_the_sampled_texts(task_texts: dict[str, list[str]]) -> None:
    seen = {skeleton(sentence) for sentence in task_texts["world-vqa"] + task_texts["world-nlvr2"]}
    for template in strings((world_text._QUERY, world_text._YES_NO, world_text._PAIR)):
        assert skeleton(template.format(**FILL)) in seen, template
    assert len(task_texts["easy-vqa"]) == 107


@pytest.mark.parametrize("truth", [True, False])
def test_captions_and_short_texts_are_as_true_as_asked_for(truth: bool, drawn: list[list[Object]]) -> None:
    rng = random.Random(2)
    for objs in drawn:
        long, short = (corpus.plain(make(objs, truth, rng)) for make in (corpus.caption, corpus.short))
        assert reading.caption(long, objs) is truth, (long, objs)
        assert reading.short(short, objs) is truth, (short, objs)


def test_samples_are_as_true_as_they_say(drawn: list[list[Object]]) -> None:
    rng, kinds = random.Random(3), Counter()
    for objs, k in product(drawn, range(3)):
        sample = corpus.sample(objs, k == 0, rng)
        kinds[sample.kind, sample.truth] += 1
        judge = reading.short if k else reading.caption
        assert judge(corpus.plain(sample.text), objs) is sample.truth, (sample, objs)
    assert set(kinds) == {("words", True), ("match", True), ("match", False)}
    assert 0.8 < kinds["match", True] / kinds["match", False] < 1.25


def test_answers_are_spread(drawn: list[list[Object]]) -> None:
    rng = random.Random(4)
    answers = Counter(corpus.short(objs, True, rng).split()[-1] for objs in drawn * 3)
    assert set(answers) >= {*(w for v in reading.VALUES.values() for w in v), "yes", "no", "one", "two"}
    assert 0.8 < answers["yes"] / answers["no"] < 1.25


def test_world_vqa_answers_are_right() -> None:
    some = world.scenes("test-corpus/vqa", 1500, (1, 3))
    for i, (question, answer) in enumerate(zip(*world_text.questions(some, np.random.default_rng(5)))):
        if answer in ("yes", "no"):
            assert reading.statement(question.rstrip("?"), some.objects(i)) == (answer == "yes"), (question, some.objects(i))
        else:
            question = question.replace(": top, middle or bottom", "").replace(": left, center or right", "")
            assert reading.answer(question, some.objects(i)) == answer, question


def test_world_nlvr2_and_retrieval_texts_are_as_true_as_they_say() -> None:
    left, right = (world.scenes(f"test-corpus/two/{side}", 1500, (1, 3)) for side in ("left", "right"))
    for i, (sentence, truth) in enumerate(zip(*world_text.statements(left, right, np.random.default_rng(6)))):
        assert reading.pair(sentence, left.objects(i), right.objects(i)) == truth, sentence
    for i, caption in enumerate(world_text.captions(left, np.random.default_rng(7))):
        assert reading.chain(caption, left.objects(i)), caption


class Limited(random.Random):
    """A generator that gives out a number of draws and no more."""

    left = 3000

    def random(self) -> float:
        return self._spend(super().random())

    def getrandbits(self, k: int) -> int:
        return self._spend(super().getrandbits(k))

    def _spend(self, drawn: float) -> float:
        self.left -= 1
        assert self.left, "does not come to an end"
        return drawn


HARD = {
    "one": [Object(0, 0, 0, 1, 1, 32, 32)],
    "twins": [Object(0, 0, 0, 0, 0, 10, 10), Object(0, 0, 0, 2, 2, 54, 54)],
    "six alike": [Object(0, 0, 0, k // 3, k % 3, 11 + 21 * (k % 3), 11 + 21 * (k // 3)) for k in range(6)],
    "side by side": [Object(0, 0, 0, 1, 1, 32, 32), Object(1, 1, 1, 1, 2, 38, 36)],
}


@pytest.mark.parametrize("objs", HARD.values(), ids=HARD)
def test_samples_of_hard_scenes_come_to_an_end(objs: list[Object]) -> None:
    for seed in range(150):
        for long in (True, False):
            assert corpus.sample(objs, long, Limited(seed)).text
        if len(objs) < 5:
            assert world_text._question(objs, Limited(seed))[1] in world_text.ANSWERS


def test_content_words_and_answers_are_one_piece_each() -> None:
    never_said = {"six", "seven"}  # of up to three objects, five is the highest number that anything is said to be
    words = {*wording.CONTENT, *world_text.ANSWERS, *EasyVqa("easy-vqa", {}).classes} - never_said
    pieces = {word: [t for t in text.tokenizer().encode(word).tokens if t not in text.SPECIAL] for word in words}
    assert {word: found for word, found in pieces.items() if found != [word]} == {}


def test_no_text_is_cut_or_has_an_unknown_piece(drawn: list[list[Object]], task_texts: dict[str, list[str]]) -> None:
    rng = random.Random(8)
    samples = [corpus.plain(corpus.sample(objs, k == 0, rng).text) for objs, k in product(drawn, range(4))]
    for name, sentences in {**task_texts, "pre-training": samples}.items():
        tokens, lengths = text.tokenize(sentences, limit=100)
        assert lengths.max() <= LONGEST and not (tokens == text.UNK).any(), name


def test_every_word_of_the_tasks_is_in_the_pretraining_text_or_spelled_in_known_pieces(task_texts: dict[str, list[str]]) -> None:
    vocabulary = text.tokenizer().get_vocab()
    words = {w for sentences in task_texts.values() for s in sentences for w in re.findall(r"[a-z]+", s.lower())}
    whole = {w for w in words if w in vocabulary}
    assert len(whole) >= 0.9 * len(words), sorted(words - whole)


def test_texts_follow_the_seed_alone(drawn: list[list[Object]]) -> None:
    one, two, other = ([corpus.sample(objs, False, rng) for objs in drawn[:50]] for rng in map(random.Random, (9, 9, 10)))
    assert one == two != other


def test_false_captions_have_one_false_description_mostly_marked_or_no_true_one(drawn: list[list[Object]]) -> None:
    rng, marked, unmarked = random.Random(11), 0, 0
    for objs in drawn:
        caption = corpus.caption(objs, False, rng)
        found = [bool(reading.fitting(objs, phrase)) for phrase in reading.PHRASE.findall(corpus.plain(caption))]
        assert found.count(False) in ((1,) if corpus.MARK in caption else (1, len(objs))), caption
        marked += corpus.MARK in caption
        unmarked += corpus.MARK not in caption and found.count(False) < len(objs)
    assert 0.4 < marked / len(drawn) < 0.6 and unmarked < 0.02 * len(drawn)


def test_marks_stand_before_wrong_words_of_false_texts(drawn: list[list[Object]]) -> None:
    rng, marked = random.Random(12), Counter()
    for objs in drawn:
        assert corpus.MARK not in corpus.caption(objs, True, rng) + corpus.short(objs, True, rng)
        for words in (corpus.caption(objs, False, rng).split(), corpus.short(objs, False, rng).split()):
            at = [k for k, word in enumerate(words) if word.startswith(corpus.MARK)]
            marked[len(at)] += 1
            assert all(words[k][1:] in wording.CONTENT for k in at)
            if len(at) == 1 and at[0] == len(words) - 1 and words[-1] in ("~yes", "~no"):
                words[-1] = {"~yes": "no", "~no": "yes"}[words[-1]]
                assert reading.short(" ".join(words), objs)
    assert marked[0] and marked[1] > 500 and sum(n for k, n in marked.items() if k > 2) == 0


@pytest.mark.parametrize(("sentence", "true"), [
    ("the red circle is left of the green rectangle", True), ("left of the red circle one finds the green rectangle", False),
    ("exactly one circles appear", True), ("one counts two shapes", True), ("one counts one shapes", False), ("one finds no star", True),
    ("one finds a star", False), ("two shapes , no more", True), ("neither a star nor a red circle", False),
    ("a star appears : false", True),
    ("the circle , color ? red", True), ("name the size of the rectangle small", False), ("not present : a star ? no", False),
])
def test_the_reading_used_here(sentence: str, true: bool) -> None:
    assert reading.short(sentence, HARD["side by side"]) is true


def test_the_template_does_not_tell_the_truth_of_a_statement() -> None:
    left, right = (world.scenes(f"test-corpus/template/{side}", 6000, (1, 3)) for side in ("left", "right"))
    sentences, truth = world_text.statements(left, right, np.random.default_rng(13))
    true: dict[str, list[bool]] = {}
    for sentence, held in zip(sentences, truth.tolist()):
        true.setdefault(skeleton(sentence), []).append(held)
    assert set(true) == {skeleton(template.format(**FILL)) for template in strings(world_text._PAIR)}
    assert {t: sum(held) / len(held) for t, held in true.items() if not 0.45 < sum(held) / len(held) < 0.55} == {}
    half = [(held[::2], held[1::2]) for held in true.values()]
    right_by_rule = sum((sum(known) * 2 > len(known)) == held for known, asked in half for held in asked)
    assert 0.48 < right_by_rule / sum(len(asked) for _, asked in half) < 0.52
