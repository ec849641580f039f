"""NLVR: what is read is what was published, nothing leaks, damage is named. Small archives and parquet files stand for the real ones."""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from suite import tasks
from suite.data import nlvr
from suite.data.checks import checked
from suite.data.fetch import Source
from suite.data.nlvr import Expected, Nlvr, Nlvr3525
from suite.errors import UserError
from suite.tasks.base import SEARCH_PARTS

SIZES = {"train": 40, "validation": 12, "test": 12}
MIRROR = os.environ.get("PETLBENCH_MIRROR", "")
REAL = pytest.mark.skipif(not Path(MIRROR, "nlvr/train.parquet").is_file(), reason="nlvr-3525 is not below PETLBENCH_MIRROR")


def picture(seed: int) -> bytes:
    """Three boxes with a square each, as a PNG."""
    pixels, rng = np.full((100, 400, 3), nlvr.GAP, np.uint8), np.random.default_rng(seed)
    for k in range(3):
        pixels[:, k * 150 : k * 150 + 100] = 211
        y, x = rng.integers(0, 80, 2)
        pixels[y : y + 20, k * 150 + x : k * 150 + x + 20] = rng.integers(0, 256, 3)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@dataclass(frozen=True)
class Row:
    """An example as it is published."""

    identifier: str
    sentence: str
    label: bool
    png: bytes


def part(name: str, size: int) -> list[Row]:
    """Presentations of four, whose first two examples are true."""
    start = {"train": 0, "dev": 1000, "test": 2000}[name]
    return [Row(f"{start + i // 4}-{i % 4}", f"There is a square in box {i // 4}", i % 4 < 2, picture(start + i)) for i in range(size)]


PARTS = {"train": 40, "dev": 12, "test": 12}


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Row]]:
    """What the next `write` publishes, below PETLBENCH_MIRROR."""
    monkeypatch.setenv("PETLBENCH_MIRROR", str(tmp_path))
    for read in (nlvr.official, nlvr.of_parquet):
        read.cache_clear()
    monkeypatch.setattr(nlvr, "PARQUET", {name: Source(f"nlvr/{name}.parquet") for name in PARTS})
    expected = {name: Expected(size, size // 2, size // 4) for name, size in PARTS.items()}
    monkeypatch.setattr(nlvr, "EXPECTED", {("nlvr", "train"): expected["train"], ("nlvr-3525", "train"): expected["train"],
                                           ("both", "dev"): expected["dev"], ("both", "test"): expected["test"]})
    yield {name: part(name, size) for name, size in PARTS.items()}
    for read in (nlvr.official, nlvr.of_parquet):
        read.cache_clear()


def write_archive(published: dict[str, list[Row]], leave_out: str = "") -> None:
    path = Path(os.environ["PETLBENCH_MIRROR"], nlvr.ARCHIVE.path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, rows in published.items():
            root = f"nlvr-{nlvr.COMMIT}/nlvr/{name}"
            lines = [json.dumps({"identifier": r.identifier, "sentence": r.sentence, "label": str(r.label).lower(), "directory": "3"})
                     for r in rows]
            archive.writestr(f"{root}/{name}.json", "\n".join(lines) + "\n")
            for row in rows:
                if row.identifier != leave_out:
                    archive.writestr(f"{root}/images/3/{name}-{row.identifier}-0.png", row.png)


def write_parquet(published: dict[str, list[Row]]) -> None:
    for name, rows in published.items():
        path = Path(os.environ["PETLBENCH_MIRROR"], f"nlvr/{name}.parquet")
        path.parent.mkdir(parents=True, exist_ok=True)
        columns = {"sentence_id": [r.identifier for r in rows], "permutation": [0] * len(rows), "sentence": [r.sentence for r in rows],
                   "label": [r.label for r in rows], "image": [{"bytes": r.png, "path": f"{name}-{r.identifier}-0.png"} for r in rows]}
        other = columns | {"permutation": [1] * len(rows), "image": columns["image"][::-1]}
        parquet.write_table(pa.concat_tables([pa.table(columns), pa.table(other)]), path)


WRITERS = {"nlvr": (Nlvr, write_archive), "nlvr-3525": (Nlvr3525, write_parquet)}


@pytest.fixture(params=WRITERS)
def which(request: pytest.FixtureRequest) -> tuple:
    """Name, reader and writer of a data set."""
    return request.param, *WRITERS[request.param]


def test_both_sources_give_the_same_rows_of_the_same_examples(published: dict) -> None:
    write_archive(published)
    write_parquet(published)
    for split in SIZES:
        one, two = Nlvr("nlvr", dict(SIZES)).rows(split), Nlvr3525("nlvr-3525", dict(SIZES)).rows(split)
        assert one == two and len(one["text"]) == SIZES[split]
        by_text = {(r.sentence, r.label) for r in published[nlvr.PARTS[split]]}
        assert all((text, bool(label)) in by_text for text, label in zip(one["text"], one["label"]))


def test_one_data_set_never_stands_in_for_the_other(published: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nlvr, "ARCHIVE", replace(nlvr.ARCHIVE, url=None))
    write_parquet(published)
    with pytest.raises(UserError, match="PETLBENCH_MIRROR"):
        Nlvr("nlvr", dict(SIZES)).rows("train")
    for name in PARTS:
        Path(os.environ["PETLBENCH_MIRROR"], f"nlvr/{name}.parquet").unlink()
    nlvr.of_parquet.cache_clear()
    write_archive(published)
    with pytest.raises(UserError, match="PETLBENCH_MIRROR"):
        Nlvr3525("nlvr-3525", dict(SIZES)).rows("train")


def test_no_row_holds_what_leaks_the_label_and_order_says_nothing(published: dict, which: tuple) -> None:
    name, reader, write = which
    write(published)
    rows = reader(name, dict(SIZES)).rows("train")
    for image_id in rows["image_id"]:
        split, presentation, content = image_id.split("/")
        assert split == "train" and "-" not in image_id and len(content) == 12 and presentation.isdigit()
    assert set(rows) == {"image", "image_id", "text", "label"}
    labels = rows["label"]
    assert labels != sorted(labels) and 4 < sum(labels[:20]) < 16


def test_the_view_shows_the_boxes_apart_and_nothing_else() -> None:
    view = nlvr.view(picture(5))
    assert view.shape == (64, 64, 3) and all((part == nlvr.GAP).all() for part in (view[31:33], view[:, 31:33], view[33:, 33:]))
    boxes = nlvr.boxes(picture(5))
    for box, (y, x) in zip(boxes, ((0, 0), (0, 33), (33, 0))):
        found = view[y : y + 31, x : x + 31].reshape(-1, 3).mean(0)
        np.testing.assert_allclose(found, np.asarray(box).reshape(-1, 3).mean(0), atol=1)


def test_search_parts_share_no_presentation(published: dict, which: tuple) -> None:
    name, reader, write = which
    write(published)
    whole = tasks.load(name)
    task = type(whole)(reader(name, dict(SIZES)), whole.recipe)
    train, reward = map(task.split, SEARCH_PARTS)
    assert len(train) == 32 and len(reward) == 8
    assert not set(train.clusters) & set(reward.clusters) and not set(train.texts) & set(reward.texts)
    assert Counter(Counter(task.split("train").clusters).values()) == {4: 10}


@pytest.mark.parametrize(("change", "message"), [
    (lambda rows: rows[:-1], "train: found 39 examples, expected 40"),
    (lambda rows: [*rows[:-1], replace(rows[-1], identifier="0-0")], "train: found 39 different identifiers, expected 40"),
    (lambda rows: [*rows[:-1], replace(rows[-1], label=True)], "train: found 21 true examples, expected 20"),
    (lambda rows: [*rows[:-1], replace(rows[-1], identifier="77-0")], "train: found 11 presentations, expected 10"),
    (lambda rows: [*rows[:-1], replace(rows[-1], png=b"GIF89")], "an NLVR picture is damaged"),
    (lambda rows: [*rows[:-1], replace(rows[-1], png=b"")], "an NLVR picture is damaged"),
    (lambda rows: [*rows[:-1], replace(rows[-1], sentence=" ")], "train: an empty text"),
])  # fmt: skip
def test_what_is_not_as_published_is_one_line(change: object, message: str, published: dict, which: tuple) -> None:
    name, reader, write = which
    write(published | {"train": change(published["train"])})
    with pytest.raises(UserError, match=message) as error:
        reader(name, dict(SIZES)).split("train")
    assert "\n" not in str(error.value)


def test_a_missing_picture_and_a_damaged_archive_are_one_line(published: dict) -> None:
    write_archive(published, leave_out="3-2")
    with pytest.raises(UserError, match=r"nlvr/train is damaged: KeyError: .*train-3-2-0\.png") as error:
        Nlvr("nlvr", dict(SIZES)).rows("train")
    assert "\n" not in str(error.value)
    for file in (nlvr.ARCHIVE.path, "nlvr/train.parquet"):
        Path(os.environ["PETLBENCH_MIRROR"], file).write_bytes(b"no archive")
    for name, (reader, _) in WRITERS.items():
        with pytest.raises(UserError, match=f"{name}/train is damaged"):
            reader(name, dict(SIZES)).rows("train")


def test_a_picture_of_another_size_is_named() -> None:
    file = io.BytesIO()
    Image.new("L", (399, 100)).save(file, "PNG")
    with pytest.raises(UserError, match="has 399 x 100 pixels, expected 400 x 100"):
        nlvr.boxes(file.getvalue())


def test_changed_content_is_seen_where_a_digest_is_known(published: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    write_archive(published)
    digest = nlvr._digest(nlvr.official("dev"))
    monkeypatch.setitem(nlvr.EXPECTED, ("both", "dev"), Expected(12, 6, 3, digest))
    nlvr.official.cache_clear()
    assert len(nlvr.official("dev")) == 12
    write_archive(published | {"dev": [replace(published["dev"][0], png=picture(999)), *published["dev"][1:]]})
    nlvr.official.cache_clear()
    with pytest.raises(UserError, match=f"nlvr/dev: content has sha256 .*, expected {digest}"):
        nlvr.official("dev")


def test_asking_for_more_than_there_is_is_an_error(published: dict, which: tuple) -> None:
    name, reader, write = which
    write(published)
    with pytest.raises(UserError, match=f"{name}/test has 12 examples, 13 asked for"):
        reader(name, SIZES | {"test": 13}).rows("test")


GOOD = {"image": [b"a", b"b"], "image_id": ["1", "2"], "text": ["x?", "y?"], "label": [0, 1]}


@pytest.mark.parametrize(("change", "message"), [
    ({"image": [b"a", None]}, "set/train: no picture in image of row 1 (1 such rows)"),
    ({"image": [b"", b""]}, "set/train: no picture in image of row 0 (2 such rows)"),
    ({"text": ["x?", " "]}, "set/train: an empty text of row 1 (1 such rows)"),
    ({"label": [1, 1]}, "set/train: all 2 rows have one label, 1; there is nothing to tell apart"),
    ({"label": [0, 1, 1]}, "set/train: columns of unequal lengths, 2 image, 2 image_id, 2 text, 3 label"),
    (dict.fromkeys(GOOD, []), "set/train has no rows"),
])  # fmt: skip
def test_rows_that_cannot_be_used_are_named(change: dict, message: str) -> None:
    assert checked("set/train", GOOD, ("image",)) is GOOD
    with pytest.raises(UserError) as error:
        checked("set/train", GOOD | change, ("image",))
    assert str(error.value) == message


def test_the_tasks_are_optional_and_ask_for_all_that_was_published() -> None:
    for name in ("nlvr", "nlvr-3525"):
        task = tasks.load(name)
        assert task.group == "real" and set(task.backbones) == {"vilt", "meter", "bert"}
        for split, size in task.reader.sizes.items():
            expected = nlvr.EXPECTED.get((name, nlvr.PARTS[split])) or nlvr.EXPECTED["both", nlvr.PARTS[split]]
            assert size == expected.examples


@REAL
def test_nlvr_3525_is_the_published_one() -> None:
    task = tasks.load("nlvr-3525")
    for split, (size, true) in {"train": (3525, 1970), "validation": (989, 547), "test": (990, 556)}.items():
        rows = task.reader.rows(split)
        assert len(rows["text"]) == size and sum(rows["label"]) == true
    presentations = [{nlvr.presentation_of(i) for i in task.reader.rows(split)["image_id"]} for split in SIZES]
    assert [len(p) for p in presentations] == [894, 267, 266]
