"""world-gqa, world-ve and world-science: every answer follows from what is shown, and nothing else gives it away."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from torch import nn

from suite import cost, tasks
from suite.core import Backbone, Batch, Features
from suite.data import world_gqa_text, world_ve
from suite.data.reader import Reader
from suite.data.text import tokenizer
from suite.data.world import SIDE, render
from suite.data.world_gqa import WorldGqa
from suite.data.world_science import BLANK, WorldScience
from suite.data.world_science_text import KINDS, WORDS, of_image
from suite.data.world_text import generator
from suite.data.world_ve import PANEL, WorldVe
from suite.data.world_ve_text import STRIPS
from suite.tasks import floors
from suite.tasks.base import SEARCH_PARTS
from tests import compositions, reading
from tests.test_corpus import FILL, pretraining_templates, skeleton

NAMES = ("world-gqa", "world-ve", "world-science")
SIZES = {"train": 120, "validation": 60, "test": 90}
READERS = {"world-gqa": WorldGqa, "world-ve": WorldVe, "world-science": WorldScience}


@pytest.fixture(scope="module")
def rows() -> dict[str, dict[str, dict[str, list]]]:
    """All rows of the tasks, by task and split."""
    return {name: {split: tasks.load(name).reader.rows(split) for split in SIZES} for name in NAMES}


def few(name: str) -> Reader:
    return READERS[name](name, dict(SIZES))


def test_every_answer_of_gqa_follows_from_the_scene(rows: dict) -> None:
    reader = tasks.load("world-gqa").reader
    for split, size in reader.sizes.items():
        drawn = reader.scenes(split, size)
        for i, (text, label) in enumerate(zip(rows["world-gqa"][split]["text"], rows["world-gqa"][split]["label"])):
            assert compositions.gqa(text, drawn.objects(i)) == reader.classes[label], (text, drawn.objects(i))


def test_answers_and_kinds_of_gqa_are_balanced(rows: dict) -> None:
    for split, size in tasks.load("world-gqa").reader.sizes.items():
        labels = Counter(rows["world-gqa"][split]["label"])
        for values in (*world_gqa_text.VALUES.values(), ("yes", "no")):
            counts = [labels[world_gqa_text.ANSWERS.index(v)] for v in values]
            assert max(counts) - min(counts) <= max(4, 0.01 * size), (split, values, counts)
        kinds = Counter(rows["world-gqa"][split]["kind"])
        assert set(kinds) == set(world_gqa_text.KINDS) and min(kinds.values()) > 0.1 * size


def test_questions_of_gqa_take_two_steps(rows: dict) -> None:
    """Two descriptions, or one and two values to choose from, in every question."""
    for text in rows["world-gqa"]["test"]["text"]:
        assert len(reading.PHRASE.findall(text)) >= 2, text


def test_every_hypothesis_has_the_label_that_it_deserves(rows: dict) -> None:
    reader = tasks.load("world-ve").reader
    for split, size in reader.sizes.items():
        drawn, found = reader.scenes(split, size), rows["world-ve"][split]
        panels = np.array([int(image_id.rpartition("-")[2]) for image_id in found["image_id"]])
        shown = world_ve.without(drawn, world_ve.behind(drawn, panels))
        for i, (text, label) in enumerate(zip(found["text"], found["label"])):
            assert compositions.entailed(text, shown.objects(i), STRIPS[panels[i]]) == reader.classes[label], (text, shown.objects(i))
        assert Counter(found["label"]) == dict.fromkeys(range(3), size // 3)


def test_a_panel_hides_at_most_one_object_and_nothing_shows_through() -> None:
    drawn = few("world-ve").scenes("train", 200)
    panels = world_ve.choose_panels(drawn, np.random.default_rng(0))
    hidden = world_ve.behind(drawn, panels)
    assert set(hidden.sum(1).tolist()) == {0, 1} and set(panels.tolist()) == set(range(6))
    shown = world_ve.without(drawn, hidden)
    pictures, open_ones = world_ve.cover(render(shown), panels), render(shown)
    for i, panel in enumerate(panels):
        key, k = STRIPS[panel]
        assert all(getattr(o, key) != k for o in shown.objects(i)) and len(shown.objects(i)) == drawn.count[i] - hidden[i].sum()
        covered = np.zeros((SIDE, SIDE), bool)
        covered[(slice(None), np.arange(SIDE) * 3 // SIDE == k) if key == "column" else (np.arange(SIDE) * 3 // SIDE == k)] = True
        assert (pictures[i][covered] == PANEL).all() and np.array_equal(pictures[i][~covered], open_ones[i][~covered])


def test_every_answer_of_science_that_needs_no_picture_follows_from_the_text(rows: dict) -> None:
    for found in rows["world-science"].values():
        for text, options, label, kind in zip(found["text"], found["options"], found["label"], found["kind"]):
            assert 2 <= len(options) == len(set(options)) <= 4 and text.endswith(f": {', '.join(options[:-1])} or {options[-1]}?")
            if kind != "image":
                assert compositions.told(text) == options[label], text


def test_every_answer_of_science_about_a_picture_follows_from_it() -> None:
    drawn, dice = few("world-science").scenes("train", 500), generator(np.random.default_rng(1))
    for i in range(len(drawn)):
        asked, objs = of_image(drawn.objects(i), dice), drawn.objects(i)
        question = asked.text.partition(":")[0].removeprefix("in the picture, ")
        if question.startswith("how many"):
            assert asked.options[asked.right] == reading.NUMBERS[len(objs)]
        else:
            assert reading.answer(question, objs) == asked.options[asked.right], asked


def test_science_has_as_many_of_each_kind_and_every_place_is_right_alike(rows: dict) -> None:
    for split, size in tasks.load("world-science").sizes.items():
        if split in SEARCH_PARTS:
            continue
        found = rows["world-science"][split]
        assert Counter(found["kind"]) == dict.fromkeys(KINDS, size // 3)
        for number in (2, 3, 4):
            places = Counter(label for label, options in zip(found["label"], found["options"]) if len(options) == number)
            assert max(places.values()) < 1.6 * sum(places.values()) / number, (split, number, places)
        blank = [set(picture[13:]) == {BLANK} for picture in found["image"]]
        assert blank == [kind != "image" for kind in found["kind"]]


def test_texts_without_a_picture_are_in_one_split_alone(rows: dict) -> None:
    texts = [{t for t, kind in zip(found["text"], found["kind"]) if kind != "image"} for found in rows["world-science"].values()]
    assert not texts[0] & texts[1] and not texts[0] & texts[2] and not texts[1] & texts[2]


@pytest.mark.parametrize(("name", "most"), [("world-gqa", 50), ("world-ve", 40), ("world-science", 45)])
def test_text_alone_is_far_below_the_ceiling(name: str, most: float, rows: dict) -> None:
    parts = [(rows[name][split]["text"], torch.tensor(rows[name][split]["label"])) for split in SIZES]
    found = floors.of_text(*parts)
    assert found["majority"] <= found["blind"] + 3 and found["blind"] < most, found


def test_the_floor_of_science_knows_the_options() -> None:
    """It is above a model of the text that does not choose among them, and below what can be had with the picture."""
    found = tasks.load("world-science").floors()
    assert 30 < found["majority"] < found["blind"] < 75, found


def test_a_model_of_options_never_chooses_what_is_not_offered() -> None:
    texts, right = ["which is red"] * 30 + ["which is large"] * 30, torch.tensor([0] * 30 + [1] * 30)
    offered = torch.ones(60, 3, dtype=torch.bool)
    part = (texts, right, offered)
    assert floors.of_options(part, part, part) == {"majority": 50.0, "blind": 100.0}
    among = (["which is red"] * 2, torch.tensor([2, 1]), torch.tensor([[False, False, True], [False, True, False]]))
    assert floors.of_options(part, part, among) == {"majority": 100.0, "blind": 100.0}


@pytest.mark.parametrize("name", NAMES)
def test_templates_are_none_of_pretraining(name: str, rows: dict) -> None:
    ours = {skeleton(template.format(**FILL)) for template in pretraining_templates()}
    theirs = {skeleton(text): text for text in rows[name]["train"]["text"]}
    assert len(theirs) > 10 and not ours & theirs.keys(), [theirs[s] for s in ours & theirs.keys()]


class Words(Backbone):
    """The mean word of a text, and where it has a picture that picture's mean colour: what a language model with a head is to the task."""

    name = "words"

    def __init__(self) -> None:
        super().__init__(nn.Embedding(tokenizer().get_vocab_size(), 16), "mini")
        self.heads["lm"] = nn.Linear(16, tokenizer().get_vocab_size(), bias=False)

    @property
    def width(self) -> int:
        return 16

    def forward(self, batch: Batch) -> Features:
        index = torch.arange(len(batch.input_ids)) if batch.image_index is None else batch.image_index
        words, there = self.model(batch.input_ids), index >= 0
        pooled = (words * batch.text_mask[..., None]).sum(1) / batch.text_mask.sum(1, keepdim=True)
        seen = batch.pixels.mean((1, 2, 3))[index.clamp(min=0)]
        return Features(pooled + (seen * there)[:, None], words, batch.text_mask)


@pytest.fixture(scope="module")
def words() -> Backbone:
    torch.manual_seed(0)
    return Words()


@pytest.fixture(scope="module")
def science() -> object:
    task = tasks.load("world-science")
    return type(task)(few("world-science"), task.recipe, evaluation_batch=32, backbones=task.backbones)


def test_rows_without_a_picture_point_to_none(science: object) -> None:
    data, kinds = science.split("train"), science.reader.split("train")["kind"][:]
    assert len(data.images) == 1 + kinds.count("image")
    for batch in science.batches("train", 0, shuffle=True):
        shown = batch.image_index >= 0
        assert shown.tolist() == [kinds[i] == "image" for i in batch.ids.tolist()]
        assert len(batch.pixels) == len(shown) - (~shown).sum() + bool((~shown).any())
        for row, index in zip(batch.ids[shown].tolist(), batch.image_index[shown].tolist()):
            expected = np.asarray(science.reader.split("train")[row]["image"]).astype(np.float32) / 127.5 - 1
            np.testing.assert_allclose(batch.pixels[index].permute(1, 2, 0).numpy(), expected, atol=1e-6)


def test_only_offered_options_can_be_chosen(science: object, words: Backbone) -> None:
    head, offered = science.head(words), science.reader.split("test")["options"][:]
    assert torch.equal(head.weight, words.heads["lm"].weight[[tokenizer().token_to_id(word) for word in WORDS]])
    for batch in science.batches("test", 0):
        scores = science.predict(words, head, batch)
        every = head(words(batch).pooled)
        for row, scored, all_words in zip(batch.ids.tolist(), scores, every):
            expected = all_words[[WORDS.index(word) for word in offered[row]]]
            assert torch.allclose(scored[: len(expected)], expected) and (scored[len(expected) :] < -1e8).all()
        science.loss(words, head, batch).backward()
        assert head.weight.grad.isfinite().all()


def test_costs_can_be_measured(science: object, words: Backbone) -> None:
    for count in (1, 40):
        part = cost.rows(next(science.batches("validation", 0)), count)
        assert science.predict(words, science.head(words), part).shape == (count, len(WORDS))


def test_search_parts_keep_the_options_of_their_rows(science: object) -> None:
    whole = science.split("train")
    options = dict(zip(whole.texts, whole.options.tolist()))
    for part in map(science.split, SEARCH_PARTS):
        assert [options[text] for text in part.texts] == part.options.tolist()


@pytest.mark.parametrize(("name", "start"), [("world-gqa", "type_"), ("world-science", "context_")])
def test_scores_kind_by_kind(name: str, start: str, science: object) -> None:
    task = science
    if name == "world-gqa":
        whole = tasks.load(name)
        task = type(whole)(few(name), whole.recipe, evaluation_batch=32)
    kinds, labels = task.reader.split("test")["kind"][:], task.split("test").labels
    wrong = kinds[0]
    outputs = []
    for batch in task.batches("test", 0):
        outputs.append(nn.functional.one_hot(labels[batch.ids], len(task.reader.classes)).float())
        outputs[-1][[kinds[i] == wrong for i in batch.ids.tolist()]] *= -1
    metrics, correct, _ = task.score("test", outputs)
    assert metrics.pop("accuracy") == pytest.approx(100 * (1 - kinds.count(wrong) / len(kinds)))
    assert metrics == {f"{start}{kind}": 0.0 if kind == wrong else 100.0 for kind in task.reader.kinds}
    assert correct == [kind != wrong for kind in kinds]
