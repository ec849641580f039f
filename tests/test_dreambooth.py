"""DreamBooth's subjects in their published format, with small pictures in the place of the photographs."""

from __future__ import annotations

from pathlib import Path

import pytest
from published import picture, refused

from suite.data.dreambooth import SIZES, DreamBooth

SUBJECTS = {"backpack_dog": ("backpack", 5), "bear_plushie": ("stuffed animal", 4), "dog2": ("dog", 6)}
OBJECTS = ("a {0} {1} in the jungle", "a {0} {1} with the Eiffel Tower in the background")
LIVE = ("a {0} {1} in the jungle", "a {0} {1} wearing a red hat")


def listed(prompts: tuple[str, ...]) -> str:
    """Prompts as the file has them: a piece of Python."""
    return "prompt_list = [\n" + ",\n".join(f"'{prompt}'.format(unique_token, class_token)" for prompt in prompts) + "\n]\n"


def text(subjects: dict[str, tuple[str, int]] = SUBJECTS) -> str:
    classes = "".join(f"{name},{noun}\n" for name, (noun, _) in subjects.items())
    return (f"Classes\n\nsubject_name,class\n{classes}\nPrompts\n\nObject Prompts\n\n{listed(OBJECTS)}\n"
            f"Live Subject Prompts\n\n{listed(LIVE)}")  # fmt: skip


def written(home: Path, told: str = text()) -> DreamBooth:
    """A dataset of three subjects with two prompts each."""
    folder = home / "dreambooth/dataset"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "prompts_and_classes.txt").write_text(told)
    for number, (name, (_, count)) in enumerate(SUBJECTS.items()):
        for k in range(count):
            picture(folder / name / f"{k:02d}.jpg", 60 * number + 5 * k)
    return DreamBooth("dreambooth", {"train": 15, "test": 24})


@pytest.fixture(autouse=True)
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PETLBENCH_MIRROR", str(tmp_path))


def test_train_has_the_pictures_of_each_subject(tmp_path: Path) -> None:
    own = written(tmp_path)
    found = own.split("train")
    assert own.classes == tuple(SUBJECTS) and found["label"][:] == [0] * 5 + [1] * 4 + [2] * 6
    assert found["id"][4:6] == ["backpack_dog/04.jpg", "bear_plushie/00.jpg"] and len(set(found["image_id"])) == 15
    assert found["text"][::5] == ["a [V] backpack", "a [V] stuffed animal", "a [V] dog"] and found["noun"][5] == "stuffed animal"
    assert abs(found[10]["image"].getpixel((0, 0))[0] - 125) < 3, "JPEG is not exact"


def test_test_asks_four_times_by_each_prompt(tmp_path: Path) -> None:
    own = written(tmp_path)
    found = own.split("test")
    assert found["label"][:] == [0] * 8 + [1] * 8 + [2] * 8 and set(found["image"]) == {None}
    assert found["text"][::4] == ["a [V] backpack in the jungle", "a [V] backpack with the Eiffel Tower in the background",
                                  "a [V] stuffed animal in the jungle", "a [V] stuffed animal with the Eiffel Tower in the background",
                                  "a [V] dog in the jungle", "a [V] dog wearing a red hat"]  # fmt: skip
    assert found["id"][3:5] == ["backpack_dog/00-3", "backpack_dog/01-0"] and len(set(found["id"])) == 24
    assert own.content_hash() == DreamBooth("dreambooth", {"train": 15, "test": 24}).content_hash()


def test_published_sizes() -> None:
    assert SIZES == {"train": 158, "test": 3_000}


def test_a_missing_dataset_or_file_is_told_with_what_to_do(tmp_path: Path) -> None:
    refused(DreamBooth("dreambooth", SIZES), "train", "dreambooth is neither below PETLBENCH_MIRROR", "github.com/google", "CC-BY-4.0")
    (tmp_path / "dreambooth").mkdir()
    refused(DreamBooth("dreambooth", SIZES), "test", "dreambooth/dataset/prompts_and_classes.txt is missing", "github.com/google")


def test_wrong_counts_and_a_missing_picture_are_refused(tmp_path: Path) -> None:
    own = written(tmp_path)
    refused(DreamBooth("dreambooth", SIZES), "train", "found 15 rows, expected 158")
    refused(DreamBooth("dreambooth", SIZES), "test", "found 24 rows, expected 3,000")
    (tmp_path / "dreambooth/dataset/dog2/05.jpg").unlink()
    refused(own, "train", "found 14 rows, expected 15")
    picture(tmp_path / "dreambooth/dataset/dog2/06.jpg")
    refused(own, "train", "dog2/05.jpg of row dog2/05.jpg is missing (1 such rows)")


@pytest.mark.parametrize(("name", "count"), [("bear_plushie", 3), ("dog2", 7), ("backpack_dog", 0)])
def test_a_subject_has_four_to_six_pictures(name: str, count: int, tmp_path: Path) -> None:
    own = written(tmp_path)
    folder = tmp_path / "dreambooth/dataset" / name
    for number in range(7):
        picture(folder / f"{number:02d}.jpg") if number < count else (folder / f"{number:02d}.jpg").unlink(missing_ok=True)
    refused(own, "train", f"{name} has {count} pictures, expected 4 to 6")


@pytest.mark.parametrize("damage", [
    "", "[]", text().replace("Live Subject Prompts", "More Prompts"), text().replace("subject_name,class\n", "").replace(",", ";"),
    text().replace("dog2,dog", "dog2,dog,cat"), text().replace("dog2,dog", "backpack_dog,dog"),
])  # fmt: skip
def test_a_damaged_file_is_told_in_a_line(damage: str, tmp_path: Path) -> None:
    refused(written(tmp_path, damage), "train", "dreambooth/dataset/prompts_and_classes.txt is damaged")


@pytest.mark.parametrize(("lost", "told"), [(".format(", "has no rows"), ("{1}", "is damaged: IndexError")])
def test_prompts_that_are_none_are_told(lost: str, told: str, tmp_path: Path) -> None:
    refused(written(tmp_path, text().replace(lost, "{7}")), "test", "dreambooth/test", told)
