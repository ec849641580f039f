"""ScienceQA in its published format: questions with a picture, with a text to read, with both and with neither."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from published import picture, refused

from suite.data.science_qa import SIZES, ScienceQa

Problems = dict[str, dict[str, Any]]


def problem(**changes: object) -> dict[str, Any]:
    whole = {"question": "Which is farthest north?", "choices": ["Ohio", "Texas"], "answer": 0, "hint": "", "image": None,
             "task": "closed choice", "grade": "grade2", "subject": "social science", "topic": "geography", "category": "Geography",
             "skill": "Read a map", "lecture": "", "solution": "", "split": "test"}  # fmt: skip
    return whole | changes


def four() -> Problems:
    """One of each kind."""
    return {"4": problem(), "5": problem(image="image.png", answer=1), "11": problem(hint="Read this."),
            "15": problem(image="image.png", hint="Look.", choices=["a", "b", "c", "d", "e"], answer=4, grade="grade12")}  # fmt: skip


def written(home: Path, problems: Problems, keys: list[str] | None = None) -> ScienceQa:
    """A dataset of a test split; all of its pictures are equal."""
    folder = home / "scienceqa"
    folder.mkdir(exist_ok=True)
    (folder / "problems.json").write_text(json.dumps(problems))
    (folder / "pid_splits.json").write_text(json.dumps({"train": [], "val": [], "test": keys or list(problems), "minitest": ["4"]}))
    for key, row in problems.items():
        if row.get("image"):
            picture(folder / "images/test" / key / "image.png", 9)
    return ScienceQa("science-qa", {"test": len(keys or problems)})


@pytest.fixture(autouse=True)
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PETLBENCH_MIRROR", str(tmp_path))


def test_rows_are_questions_with_what_they_come_with(tmp_path: Path) -> None:
    found = written(tmp_path, four()).split("test")
    assert found["id"][:] == ["4", "5", "11", "15"] and found["kind"][:] == ["none", "image", "text", "both"]
    assert found["text"][0] == "Which is farthest north?" and found["options"][3] == ["a", "b", "c", "d", "e"]
    assert found["label"][:] == [0, 1, 0, 4] and found["hint"][:] == ["", "", "Read this.", "Look."]
    assert found["grade"][3] == "grade12" and set(found["subject"]) == {"social science"}


def test_a_row_without_picture_has_none(tmp_path: Path) -> None:
    own = written(tmp_path, four())
    found = own.split("test")
    assert [image and image.getpixel((0, 0)) for image in found["image"]] == [None, (9, 9, 9), None, (9, 9, 9)]
    first, one, second, other = found["image_id"]
    assert (first, second) == ("4", "11") and one == other, "equal pictures, equal ids"
    digest = own.content_hash()
    assert ScienceQa("science-qa", {"test": 4}).content_hash() == digest
    picture(tmp_path / "scienceqa/images/test/15/image.png", 10)
    changed = ScienceQa("science-qa", {"test": 4})
    assert changed.split("test")["image_id"][3] != one and changed.content_hash() != digest


def test_a_reader_whose_rows_have_pictures_may_not_lack_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ScienceQa, "pictured", True)
    refused(written(tmp_path, four()), "test", "no picture in image of row 0 (2 such rows)")


def test_published_sizes() -> None:
    assert SIZES == {"train": 12_726, "validation": 4_241, "test": 4_241} and sum(SIZES.values()) == 21_208


def test_a_missing_dataset_or_file_is_told_with_what_to_do(tmp_path: Path) -> None:
    refused(ScienceQa("science-qa", SIZES), "test", "science-qa is neither below PETLBENCH_MIRROR", "github.com/lupantech", "CC-BY-NC-SA")
    written(tmp_path, four())
    for name in ("pid_splits.json", "problems.json"):
        (tmp_path / "scienceqa" / name).unlink()
        refused(ScienceQa("science-qa", SIZES), "test", f"scienceqa/{name} is missing", "github.com/lupantech/ScienceQA")


def test_wrong_counts_a_missing_picture_and_an_id_twice_are_refused(tmp_path: Path) -> None:
    own = written(tmp_path, four())
    refused(ScienceQa("science-qa", {"test": 5}), "test", "found 4 rows, expected 5")
    (tmp_path / "scienceqa/images/test/5/image.png").unlink()
    refused(own, "test", "images/test/5/image.png of row 5 is missing (1 such rows)")
    refused(written(tmp_path, four(), ["4", "5", "4"]), "test", "1 ids are there more than once, first 4")


@pytest.mark.parametrize("change", [{"choices": "ab"}, {"choices": ["a", 2]}, {"choices": None}, {"answer": "A"}, {"answer": True},
                                    {"answer": 2}, {"answer": -1}, {"hint": 3}, {"question": 3}, {"grade": 2}, {"subject": None},
                                    {"image": ["image.png"]}])  # fmt: skip
def test_a_wrong_value_is_told(change: dict[str, object], tmp_path: Path) -> None:
    own = written(tmp_path, four())
    (tmp_path / "scienceqa/problems.json").write_text(json.dumps(four() | {"4": problem(**change)}))
    refused(own, "test", "science-qa/test is damaged")


@pytest.mark.parametrize("lost", ["question", "choices", "answer", "hint", "image", "grade", "subject"])
def test_a_missing_key_is_told(lost: str, tmp_path: Path) -> None:
    problems = four()
    del problems["11"][lost]
    refused(written(tmp_path, problems), "test", "science-qa/test is damaged", lost)


def cut(path: Path) -> None:
    path.write_text(path.read_text()[:-9])


def bare(path: Path) -> None:
    path.write_text("[]")


@pytest.mark.parametrize("name", ["problems.json", "pid_splits.json"])
@pytest.mark.parametrize("damage", [cut, bare])
def test_a_damaged_file_is_told_in_a_line(damage: Callable[[Path], None], name: str, tmp_path: Path) -> None:
    own = written(tmp_path, four())
    damage(tmp_path / "scienceqa" / name)
    refused(own, "test", "science-qa/test is damaged")


def test_a_problem_that_is_not_there_is_told(tmp_path: Path) -> None:
    refused(written(tmp_path, four(), ["4", "5", "99"]), "test", "science-qa/test is damaged", "99")
