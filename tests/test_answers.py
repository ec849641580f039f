"""Normalisation and accuracy of VQA answers, on examples of the authors' page, of their issues, and worked out by hand."""

from __future__ import annotations

import pytest

from suite.data.answers import CONTRACTIONS, normalised, soft_score, vqa_accuracy


@pytest.mark.parametrize(("answer", "expected"), [
    ("Yes", "yes"), ("dont", "don't"), ("100,978", "100978"), ("2:50 pm", "2:50 pm"), ("girl's", "girl's"), ("the cat", "cat"),
    ("a.m.", "am"), ("1.5", "1.5"), (".5", ".5"), ("5.", "5"), ("two dogs", "2 dogs"), ("none", "0"), ("One on left", "1 on left"),
])  # fmt: skip
def test_normalised_as_the_authors_describe(answer: str, expected: str) -> None:
    assert normalised(answer) == expected


@pytest.mark.parametrize(("answer", "expected"), [
    ("t-shirt", "t shirt"), ("red/blue", "red blue"), ("yes,sir", "yes sir"), ("yes, sir", "yes sir"), ("a (small) dog!", "small dog"),
    ("well- made-up", "well madeup"),  # one dash beside a space: none leaves a space
    ("1,000/day", "1000day"),  # a comma between digits: no mark does
    ("An", ""), ("", ""), ("  two \n words ", "2 words"),
    ("." * 40, "." * 8),
    ("couldntve", "couldntve"), ("couldnt've", "couldn't've"), ("couldn'tve", "couldn't've"),
    ("somebody'd", "somebodyd"), ("Im", "im"), ("shed", "shed"), ("hed", "he'd"),
])  # fmt: skip
def test_normalised_with_the_quirks_of_the_official_code(answer: str, expected: str) -> None:
    assert normalised(answer) == expected


def test_contractions() -> None:
    assert len(CONTRACTIONS) == 114 and CONTRACTIONS["twas"] == "'twas" and CONTRACTIONS["yall'd've"] == "y'all'd've"
    assert not {"lets", "shes", "shed", "wed", "im", "ive"} & set(CONTRACTIONS)


def test_soft_score() -> None:
    assert [soft_score(votes) for votes in range(11)] == [0, 0.3, 0.6, 0.9] + [1] * 7


@pytest.mark.parametrize(("agreeing", "expected"), [(0, 0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1), (10, 1)])
def test_vqa_accuracy_by_how_many_agree(agreeing: int, expected: float) -> None:
    people = ["red"] * agreeing + ["blue"] * (10 - agreeing)
    assert vqa_accuracy("red", people) == pytest.approx(expected) == soft_score(agreeing)
    assert vqa_accuracy("red", people[::-1]) == pytest.approx(expected)


def test_vqa_accuracy_of_the_authors_example() -> None:
    people = ["yes"] * 8 + ["no"] * 2
    assert (vqa_accuracy("yes", people), vqa_accuracy("no", people)) == pytest.approx((1, 0.6))


def test_vqa_accuracy_normalises_both_sides() -> None:
    people = ["2", "two", "Two."] + ["three"] * 7
    assert vqa_accuracy("two", people) == pytest.approx(0.9) and vqa_accuracy("The three!", people) == 1
    assert vqa_accuracy("none", ["none"] + ["0"] * 2 + ["1"] * 7) == pytest.approx(0.9)


def test_vqa_accuracy_leaves_unanimous_answers_as_they_are() -> None:
    assert vqa_accuracy("the end", ["the end"] * 10) == 1 and vqa_accuracy("end", ["the end"] * 10) == 0
    assert vqa_accuracy("yes!", ["yes"] * 10) == 0
    assert vqa_accuracy(" the\tend\n", ["the end", "the end "] * 5) == 1  # white space at the ends makes no difference
    assert vqa_accuracy("end", ["the end"] * 9 + ["The end"]) == 1
