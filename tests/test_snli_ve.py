"""SNLI-VE in its real format, with small pictures in the place of the photographs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from published import picture, refused

from suite.data.snli_ve import LABELS, PARTS, SIZES, SnliVe


def line(pair: str, label: str = "neutral", **changes: object) -> dict[str, object]:
    name = pair.partition("#")[0]
    return {
        "Flickr30K_ID": name.removesuffix(".jpg"), "annotator_labels": [label], "captionID": pair[:-3], "gold_label": label, "pairID": pair,
        "sentence1": "A premise in words.", "sentence2": "It rains.",
    } | changes  # fmt: skip


def written(home: Path, rows: list[dict[str, object]], split: str = "train") -> SnliVe:
    """A dataset of one split, with its pictures."""
    file = home / f"snli_ve/snli_ve_{PARTS[split]}.jsonl"
    file.parent.mkdir(exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for number, row in enumerate(rows):
        picture(home / "snli_ve/flickr30k-images" / str(row["pairID"]).partition("#")[0], number)
    return SnliVe("snli_ve", {split: len(rows)})


def two() -> list[dict[str, object]]:
    return [line("36979.jpg#0r1n"), line("36979.jpg#0r1e", "entailment", sentence2="n/a")]


@pytest.fixture(autouse=True)
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PETLBENCH_MIRROR", str(tmp_path))


@pytest.mark.parametrize("split", SIZES)
def test_rows_are_hypotheses_about_a_photograph(split: str, tmp_path: Path) -> None:
    own = written(tmp_path, [*two(), line("65567.jpg#4r1c", "contradiction")], split)
    first, second, third = own.split(split)
    assert (first["id"], first["image_id"], first["text"], first["label"]) == ("36979.jpg#0r1n", "36979.jpg", "It rains.", 1)
    assert second["text"] == "n/a" and second["image_id"] == first["image_id"] and third["image"].getpixel((0, 0)) == (2, 2, 2)
    assert [LABELS[row["label"]] for row in (first, second, third)] == ["neutral", "entailment", "contradiction"]
    assert own.content_hash() == SnliVe("snli_ve", {split: 3}).content_hash()


def test_pictures_of_flickr30k_may_be_linked(tmp_path: Path) -> None:
    own = written(tmp_path, two())
    (tmp_path / "snli_ve/flickr30k-images").rename(tmp_path / "elsewhere")
    (tmp_path / "snli_ve/flickr30k-images").symlink_to(tmp_path / "elsewhere")
    assert own.split("train")[0]["image"].size == (8, 8) and own.content_hash()


def test_published_sizes() -> None:
    """The README counts by label: entailment, neutral, contradiction."""
    assert SIZES == {"train": 529_527, "validation": 17_858, "test": 17_901}
    assert list(SIZES.values()) == [176_932 + 176_045 + 176_550, 5_959 + 5_960 + 5_939, 5_973 + 5_964 + 5_964]


def test_a_missing_dataset_or_file_is_told_with_what_to_do(tmp_path: Path) -> None:
    refused(SnliVe("snli_ve", SIZES), "train", "snli_ve is neither below PETLBENCH_MIRROR", "github.com/necla-ml/SNLI-VE", "CC-BY-SA-4.0")
    (tmp_path / "snli_ve").mkdir()
    refused(SnliVe("snli_ve", SIZES), "validation", "snli_ve/snli_ve_dev.jsonl is missing", "flickr30k-images")


def test_wrong_counts_a_missing_picture_and_an_id_twice_are_refused(tmp_path: Path) -> None:
    own = written(tmp_path, two())
    refused(SnliVe("snli_ve", {"train": 3}), "train", "found 2 rows, expected 3")
    (tmp_path / "snli_ve/flickr30k-images/36979.jpg").unlink()
    refused(own, "train", "36979.jpg of row 36979.jpg#0r1n is missing (2 such rows)")
    twice = [two()[0], two()[0] | {"gold_label": "entailment"}]
    refused(written(tmp_path, twice), "train", "1 ids are there more than once, first 36979.jpg#0r1n")


@pytest.mark.parametrize("damage", ['{"pairID": "36979.jpg#0r1n"', '{"pairID": "36979.jpg#0r1n"}', "[]", '{"pairID": 3}',
                                    json.dumps(line("36979.jpg#0r1n", "-")), json.dumps(line("36979.jpg#0r1n", sentence2=3))])  # fmt: skip
def test_a_damaged_file_is_told_in_a_line(damage: str, tmp_path: Path) -> None:
    own = written(tmp_path, two())
    (tmp_path / "snli_ve/snli_ve_train.jsonl").write_text(damage + "\n")
    refused(own, "train", "snli_ve/train is damaged")


def test_an_empty_hypothesis_is_refused(tmp_path: Path) -> None:
    refused(written(tmp_path, [two()[0], two()[1] | {"sentence2": " "}]), "train", "an empty text of row 1")
