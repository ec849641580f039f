"""GQA in its real format, with small pictures in the place of the photographs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from published import picture, refused

from suite.data.gqa import ANSWERS, SIZES, Gqa, gqa_accuracy
from suite.errors import UserError


def question(answer: str, image: str = "2354786", **changes: object) -> dict[str, object]:
    program = [{"operation": "select", "dependencies": [], "argument": "sky (2486325)"}]
    return {"semantic": program, "question": "Is the sky dark?", "imageId": image, "answer": answer, "isBalanced": True} | changes


def put(home: Path, part: str, content: object) -> None:
    (home / "gqa").mkdir(exist_ok=True)
    text = content if isinstance(content, str) else json.dumps(content)
    (home / f"gqa/{part}_balanced_questions.json").write_text(text)


def written(home: Path, answers: int = 3, **train: dict[str, object]) -> Gqa:
    """A dataset of two questions each in validation and test, with all pictures."""
    put(home, "train", train)
    put(home, "val", {"v": question("no", "7"), "w": question("yes", "7")})
    put(home, "testdev", {"t": question("bottle cap", "n8"), "u": question("yes", "n8")})
    for number, image in enumerate(("2354786", "n161313", "7", "n8")):
        picture(home / f"gqa/images/{image}.jpg", number)
    return Gqa("gqa", {"train": len(train), "validation": 2, "test": 2}, answers)


@pytest.fixture(autouse=True)
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PETLBENCH_MIRROR", str(tmp_path))


def test_rows_are_questions(tmp_path: Path) -> None:
    own = written(tmp_path, **{"02930152": question("yes"), "07333408": question("no", "n161313", question="Who?")})
    first, second = own.split("train")
    assert (first["id"], first["image_id"], first["text"], first["label"]) == ("02930152", "2354786", "Is the sky dark?", 2)
    assert (second["text"], second["label"]) == ("Who?", 1) and second["image"].getpixel((0, 0)) == (1, 1, 1)
    assert own.content_hash() == Gqa("gqa", own.sizes, 3).content_hash()


def test_classes_are_the_answers_of_all_splits(tmp_path: Path) -> None:
    own = written(tmp_path, a=question("yes"), b=question("no"))
    assert own.classes == ("bottle cap", "no", "yes")
    assert own.split("test")["label"][:] == [0, 2] and own.split("validation")["label"][:] == [1, 2]


def test_another_number_of_answers_is_refused(tmp_path: Path) -> None:
    own = written(tmp_path, ANSWERS, a=question("yes"), b=question("no"))
    refused(own, "train", "the questions have 3 different answers, expected 1,843")


def test_published_sizes() -> None:
    assert SIZES == {"train": 943_000, "validation": 132_062, "test": 12_578} and ANSWERS == 1_843


def test_a_missing_dataset_or_file_is_told_with_what_to_do(tmp_path: Path) -> None:
    refused(Gqa("gqa", SIZES), "train", "gqa is neither below PETLBENCH_MIRROR", "cs.stanford.edu/people/dorarad/gqa", "CC-BY-4.0")
    own = written(tmp_path, a=question("yes"), b=question("no"))
    (tmp_path / "gqa/testdev_balanced_questions.json").unlink()
    refused(own, "train", "gqa/testdev_balanced_questions.json is missing", "questions1.2.zip")


def test_wrong_counts_and_a_missing_picture_are_refused(tmp_path: Path) -> None:
    own = written(tmp_path, a=question("yes"), b=question("no"))
    refused(Gqa("gqa", {"train": 3}, 3), "train", "found 2 rows, expected 3")
    (tmp_path / "gqa/images/2354786.jpg").unlink()
    refused(own, "train", "2354786.jpg of row a is missing (2 such rows)")


def test_an_id_twice_is_a_row_less(tmp_path: Path) -> None:
    rows = {"a": question("yes"), "b": question("no"), "c": question("yes")}
    own = written(tmp_path, **rows)
    put(tmp_path, "train", json.dumps(rows).replace('"c"', '"a"'))
    refused(own, "train", "found 2 rows, expected 3")


@pytest.mark.parametrize("damage", [
    "{", "[]", {"a": []}, {"a": {"question": "?", "answer": "no", "isBalanced": True}}, {"a": {"imageId": "7"}},
    {"a": question("no", question=3), "b": question("yes")}, {"a": question("yes") | {"answer": 3}},
])  # fmt: skip
def test_a_damaged_file_is_told_in_a_line(damage: object, tmp_path: Path) -> None:
    own = written(tmp_path, a=question("yes"), b=question("no"))
    put(tmp_path, "train", damage)
    refused(own, "train", "gqa", "is damaged")


def test_damage_is_told_where_classes_are_asked_for(tmp_path: Path) -> None:
    own = written(tmp_path, a=question("yes"))
    put(tmp_path, "val", "[]")
    with pytest.raises(UserError, match="gqa: a file of questions is damaged"):
        own.content_hash()


def test_accuracy_is_the_share_of_equal_answers() -> None:
    assert gqa_accuracy(["yes", "no", "cat", "cat"], ["yes", "yes", "cat", "bottle cap"]) == 0.5
    assert gqa_accuracy(["Yes"], ["yes"]) == 0
    with pytest.raises(ValueError):
        gqa_accuracy(["yes"], ["yes", "no"])
