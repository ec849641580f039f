"""The grid of samples: what stands where, and what does not go together."""

from __future__ import annotations

import io

import numpy as np
import pytest
from matplotlib.image import imread

from suite.report import samples
from suite.report.plot import DPI

CLUSTERS = ["b", "b", "a", "a", "c"]


def kept(colour: tuple[int, int, int], prompts: str = "vwxyz") -> dict[str, np.ndarray]:
    """Five prompts of three clusters; the k-th sample is `colour`, darker by k."""
    ones = np.ones((5, 32, 32, 3), np.uint8)
    shades = np.array(colour) - 10 * np.arange(5)[:, None]
    return {"samples": ones * shades.astype(np.uint8)[:, None, None], "learned": 77 * ones, "prompts": np.array(list(prompts)),
            "cluster": np.array(CLUSTERS)}  # fmt: skip


def colours(png: bytes) -> list[list[tuple[int, ...]]]:
    """The middle of every cell."""
    picture = (imread(io.BytesIO(png))[..., :3] * 255).round().astype(int)
    rows = round((picture.shape[0] / DPI - samples.TOP) / samples.CELL)
    columns = round((picture.shape[1] / DPI - samples.LEFT) / samples.CELL)
    ys, xs = ([int(DPI * (edge + samples.CELL * (k + 0.47))) for k in range(count)] for edge, count in
              ((samples.TOP, rows), (samples.LEFT, columns)))  # fmt: skip
    return [[tuple(picture[y, x]) for x in xs] for y in ys]


def test_rows_are_methods_and_columns_the_first_prompt_of_each_cluster() -> None:
    one, two = (200, 60, 90), (90, 250, 60)
    found = colours(samples.grid({"LoRA": kept(one), "APT": kept(two)})["png"])
    assert found == [[(77, 77, 77)] * 3, *([tuple(v - 10 * k for v in colour) for k in (0, 2, 4)] for colour in (one, two))]


def test_there_is_an_end_to_columns() -> None:
    many = {name: np.repeat(part, 3, 0) for name, part in kept((200, 60, 90)).items()} | {"cluster": np.arange(15)}
    assert len(colours(samples.grid({"LoRA": many})["png"])[0]) == samples.COLUMNS


def test_the_same_arrays_give_the_same_bytes() -> None:
    one, two, other = (samples.grid({"LoRA": kept(colour)})["png"] for colour in ((200, 60, 90), (200, 60, 90), (200, 60, 91)))
    assert one == two != other


def test_titles_and_prompts_are_told() -> None:
    told, silent, other = (samples.grid({title: kept((200, 60, 90), prompts)})["png"]
                           for title, prompts in (("LoRA", "vwxyz"), (" ", "vwxyz"), ("LoRA", "uwxyz")))  # fmt: skip
    assert told != silent and told != other


def test_what_does_not_go_together_is_refused() -> None:
    with pytest.raises(ValueError, match="different prompts"):
        samples.grid({"LoRA": kept((200, 60, 90)), "APT": kept((200, 60, 90), "vwxya")})
    with pytest.raises(ValueError, match="no samples"):
        samples.grid({})
