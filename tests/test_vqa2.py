"""VQA v2.0 in its real format, with small pictures in the place of the photographs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from published import picture, refused

from suite.data.vqa2 import PARTS, PHOTOGRAPHS, SIZES, Vqa2, rest_val
from suite.errors import UserError

NAMES = {split: f"v2_OpenEnded_mscoco_{part}_questions.json" for split, part in PARTS.items()}
ANNOTATIONS = {split: f"v2_mscoco_{PARTS[split]}_annotations.json" for split in ("train", "validation")}


def question(number: int, image: int, **changes: object) -> dict[str, object]:
    return {"question_id": number, "image_id": image, "question": f"Is it {number}?"} | changes


def annotation(number: int, answers: list[str], **changes: object) -> dict[str, object]:
    given = [{"answer_id": k + 1, "answer": answer, "answer_confidence": "yes"} for k, answer in enumerate(answers)]
    return {"question_id": number, "answers": given, "multiple_choice_answer": answers[0], "answer_type": "other"} | changes


def put(home: Path, name: str, content: object) -> None:
    (home / "vqa2").mkdir(exist_ok=True)
    (home / "vqa2" / name).write_text(content if isinstance(content, str) else json.dumps(content))


def written(home: Path, questions: list[dict[str, object]], annotations: list[dict[str, object]] | None, split: str = "train") -> Vqa2:
    """A dataset of one split, with its pictures."""
    put(home, NAMES[split], {"questions": questions, "data_type": "mscoco"})
    if annotations is not None:
        put(home, ANNOTATIONS[split], {"annotations": annotations, "data_type": "mscoco"})
    folder = PHOTOGRAPHS[split]
    for row in questions:
        picture(home / f"vqa2/{folder}/COCO_{folder}_{row['image_id']:012d}.jpg", int(str(row["image_id"])))
    return Vqa2("vqa2", {split: len(questions)})


def two() -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    return [question(7, 9), question(8, 9)], [annotation(8, ["no"] * 10), annotation(7, ["Yes", "yes"] * 5)]


@pytest.fixture(autouse=True)
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PETLBENCH_MIRROR", str(tmp_path))


@pytest.mark.parametrize("split", ["train", "validation"])
def test_rows_are_questions_with_ten_answers(split: str, tmp_path: Path) -> None:
    own = written(tmp_path, *two(), split)
    first, second = own.split(split)
    assert (first["id"], first["image_id"], first["text"], first["answers"]) == ("7", "9", "Is it 7?", ["Yes", "yes"] * 5)
    assert second["answers"] == ["no"] * 10 and second["image"].getpixel((0, 0)) == (9, 9, 9) and "label" not in first
    assert own.content_hash() == Vqa2("vqa2", {split: 2}).content_hash()


def test_the_test_split_has_no_answers(tmp_path: Path) -> None:
    (row,) = written(tmp_path, [question(7, 9)], None, "test").split("test")
    assert (row["id"], row["text"], row["answers"]) == ("7", "Is it 7?", [])


def test_published_sizes() -> None:
    assert SIZES == {"train": 443_757, "validation": 214_354, "test": 107_394}


def test_a_missing_dataset_or_file_is_told_with_what_to_do(tmp_path: Path) -> None:
    refused(Vqa2("vqa2", SIZES), "train", "vqa2 is neither below PETLBENCH_MIRROR", "visualqa.org", "CC-BY-4.0")
    own = written(tmp_path, *two())
    (tmp_path / "vqa2" / ANNOTATIONS["train"]).unlink()
    refused(own, "train", "vqa2/v2_mscoco_train2014_annotations.json is missing", "visualqa.org")
    refused(Vqa2("vqa2", SIZES), "test", "v2_OpenEnded_mscoco_test-dev2015_questions.json is missing")


def test_wrong_counts_a_missing_picture_and_an_id_twice_are_refused(tmp_path: Path) -> None:
    questions, annotations = two()
    own = written(tmp_path, questions, annotations)
    refused(Vqa2("vqa2", {"train": 3}), "train", "found 2 rows, expected 3")
    (tmp_path / "vqa2/train2014/COCO_train2014_000000000009.jpg").unlink()
    refused(own, "train", "COCO_train2014_000000000009.jpg of row 7 is missing (2 such rows)")
    refused(written(tmp_path, [questions[0]] * 2, annotations), "train", "1 ids are there more than once, first 7")


@pytest.mark.parametrize("damage", ["{", "[]", "{}", {"questions": [{"question_id": 7}]}, {"questions": [question(7, 9, question=3)]},
                                    {"questions": [question(5, 9)]}, {"questions": [question(7, 9, image_id="9")]}])  # fmt: skip
def test_damaged_questions_are_told_in_a_line(damage: object, tmp_path: Path) -> None:
    own = written(tmp_path, *two())
    put(tmp_path, NAMES["train"], damage)
    refused(own, "train", "vqa2/train is damaged")


@pytest.mark.parametrize("damage", [
    "{", "[]", {"annotations": []}, {"annotations": [annotation(7, ["yes"] * 9)]}, {"annotations": [{"question_id": 7}]},
    {"annotations": [annotation(7, ["yes"] * 10) | {"answers": [{"answer": 3}] * 10}]},
])  # fmt: skip
def test_damaged_annotations_are_told_in_a_line(damage: object, tmp_path: Path) -> None:
    own = written(tmp_path, *two())
    put(tmp_path, ANNOTATIONS["train"], damage)
    refused(own, "train", "vqa2/train is damaged")


def majority(**counts: int) -> list[dict[str, object]]:
    return [annotation(0, ["?"] * 10, multiple_choice_answer=answer) for answer, count in counts.items() for _ in range(count)]


def test_the_vocabulary_is_what_most_people_say_to_nine_questions(tmp_path: Path) -> None:
    put(tmp_path, ANNOTATIONS["train"], {"annotations": majority(yes=5, two=6, dont=8, the=9)})
    put(tmp_path, ANNOTATIONS["validation"], {"annotations": majority(Yes=4, **{"2": 3})})
    assert Vqa2("vqa2", SIZES, words=3).vocabulary == ("", "2", "yes")
    with pytest.raises(UserError, match="the vocabulary has 3 answers, expected 3,129"):
        Vqa2("vqa2", SIZES).vocabulary


def test_a_vocabulary_of_damaged_annotations_is_told_in_a_line(tmp_path: Path) -> None:
    for split, damage in (("train", {"annotations": majority(yes=9)}), ("validation", {"annotations": [{}]})):
        put(tmp_path, ANNOTATIONS[split], damage)
    with pytest.raises(UserError, match="vqa2: an annotation file is damaged: KeyError"):
        Vqa2("vqa2", SIZES).vocabulary


def test_rest_val_is_a_fixed_draw_of_pictures() -> None:
    images = [str(number) for number in range(40_504)]
    held = rest_val(images)
    assert len(held) == 1_000 and held < set(images) and held == rest_val(reversed(images)) == rest_val(images * 2)
    assert rest_val(images, 10) < held and held != set(images[-1_000:])
