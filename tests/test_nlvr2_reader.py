"""NLVR2 in its real format: the mirrored sample lines, with small pictures in the place of the photographs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from published import picture, refused

from suite.data.nlvr2 import SIZES, Nlvr2

LINES = Path(__file__).parents[2] / "shared/datasets/nlvr2"


def line(identifier: str, **changes: object) -> dict[str, object]:
    return {"identifier": identifier, "sentence": "There is a dog.", "label": "True", "directory": 7} | changes


def written(home: Path, rows: list[dict[str, object]], part: str = "train") -> Nlvr2:
    """A dataset of one split, with its pictures."""
    file = home / f"nlvr2/data/{part}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for number, row in enumerate(rows):
        folder = home / "nlvr2/images" / part / (str(row["directory"]) if part == "train" else "")
        for side in (0, 1):
            picture(folder / f"{str(row['identifier']).rpartition('-')[0]}-img{side}.png", 2 * number + side)
    split = {"train": "train", "dev": "validation", "test1": "test"}[part]
    return Nlvr2("nlvr2", {split: len(rows)})


@pytest.fixture(autouse=True)
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PETLBENCH_MIRROR", str(tmp_path))


def test_rows_are_lines_with_both_pictures(tmp_path: Path) -> None:
    own = written(tmp_path, [line("train-1-0-0"), line("train-2-0-1", label="False", directory=8)])
    first, second = own.split("train")
    assert (first["id"], first["image_id"], first["text"], first["label"]) == ("train-1-0-0", "train-1-0", "There is a dog.", 1)
    assert second["label"] == 0 and second["left"].getpixel((0, 0)) == (2, 2, 2) and second["right"].getpixel((0, 0)) == (3, 3, 3)
    assert own.content_hash() == Nlvr2("nlvr2", {"train": 2}).content_hash()


@pytest.mark.skipif(not LINES.is_dir(), reason="needs NLVR2's sample lines beside the checkout")
@pytest.mark.parametrize(("part", "split", "count"), [("dev", "validation", 200), ("test1", "test", 50)])
def test_real_lines_are_read(part: str, split: str, count: int, tmp_path: Path) -> None:
    rows = [json.loads(text) for text in (LINES / f"{part}.sample.jsonl").read_text().splitlines()]
    own = written(tmp_path, rows, part)
    found = own.split(split)
    assert len(found) == count and set(found["label"]) == {0, 1} and found["text"][0] == rows[0]["sentence"]
    truth = sum(row["label"] == "True" for row in rows)
    assert sum(found["label"]) == truth


def test_published_sizes() -> None:
    assert SIZES == {"train": 86_373, "validation": 6_982, "test": 6_967}


def test_a_missing_dataset_or_file_is_told_with_what_to_do(tmp_path: Path) -> None:
    refused(Nlvr2("nlvr2", SIZES), "train", "nlvr2 is neither below PETLBENCH_MIRROR", "github.com/lil-lab/nlvr", "CC-BY-4.0")
    (tmp_path / "nlvr2").mkdir()
    refused(Nlvr2("nlvr2", SIZES), "train", "nlvr2/data/train.json is missing", "github.com/lil-lab/nlvr")


def test_wrong_counts_a_missing_picture_and_an_id_twice_are_refused(tmp_path: Path) -> None:
    rows = [line("train-1-0-0"), line("train-1-0-1", label="False")]
    own = written(tmp_path, rows)
    refused(Nlvr2("nlvr2", {"train": 3}), "train", "found 2 rows, expected 3")
    (tmp_path / "nlvr2/images/train/7/train-1-0-img1.png").unlink()
    refused(own, "train", "train-1-0-img1.png of row train-1-0-0 is missing (2 such rows)")
    refused(written(tmp_path, [rows[0], rows[0] | {"label": "False"}]), "train", "1 ids are there more than once, first train-1-0-0")


@pytest.mark.parametrize("damage", ['{"identifier": "train-1-0-0"', '{"identifier": "train-1-0-0"}', "[]", '{"identifier": 3}',
                                    '{"identifier": "train-1-0-0", "sentence": "a", "label": true, "directory": 1}'])  # fmt: skip
def test_a_damaged_file_is_told_in_a_line(damage: str, tmp_path: Path) -> None:
    own = written(tmp_path, [line("train-1-0-0")])
    (tmp_path / "nlvr2/data/train.json").write_text(damage + "\n")
    refused(own, "train", "nlvr2/train is damaged")
