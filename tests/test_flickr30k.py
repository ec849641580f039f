"""Flickr30K in its published format: the captions of Karpathy's split, with small pictures in the place of the photographs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from published import picture, refused

from suite.data.flickr30k import CAPTIONS, PHOTOGRAPHS, SIZES, Flickr30k

NAMES = {"train": "1000092795.jpg", "val": "1018148011.jpg", "test": "1007129816.jpg"}


def image(number: int, part: str, name: str, captions: int = CAPTIONS) -> dict[str, object]:
    """A photograph with its captions, which say their number."""
    ids = list(range(number * CAPTIONS, number * CAPTIONS + captions))
    told = [{"tokens": ["caption", str(i)], "raw": f"Caption {i}.", "imgid": number, "sentid": i} for i in ids]
    return {"sentids": ids, "imgid": number, "sentences": told, "split": part, "filename": name}


def written(home: Path, images: list[dict[str, object]]) -> Flickr30k:
    """A dataset with one photograph a split."""
    (home / "flickr30k").mkdir(exist_ok=True)
    (home / "flickr30k/dataset_flickr30k.json").write_text(json.dumps({"images": images, "dataset": "flickr30k"}))
    for number, name in enumerate(NAMES.values()):
        picture(home / "flickr30k/flickr30k-images" / name, 10 * number)
    return Flickr30k("flickr30k", dict.fromkeys(SIZES, CAPTIONS))


@pytest.fixture
def images() -> list[dict[str, object]]:
    return [image(number, part, name) for number, (part, name) in enumerate(NAMES.items())]


@pytest.fixture(autouse=True)
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PETLBENCH_MIRROR", str(tmp_path))


@pytest.mark.parametrize(("number", "split"), list(enumerate(SIZES)))
def test_rows_are_captions_with_their_photograph(number: int, split: str, images: list[dict[str, object]], tmp_path: Path) -> None:
    own = written(tmp_path, images)
    found = own.split(split)
    assert found["id"][:] == [str(CAPTIONS * number + k) for k in range(CAPTIONS)]
    assert found["text"][:] == [f"Caption {CAPTIONS * number + k}." for k in range(CAPTIONS)]
    assert set(found["image_id"]) == {list(NAMES.values())[number]} and "label" not in found.column_names
    assert abs(found[0]["image"].getpixel((0, 0))[0] - 10 * number) < 3, "JPEG is not exact"
    assert own.content_hash() == written(tmp_path, images).content_hash()


def test_published_sizes() -> None:
    assert PHOTOGRAPHS == {"train": 29_000, "validation": 1_014, "test": 1_000}
    assert SIZES == {"train": 145_000, "validation": 5_070, "test": 5_000}


def test_a_missing_dataset_or_file_is_told_with_what_to_do(tmp_path: Path) -> None:
    refused(Flickr30k("flickr30k", SIZES), "train", "flickr30k is neither below PETLBENCH_MIRROR", "caption_datasets.zip", "non-commercial")
    (tmp_path / "flickr30k").mkdir()
    refused(Flickr30k("flickr30k", SIZES), "train", "flickr30k/dataset_flickr30k.json is missing", "caption_datasets.zip")


def test_wrong_counts_a_missing_photograph_and_an_id_twice_are_refused(images: list[dict[str, object]], tmp_path: Path) -> None:
    own = written(tmp_path, images)
    refused(Flickr30k("flickr30k", {"test": 10}), "test", "found 5 rows, expected 10")
    (tmp_path / "flickr30k/flickr30k-images" / NAMES["test"]).unlink()
    refused(own, "test", f"{NAMES['test']} of row 10 is missing (5 such rows)")
    images[1]["sentences"] = [{"raw": "The same.", "sentid": 7}] * CAPTIONS
    refused(written(tmp_path, images), "validation", "1 ids are there more than once, first 7")


@pytest.mark.parametrize("captions", [0, 4, 6])
def test_a_photograph_has_five_captions(captions: int, images: list[dict[str, object]], tmp_path: Path) -> None:
    images[1] = image(1, "val", NAMES["val"], captions)
    refused(written(tmp_path, images), "validation", f"{NAMES['val']} has {captions} captions, expected 5")


def test_a_photograph_is_in_one_split(images: list[dict[str, object]], tmp_path: Path) -> None:
    again = image(7, "test", NAMES["train"])
    refused(written(tmp_path, [*images, again]), "train", f"{NAMES['train']} has 10 captions, expected 5")


@pytest.mark.parametrize("lost", ["filename", "sentences", "split"])
def test_a_missing_key_is_told(lost: str, images: list[dict[str, object]], tmp_path: Path) -> None:
    del images[0][lost]
    refused(written(tmp_path, images), "train", "flickr30k/train is damaged", lost)


@pytest.mark.parametrize("damage", ['{"images": [', "[]", "{}", '{"images": 3}', '{"images": [{"filename": "a", "sentences": 3}]}'])
def test_a_damaged_file_is_told_in_a_line(damage: str, images: list[dict[str, object]], tmp_path: Path) -> None:
    own = written(tmp_path, images)
    (tmp_path / "flickr30k/dataset_flickr30k.json").write_text(damage)
    refused(own, "train", "flickr30k/train is damaged")


def test_a_caption_is_a_text(images: list[dict[str, object]], tmp_path: Path) -> None:
    images[0]["sentences"][2]["raw"] = 3
    refused(written(tmp_path, images), "train", "flickr30k/train is damaged")
    images[0]["sentences"][2]["raw"] = " "
    refused(written(tmp_path, images), "train", "an empty text of row 2")
