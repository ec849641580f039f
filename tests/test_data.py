"""Datasets: splits share nothing, contents are pinned, damage is named."""

import itertools
import subprocess
import sys
from pathlib import Path

import pytest

from suite.data import easy_vqa
from suite.data.classes import Digits, WorldClasses
from suite.data.easy_vqa import EasyVqa
from suite.data.reader import Reader, ranked
from suite.data.world_gqa import WorldGqa
from suite.data.world_reader import World, WorldNlvr2, WorldRetrieval, WorldVqa
from suite.data.world_science import WorldScience
from suite.data.world_ve import WorldVe
from suite.errors import UserError

SIZES = {"train": 60, "validation": 20, "test": 40}
READERS = {
    "world-vqa": lambda sizes: WorldVqa("world-vqa", sizes),
    "world-nlvr2": lambda sizes: WorldNlvr2("world-nlvr2", sizes),
    "world-retrieval": lambda sizes: WorldRetrieval("world-retrieval", sizes, objects=(2, 3)),
    "world-gqa": lambda sizes: WorldGqa("world-gqa", sizes),
    "world-ve": lambda sizes: WorldVe("world-ve", sizes),
    "world-science": lambda sizes: WorldScience("world-science", sizes),
    "easy-vqa": lambda sizes: EasyVqa("easy-vqa", sizes),
    "world-classes": lambda sizes: WorldClasses("world-classes", sizes),
    "digits": lambda sizes: Digits("digits", sizes),
}


@pytest.fixture(params=READERS)
def reader(request: pytest.FixtureRequest) -> Reader:
    return READERS[request.param](dict(SIZES))


def test_split_has_size_columns_and_valid_labels(reader: Reader) -> None:
    for name, size in SIZES.items():
        dataset = reader.split(name)
        assert len(dataset) == size
        assert {*reader.pictures, "image_id", "text"} <= set(dataset.column_names)
        assert ("label" in dataset.column_names) == bool(reader.classes)
        if reader.classes:
            assert dataset.features["label"].names == list(reader.classes)
            assert set(dataset["label"]) <= set(range(len(reader.classes)))
        assert dataset[0][reader.pictures[0]].size == (64, 64)


def test_rows_of_one_image_id_show_the_same_pictures(reader: Reader) -> None:
    for name in SIZES:
        rows = reader.rows(name)
        shown = {(i, *cells) for i, *cells in zip(rows["image_id"], *(rows[p] for p in reader.pictures))}
        assert len(shown) == len(set(rows["image_id"]))


def test_content_hash_does_not_depend_on_what_was_read_before(reader: Reader) -> None:
    before = reader.content_hash()
    reader.split("train")
    assert reader.content_hash() == before


def test_content_hash_is_the_same_in_another_process_and_follows_the_content(reader: Reader) -> None:
    code = f"from tests.test_data import *; print(READERS[{reader.name!r}](SIZES).content_hash())"
    root = Path(__file__).parents[1]
    other = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True).stdout.strip()
    assert reader.content_hash() == other
    assert READERS[reader.name](SIZES | {"test": 41}).content_hash() != other


def test_content_hash_sees_one_changed_pixel(monkeypatch: pytest.MonkeyPatch) -> None:
    before, rows = READERS["world-vqa"](SIZES).content_hash(), WorldVqa.rows

    def changed(self: WorldVqa, split: str) -> dict:
        cells = rows(self, split)
        cells["image"][3] = cells["image"][3][:-1] + bytes([cells["image"][3][-1] ^ 1])
        return cells

    monkeypatch.setattr(WorldVqa, "rows", changed)
    assert READERS["world-vqa"](SIZES).content_hash() != before


@pytest.mark.parametrize("name", [n for n in READERS if n.startswith("world")])
def test_generated_splits_share_no_scene(name: str) -> None:
    reader = READERS[name]({"train": 1000, "validation": 500, "test": 1000})
    assert isinstance(reader, World)
    drawn = {split: reader.scenes(split, 2 * size).digests() for split, size in reader.sizes.items()}
    for one, two in itertools.combinations(drawn, 2):
        assert not set(drawn[one]) & set(drawn[two])
    assert all(len(set(digests)) == len(digests) for digests in drawn.values())


def test_retrieval_captions_are_distinct() -> None:
    texts = READERS["world-retrieval"]({"train": 250}).rows("train")["text"]
    assert len(set(texts)) == 250


def test_asking_for_more_captions_than_there_are_is_an_error() -> None:
    with pytest.raises(UserError, match="5000 asked for"):
        WorldRetrieval("world-retrieval", {"train": 5000}, objects=(1, 1)).rows("train")


def test_easy_vqa_has_the_published_counts() -> None:
    train, test = easy_vqa.part("train"), easy_vqa.part("test")
    assert (len(train.questions), len(test.questions)) == (38_575, 9_673)
    assert (len(train.pictures), len(test.pictures)) == (4_000, 1_000)


def test_easy_vqa_splits_share_no_image_and_larger_draws_keep_smaller_ones() -> None:
    reader = EasyVqa("easy-vqa", {"train": 3000, "validation": 2000, "test": 2000})
    images = {split: set(reader.rows(split)["image_id"]) for split in reader.sizes}
    assert not images["train"] & images["validation"] and not images["train"] & images["test"]
    assert not set(reader.rows("train")["image"]) & set(reader.rows("validation")["image"])
    small = EasyVqa("easy-vqa", {"train": 50}).rows("train")
    assert all(reader.rows("train")[column][:50] == cells for column, cells in small.items())


def test_easy_vqa_rows_are_the_packages() -> None:
    rows, data = EasyVqa("easy-vqa", {"test": 200}).rows("test"), easy_vqa.part("test")
    known = set(zip(data.questions, data.answers, data.image_ids))
    names = EasyVqa("easy-vqa", {}).classes
    for text, label, image_id, picture in zip(rows["text"], rows["label"], rows["image_id"], rows["image"]):
        number = int(image_id.removeprefix("test/"))
        assert (text, names[label], number) in known
        assert picture == data.pictures[number]


@pytest.mark.parametrize(("drop", "message"), [(True, "found 9672 questions, expected 9673"), (False, "expected 6127d851f8471ccf")])
def test_damaged_easy_vqa_is_named(drop: bool, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import easy_vqa as package

    questions, answers, images = package.get_test_questions()
    changed = (questions[1:], answers[1:], images[1:]) if drop else (["what?", *questions[1:]], answers, images)
    monkeypatch.setattr(package, "get_test_questions", lambda: changed)
    with pytest.raises(UserError, match=message):
        easy_vqa.part.__wrapped__("test")


def test_asking_for_more_questions_than_there_are_is_an_error() -> None:
    with pytest.raises(UserError, match="9673 questions, 10000 asked for"):
        EasyVqa("easy-vqa", {"test": 10_000}).rows("test")


def test_ranked_is_a_fixed_order_of_distinct_items() -> None:
    items = [str(i) for i in range(100)]
    assert ranked(items, "a") == ranked(reversed([*items, "3"]), "a")
    assert sorted(ranked(items, "a")) == sorted(items)
    assert ranked(items, "a") != ranked(items, "b")
