"""ImageNet in its real format, with a small picture for each class."""

from __future__ import annotations

from pathlib import Path

import pytest
from published import picture, refused

from suite.data.imagenet import SIZES, ImageNet

NAMES = {f"n{100 * label:08}": f"kind {label}" for label in range(998)} | {"n99999998": "missile", "n99999999": "missile"}


def written(mirror: Path, split: str = "train", names: dict[str, str] = NAMES) -> ImageNet:
    """A dataset with a picture for each class, two for the first."""
    home = mirror / "imagenet"
    home.mkdir(exist_ok=True)
    (home / "classnames.txt").write_text("".join(f"{folder} {name}\n" for folder, name in names.items()))
    part = home / "images" / {"train": "train", "test": "val"}[split]
    for number, folder in enumerate(NAMES):
        picture(part / folder / f"{folder}_1.JPEG", number)
    picture(part / next(iter(NAMES)) / "a_0.JPEG", 7)
    return ImageNet("imagenet", {split: len(NAMES) + 1})


@pytest.fixture(autouse=True)
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PETLBENCH_MIRROR", str(tmp_path))


@pytest.mark.parametrize(("split", "part"), [("train", "train"), ("test", "val")])
def test_rows_are_pictures_of_the_folders(split: str, part: str, tmp_path: Path) -> None:
    own = written(tmp_path, split, dict(reversed(NAMES.items())))
    rows = own.split(split)
    assert rows["label"][:] == [0, *range(1000)] and set(rows["text"]) == {""} and own.classes[-2:] == ("missile",) * 2
    assert rows["id"][:2] == rows["image_id"][:2] == [f"images/{part}/n00000000/{name}.JPEG" for name in ("a_0", "n00000000_1")]
    assert rows[0]["image"].getpixel((0, 0)) == (7, 7, 7) and rows.features["label"].names == [*NAMES]
    assert own.base.count(True) == 500 and own.content_hash() == ImageNet("imagenet", {split: 1001}).content_hash()


def test_published_sizes() -> None:
    assert SIZES == {"train": 1_281_167, "test": 50_000} and ImageNet.count == 1_000


def test_a_missing_dataset_file_or_folder_is_told_with_what_to_do(tmp_path: Path) -> None:
    refused(ImageNet("imagenet", SIZES), "train", "imagenet is neither below PETLBENCH_MIRROR", "image-net.org", "non-commercial")
    (tmp_path / "imagenet").mkdir()
    refused(ImageNet("imagenet", SIZES), "train", "imagenet/classnames.txt is missing", "github.com/KaiyangZhou/CoOp")
    written(tmp_path)
    refused(ImageNet("imagenet", SIZES), "test", "the folder imagenet/images/val/n00000000 is missing", "a folder for each class")


def test_missing_pictures_and_classes_are_counted(tmp_path: Path) -> None:
    own = written(tmp_path)
    (tmp_path / "imagenet/images/train/n00000300/n00000300_1.JPEG").unlink()
    refused(own, "train", "imagenet/train: found 1,000 rows, expected 1,001")
    refused(written(tmp_path, names=dict(list(NAMES.items())[1:])), "train", "imagenet: found 999 classes, expected 1,000")


def test_a_damaged_file_is_told_in_a_line(tmp_path: Path) -> None:
    refused(written(tmp_path, names=NAMES | {"n00000300": ""}), "train", "imagenet is damaged: ValueError")
