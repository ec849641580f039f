"""FGVC-Aircraft in its real format, with small pictures."""

from __future__ import annotations

from pathlib import Path

import pytest
from published import picture, refused

from suite.data.aircraft import SIZES, Aircraft

VARIANTS = ["707-320", "Boeing 717", "F/A-18", *(f"A{number}" for number in range(97))]
LINES = [f"{number:07} {variant}" for number, variant in enumerate(VARIANTS)]


def written(mirror: Path, lines: list[str], variants: list[str] = VARIANTS) -> Aircraft:
    """A dataset with these training lines, and their pictures."""
    home = mirror / "fgvc_aircraft"
    home.mkdir(exist_ok=True)
    (home / "variants.txt").write_text("".join(f"{name}\n" for name in variants))
    (home / "images_variant_train.txt").write_text("".join(f"{line}\n" for line in lines))
    for number, line in enumerate(lines):
        picture(home / f"images/{line.split()[0]}.jpg", number)
    return Aircraft("aircraft", {"train": len(lines)})


@pytest.fixture(autouse=True)
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PETLBENCH_MIRROR", str(tmp_path))


def test_rows_are_pictures_with_their_variant(tmp_path: Path) -> None:
    own = written(tmp_path, LINES[:4])
    rows = own.split("train")
    assert rows["label"][:] == [0, 1, 2, 3] and set(rows["text"]) == {""} and own.classes == tuple(VARIANTS)
    assert rows["id"][1] == rows["image_id"][1] == "images/0000001.jpg" and rows[1]["image"].getpixel((0, 0)) == (1, 1, 1)
    assert own.base == (True,) * 50 + (False,) * 50


def test_validation_is_val(tmp_path: Path) -> None:
    written(tmp_path, LINES[:4])
    (tmp_path / "fgvc_aircraft/images_variant_val.txt").write_text("\n".join(LINES[2:4]))
    assert Aircraft("aircraft", {"validation": 2}).split("validation")["label"][:] == [2, 3]


def test_published_sizes() -> None:
    assert SIZES == {"train": 3_334, "validation": 3_333, "test": 3_333} and Aircraft.count == 100


def test_a_missing_dataset_or_file_is_told_with_what_to_do(tmp_path: Path) -> None:
    refused(Aircraft("aircraft", SIZES), "train", "aircraft is neither below PETLBENCH_MIRROR", "fgvc-aircraft-2013b", "non-commercial")
    (tmp_path / "fgvc_aircraft").mkdir()
    refused(Aircraft("aircraft", SIZES), "train", "fgvc_aircraft/variants.txt is missing", "fgvc-aircraft-2013b")


def test_wrong_counts_a_missing_picture_and_a_picture_twice_are_refused(tmp_path: Path) -> None:
    own = written(tmp_path, LINES[:4])
    refused(Aircraft("aircraft", SIZES), "train", "found 4 rows, expected 3,334")
    (tmp_path / "fgvc_aircraft/images/0000002.jpg").unlink()
    refused(own, "train", "0000002.jpg of row images/0000002.jpg is missing (1 such rows)")
    refused(written(tmp_path, [*LINES[:4], LINES[0]]), "train", "1 ids are there more than once, first images/0000000.jpg")


@pytest.mark.parametrize(("lines", "variants", "told"), [
    (["0000001 Concorde", LINES[0]], VARIANTS, "aircraft/train is damaged: KeyError: 'Concorde'"),
    (["0000001", LINES[0]], VARIANTS, "aircraft/train is damaged"),
    (LINES[:2], VARIANTS[:99], "aircraft: found 99 classes, expected 100"),
    (LINES[:2], [*VARIANTS[:99], "F/A-18"], "aircraft is damaged: ValueError: two classes are called 'F/A-18'"),
])  # fmt: skip
def test_a_damaged_file_is_told_in_a_line(lines: list[str], variants: list[str], told: str, tmp_path: Path) -> None:
    refused(written(tmp_path, lines, variants), "train", told)
