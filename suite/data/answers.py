"""Answers of VQA, compared as its evaluation server does since 2021: vqaEval.py of github.com/GT-Vision-Lab/VQA."""

from __future__ import annotations

import re
from collections.abc import Sequence

NUMBERS = {word: str(number) for number, word in enumerate("zero one two three four five six seven eight nine ten".split())}
NUMBERS["none"] = "0"
ARTICLES = ("a", "an", "the")
PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
"""Apostrophes and colons stay: girl's, 2:50 pm."""

SHORT = (
    "ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd he'd've he's how'd"
    " how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've might've mustn't must've needn't not've o'clock oughtn't"
    " 'ow's'at shan't she'd've should've shouldn't shouldn't've somebody'd've somebody'll somebody's someone'd someone'd've someone'll"
    " someone's something'd something'd've something'll that's there'd there'd've there're there's they'd they'd've they'll they're"
    " they've 'twas wasn't we'd've we've weren't what'll what're what's what've when's where'd where's where've who'd who'd've who'll"
    " who's who've why'll why're why's won't would've wouldn't wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll you're"
    " you've"
).split()
"""The contractions; she'd, we'd and let's are not among them."""

CONTRACTIONS = {form[:i] + form[i + 1 :]: form for form in SHORT for i, letter in enumerate(form) if letter == "'"}
CONTRACTIONS["somebody'd"] = "somebodyd"
"""A contraction without one of its apostrophes -> the contraction. The official list has somebody'd the wrong way round."""

_PERIOD = re.compile(r"\.(?!\d)")
_COMMA = re.compile(r"\d,\d")
_PERIODS = 32
"""How many periods go, at most: the official code passes a flag of 32 in the place of this number."""


def normalised(answer: str) -> str:
    """The answer in lower case, with digits for number words, without articles and punctuation, contractions with their apostrophe.

    A punctuation mark becomes a space. It vanishes where it stands beside a space anywhere in the answer, and so do all where a comma
    stands between digits: 1,000/day becomes 1000day. Periods vanish, except before a digit. "the" becomes the empty answer.
    """
    text, joined = answer, _COMMA.search(answer) is not None
    for mark in PUNCTUATION:
        text = text.replace(mark, "" if joined or f"{mark} " in answer or f" {mark}" in answer else " ")
    words = [NUMBERS.get(word, word) for word in _PERIOD.sub("", text, count=_PERIODS).lower().split()]
    return " ".join(CONTRACTIONS.get(word, word) for word in words if word not in ARTICLES)


def soft_score(votes: int) -> float:
    """What an answer given by so many of the ten people is trained towards: 0, 0.3, 0.6, 0.9, and 1 from four on (ViLT, METER).

    `vqa_accuracy` gives as much to an answer that so many of ten people gave.
    """
    return min(3 * votes, 10) / 10


def vqa_accuracy(answer: str, people: Sequence[str]) -> float:
    """In [0, 1]: min(matches / 3, 1), averaged over the subsets of the ten people's answers that leave one out (Antol et al., ICCV 2015).

    Answers are normalised unless the people's are all the same, letter by letter: then none is, for the sake of text read from pictures.
    people: their answers as given, at least one.
    """
    answer, given = _plain(answer), [_plain(other) for other in people]
    if len(set(given)) > 1:
        answer, given = normalised(answer), [normalised(other) for other in given]
    matches = given.count(answer)
    return sum(min((matches - (other == answer)) / 3, 1) for other in given) / len(given)


def _plain(answer: str) -> str:
    return answer.replace("\n", " ").replace("\t", " ").strip()
