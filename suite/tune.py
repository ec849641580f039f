"""Learning rates: the same number of tries for every method, judged on validation; the committed results are the recipes' source.

Which runs there are and what they mean is here; the process pool that runs them is the grid's. Imports no torch until a cell is run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field, FiniteFloat, TypeAdapter, ValidationError

from suite.record import Strict, UserError
from suite.store import write_atomic

if TYPE_CHECKING:
    from suite.core import Method, Task

FOLDER = Path("results/tuning")
SEED = 100
"""Of every tuning run: none of the board's."""
LIGHT = (1e-3, 3e-3, 1e-2, 3e-2)
FULL = (1e-4, 3e-4, 1e-3, 3e-3)
PUBLISHED = {"vilt": 5e-4}
"""Base learning rate of the papers, for the preset `paper` (papers.md section 1)."""


class Entry(Strict):
    """What was tried for a method on a task. lr: the best, None until all were tried.

    tried: learning rate (`%g`) -> validation metric in percent, None where the loss was not finite.
    key: `grid.Job.base` of these runs, a hash of all that they depend on but learning rate and seed.
    """

    lr: FiniteFloat | None = None
    tried: dict[str, FiniteFloat | None] = {}
    seed: int = Field(default=SEED, ge=0)
    key: str = ""


Tuned = dict[str, dict[str, Entry]]
"""method -> task -> entry: the content of a file."""


def rates(trains_backbone: bool) -> tuple[float, ...]:
    """The learning rates to try: four each, a factor of about 3 apart, lower where the whole backbone is trained."""
    return FULL if trains_backbone else LIGHT


def choose(tried: Mapping[str, float | None]) -> float:
    """The learning rate with the best metric, the lower one on a tie. Raises UserError where every run diverged."""
    scores = [(score, -float(lr)) for lr, score in tried.items() if score is not None]
    if not scores:
        raise UserError(f"no learning rate of {', '.join(tried)} gave a finite loss")
    return -max(scores)[1]


def read(backbone: str, folder: Path = FOLDER) -> Tuned:
    """All entries of a backbone, empty where there is no file. Raises UserError for a damaged file."""
    path = folder / f"{backbone}.json"
    if not path.exists():
        return {}
    try:
        return TypeAdapter(Tuned).validate_json(path.read_bytes())
    except ValidationError as error:
        raise UserError(f"{path} is damaged: {error.errors()[0]['msg']}") from error


def _tried(known: Tuned, method: str, task: str, key: str) -> dict[str, float | None]:
    """What was tried under this key; nothing where weights, data, method or versions were others."""
    entry = known.get(method, {}).get(task, Entry())
    return entry.tried if entry.key == key else {}


def missing(backbone: str, method: str, task: str, *, trains_backbone: bool, key: str, folder: Path = FOLDER) -> list[float]:
    """The learning rates still to be run. key: as in Entry; what was tried under another one counts as not tried."""
    tried = _tried(read(backbone, folder), method, task, key)
    return [lr for lr in rates(trains_backbone) if f"{lr:g}" not in tried]


def add(backbone: str, method: str, task: str, lr: float, score: float | None, *, trains_backbone: bool, key: str,
        folder: Path = FOLDER) -> Entry:
    """Store one result at once, atomically; the entry gets its `lr` with the last one, and drops results of another key.

    Raises UserError like `write_atomic`.
    """
    known = read(backbone, folder)
    tried = _tried(known, method, task, key) | {f"{lr:g}": score}
    complete = {f"{rate:g}" for rate in rates(trains_backbone)} <= tried.keys()
    entry = Entry(lr=choose(tried) if complete else None, tried=dict(sorted(tried.items(), key=lambda item: float(item[0]))), key=key)
    known.setdefault(method, {})[task] = entry
    content = {name: {task: known[name][task].model_dump() for task in sorted(known[name])} for name in sorted(known)}
    write_atomic(folder / f"{backbone}.json", (json.dumps(content, indent=1, allow_nan=False) + "\n").encode())
    return entry


def learning_rate(backbone: str, task: str, method: str, *, trains_backbone: bool = False, preset: str = "mini",
                  folder: Path = FOLDER) -> float:
    """The tuned learning rate, of whatever key; the second of `rates` where there is none; the published one for the preset `paper`."""
    default = rates(trains_backbone)[1]
    if preset == "paper":
        return PUBLISHED.get(backbone, default)
    entry = read(backbone, folder).get(method, {}).get(task, Entry())
    return entry.lr if entry.lr is not None else default


def tune_cell(method: Method, backbone: str, task: Task, lr: float, *, preset: str = "mini", epochs: int | None = None) -> float | None:
    """The validation metric (percent) of one run, None where the loss was not finite. Never opens the test split."""
    from suite.search import NonFiniteLoss
    from suite.train import run_cell

    try:
        outcome = run_cell(method, backbone, task, SEED, preset=preset, lr=lr, epochs=epochs, evaluate="validation")
    except NonFiniteLoss:
        return None
    return outcome.validation[task.metric]
