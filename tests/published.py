"""Small datasets in the published formats, for the readers' tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from suite.data.published import Published
from suite.errors import UserError


def picture(path: Path, number: int = 0) -> Path:
    """An 8 x 8 picture of its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((8, 8, 3), number % 256, np.uint8)).save(path)
    return path


def refused(reader: Published, split: str, *told: str) -> None:
    """The split is refused with an error of one line that holds all of `told`."""
    with pytest.raises(UserError) as error:
        reader.split(split)
    line = str(error.value)
    assert "\n" not in line and all(part in line for part in told), line
