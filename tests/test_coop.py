"""CoOp's image sets in their real format, with small pictures; few shots; base and new classes."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path

import pytest
from published import picture, refused

from suite.data.coop import PARTS, SETS, SIZES, Coop, base_new, coop, few_shot
from suite.errors import UserError

NAMES = ["Annual Crop Land", "Forest", "Herbaceous Vegetation Land", "Highway or Road", "Industrial Buildings", "Pasture Land",
         "Permanent_Crop_Land", "Residential Buildings", "River", "Sea or Lake"]  # fmt: skip
ROWS = [[f"Kind{label}/Kind{label}_{turn}.jpg", label, name] for turn in (0, 1) for label, name in enumerate(NAMES)]


def written(mirror: Path, rows: list[list[object]], name: str = "eurosat") -> Coop:
    """A dataset that has the rows as train, and of these two each as validation and test."""
    found = SETS[name]
    (mirror / found.folder).mkdir(exist_ok=True)
    (mirror / found.folder / found.split).write_text(json.dumps({"train": rows, "val": rows[:2], "test": rows[-2:]}, indent=4))
    for number, row in enumerate(rows):
        picture(mirror / found.folder / found.pictures / str(row[0]), number)
    return Coop(name, {"train": len(rows), "validation": 2, "test": 2})


@pytest.fixture(autouse=True)
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PETLBENCH_MIRROR", str(tmp_path))


def test_rows_are_pictures_with_their_class(tmp_path: Path) -> None:
    own = written(tmp_path, ROWS)
    train = own.split("train")
    assert train["label"][:] == [*range(10)] * 2 and set(train["text"]) == {""}
    assert own.classes[6] == "Permanent Crop Land" and train.features["label"].names == [*own.classes]
    assert train["id"][:] == train["image_id"][:] and train["id"][12] == "2750/Kind2/Kind2_1.jpg"
    assert train[12]["image"].getpixel((0, 0)) == (12, 12, 12)
    assert own.split("validation")["label"][:] == [0, 1] and own.split("test")["label"][:] == [8, 9]
    assert own.content_hash() == Coop("eurosat", own.sizes).content_hash()


@pytest.mark.parametrize("name", SETS)
def test_every_set_is_read(name: str, tmp_path: Path) -> None:
    own = written(tmp_path, [[f"{label}.jpg", label, f"kind_{label}"] for label in range(SETS[name].classes)], name)
    last = own.split("train")[-1]
    assert own.classes[last["label"]] == own.classes[-1] == f"kind {SETS[name].classes - 1}" and own.prompt.format("x") != own.prompt
    assert own.base.count(True) == -(-SETS[name].classes // 2)


def test_pictures_may_lie_in_the_folder_of_the_dataset(tmp_path: Path) -> None:
    cars = [[f"cars_train/{label:05}.jpg", label, f"2012 Car {label}"] for label in range(196)]
    assert written(tmp_path, cars, "stanford-cars").split("train")["id"][3] == "cars_train/00003.jpg"


def test_published_figures() -> None:
    assert {name: (found.classes, *found.sizes) for name, found in SETS.items()} == {
        "caltech101": (100, 4_128, 1_649, 2_465), "oxford-pets": (37, 2_944, 736, 3_669), "stanford-cars": (196, 6_509, 1_635, 8_041),
        "flowers102": (102, 4_093, 1_633, 2_463), "food101": (101, 50_500, 20_200, 30_300), "sun397": (397, 15_880, 3_970, 19_850),
        "dtd": (47, 2_820, 1_128, 1_692), "eurosat": (10, 13_500, 5_400, 8_100), "ucf101": (101, 7_639, 1_898, 3_783),
    }  # fmt: skip
    assert coop("dtd").sizes == SIZES["dtd"] == dict(zip(PARTS, (2_820, 1_128, 1_692)))


def test_a_missing_dataset_file_or_set_is_told_with_what_to_do(tmp_path: Path) -> None:
    refused(coop("eurosat"), "train", "eurosat is neither below PETLBENCH_MIRROR", "github.com/KaiyangZhou/CoOp", "2750", "MIT")
    (tmp_path / "eurosat").mkdir()
    refused(coop("eurosat"), "train", "eurosat/split_zhou_EuroSAT.json is missing", "DATASETS.md")
    with pytest.raises(UserError, match="unknown image set 'eurosatt'; did you mean 'eurosat'"):
        coop("eurosatt")


def test_wrong_counts_a_missing_picture_and_a_picture_twice_are_refused(tmp_path: Path) -> None:
    own = written(tmp_path, ROWS)
    refused(coop("eurosat"), "train", "found 20 rows, expected 13,500")
    (tmp_path / "eurosat/2750/Kind3/Kind3_0.jpg").unlink()
    refused(own, "train", "Kind3_0.jpg of row 2750/Kind3/Kind3_0.jpg is missing (1 such rows)")
    refused(written(tmp_path, [*ROWS, ROWS[4]]), "train", "1 ids are there more than once, first 2750/Kind4/Kind4_0.jpg")


def test_classes_are_those_that_are_published(tmp_path: Path) -> None:
    refused(written(tmp_path, ROWS[:9]), "train", "eurosat: found 9 classes, expected 10")
    refused(written(tmp_path, [*ROWS, ["a.jpg", 3, "Road"]]), "train", "eurosat is damaged", "label 3 is 'Highway or Road' and 'Road'")
    refused(written(tmp_path, [*ROWS[:9], ["a.jpg", 10, "Lake"]]), "train", "the labels of the 10 classes are not 0 to 9")
    refused(written(tmp_path, [*ROWS[:9], ["a.jpg", 9, "River"]]), "train", "two classes are called 'River'")
    with pytest.raises(UserError, match="eurosat: found 9 classes"):
        written(tmp_path, ROWS[:9]).classes


@pytest.mark.parametrize("damage", ["{", "[]", "{}", '{"train": [], "val": []}', '{"train": 3, "val": [], "test": []}',
                                    '{"train": [["a.jpg", "0", "a"]], "val": [], "test": []}',
                                    '{"train": [["a.jpg", 0]], "val": [], "test": []}',
                                    '{"train": [["a.jpg", true, "a"]], "val": [], "test": []}'])  # fmt: skip
def test_a_damaged_file_is_told_in_a_line(damage: str, tmp_path: Path) -> None:
    own = written(tmp_path, ROWS)
    (tmp_path / "eurosat/split_zhou_EuroSAT.json").write_text(damage)
    refused(own, "train", "eurosat is damaged")


def test_few_shots_are_of_each_class_and_a_larger_draw_holds_the_smaller() -> None:
    labels = [row % 7 for row in range(200)] + [7, 7]
    random.Random(0).shuffle(labels)
    draws = {shots: few_shot(labels, shots, seed=1) for shots in (1, 2, 4, 16)}
    for shots, rows in draws.items():
        assert rows == sorted(set(rows)) and Counter(labels[row] for row in rows) == dict.fromkeys(range(7), shots) | {7: min(shots, 2)}
    assert set(draws[1]) < set(draws[2]) < set(draws[4]) < set(draws[16])
    assert draws[4] == few_shot(labels, 4, seed=1) != few_shot(labels, 4, seed=2)
    with pytest.raises(UserError, match="0 shots"):
        few_shot(labels, 0, seed=1)


def test_few_shots_stay_the_same_with_every_version() -> None:
    assert few_shot([0, 1] * 8, 2, seed=1) == [0, 3, 8, 15]


@pytest.mark.parametrize(("count", "base"), [(10, 5), (37, 19), (1, 1), (0, 0)])
def test_the_first_half_of_the_classes_is_base(count: int, base: int) -> None:
    assert base_new(["a"] * count) == (True,) * base + (False,) * (count - base)
