"""The grid of samples: what stands where in the picture, and on its way from the records to the page."""

from __future__ import annotations

import io
import re
from base64 import b64decode
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from records import board_records, cell, generated

from suite.board import Board
from suite.collect import collect
from suite.collect import samples as gather
from suite.errors import UserError
from suite.record import Record
from suite.report import samples
from suite.report.plot import DPI
from suite.report.write import render
from suite.results import Results

COLOURS = {"apt": (90, 250, 60), "lora": (200, 60, 90)}
NAME = "vilt-subject-samples"


def recorded() -> tuple[list[Record], dict[str, dict[str, np.ndarray]]]:
    """Two methods that generate pictures, APT the better."""
    records = board_records({"lora": {"subject": [70.0, 71.0]}, "apt": {"subject": [80.0, 81.0]}})
    return records, {r.key: generated(COLOURS[r.cell.method]) for r in records}


def board() -> tuple[Board, dict[str, samples.Shown]]:
    records, kept = recorded()
    return collect(records), gather(collect(records), records, kept)


def colours(png: bytes) -> list[list[tuple[int, ...]]]:
    """The middle of every cell."""
    picture = (imread(io.BytesIO(png))[..., :3] * 255).round().astype(int)
    rows = round((picture.shape[0] / DPI - samples.TOP) / samples.CELL)
    columns = round((picture.shape[1] / DPI - samples.LEFT) / samples.CELL)
    ys, xs = ([int(DPI * (edge + samples.CELL * (k + 0.47))) for k in range(count)] for edge, count in
              ((samples.TOP, rows), (samples.LEFT, columns)))  # fmt: skip
    return [[tuple(picture[y, x]) for x in xs] for y in ys]


def test_rows_are_what_was_learned_from_and_the_methods() -> None:
    found = colours(samples.picture(board()[1][NAME]))
    assert found == [[(77, 77, 77)] * 3, *([tuple(v - 10 * k for v in colour) for k in (0, 2, 4)] for colour in COLOURS.values())]


def test_the_same_arrays_give_the_same_bytes() -> None:
    shown = board()[1][NAME]
    one, two, other = (samples.picture(s) for s in (shown, dict(shown), shown | {"samples": shown["samples"] + 1}))
    assert one == two != other


def test_titles_and_prompts_are_told_as_they_stand() -> None:
    shown = board()[1][NAME]
    told = [samples.picture(shown | changes) for changes in (
        {}, {"titles": np.array([" ", " "])}, {"prompts": np.array(list("uxz"))}, {"titles": np.array(["$x$", "x"])},
        {"titles": np.array(["x", "x"])})]  # fmt: skip
    assert len(set(told)) == len(told)


def test_the_page_and_the_markdown_show_it() -> None:
    made, shown = board()
    files = render(made, shown=shown)
    assert files == render(made, shown=shown) and files[f"{NAME}.png"] == samples.picture(shown[NAME])
    page = files["index.html"].decode()
    (embedded,) = re.findall(r'<img src="data:image/png;base64,([^"]+)"', page)
    assert b64decode(embedded) == files[f"{NAME}.png"] and f'<a href="{NAME}.png">PNG</a>' in page
    assert f"![Samples of subject]({NAME}.png)" in files["vilt.md"].decode()
    without = render(made)
    assert files.keys() - without.keys() == {f"{NAME}.png"} and b"<img" not in without["index.html"] and b"![" not in without["vilt.md"]


def test_what_collect_writes_the_report_reads(tmp_path: Path) -> None:
    records, kept = recorded()
    path = tmp_path / "tables" / "board.json"
    results = Results(records, [], kept, [r.cell for r in records], {})
    results.write(path)
    written = (path.parent / f"{NAME}.npz").read_bytes()
    found, wanted = samples.read(path.parent), board()[1]
    assert found.keys() == wanted.keys() and Board.model_validate_json(path.read_bytes()) == results.board()
    assert all(np.array_equal(found[NAME][name], wanted[NAME][name]) for name in wanted[NAME])
    results.write(path)
    assert (path.parent / f"{NAME}.npz").read_bytes() == written
    Results([], [], {}, [cell("apt")], {}).write(path)
    assert samples.read(path.parent) == {}, "none of an older board"


@pytest.mark.parametrize("length", [0, 5, 400, -10])
def test_a_damaged_file_is_named(tmp_path: Path, length: int) -> None:
    records, kept = recorded()
    Results(records, [], kept, [r.cell for r in records], {}).write(tmp_path / "board.json")
    file = tmp_path / f"{NAME}.npz"
    file.write_bytes(file.read_bytes()[:length])
    with pytest.raises(UserError, match=rf"{NAME}\.npz is damaged; `petlbench collect` writes it anew"):
        samples.read(tmp_path)


def test_a_file_of_other_arrays_is_named(tmp_path: Path) -> None:
    np.savez(tmp_path / f"{NAME}.npz", prompts=np.array(["a"]))
    with pytest.raises(UserError, match=rf"{NAME}\.npz is damaged"):
        samples.read(tmp_path)
    with open(tmp_path / f"{NAME}.npz", "wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(UserError, match=rf"{NAME}\.npz is damaged"):
        samples.read(tmp_path)
