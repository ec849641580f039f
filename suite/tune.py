"""Learning rates: the same number of tries for every method, judged on validation; the committed results are the recipes' source.

Which runs there are and what they mean is here; the process pool that runs them is the grid's. Imports no torch until a cell is run.
"""

from __future__ import annotations

import json
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from pydantic import FiniteFloat, TypeAdapter, ValidationError

from suite.binding import Means
from suite.errors import UserError
from suite.experiments import STANDS_FOR
from suite.recipes import Training, find
from suite.record import Strict
from suite.store import write_atomic

if TYPE_CHECKING:
    from suite.core import Method, Task

FOLDER = Path("results/tuning")
SEEDS = (100, 101)
"""Of the tuning runs at each learning rate: none of the board's. One alone picks rates that other seeds do not stand."""
LIGHT = (1e-3, 3e-3, 1e-2, 3e-2)
FULL = (1e-4, 3e-4, 1e-3, 3e-3)


Tried = dict[str, dict[str, FiniteFloat | None]]
"""Learning rate (`%g`) -> seed -> validation metric in percent, None where the loss was not finite."""


class Entry(Strict):
    """What was tried for a method on a task. lr: the best, of an earlier key until all were tried; None where there is none.

    key: `grid.Job.base` of these runs, a hash of all that they depend on but learning rate and seed.
    """

    lr: FiniteFloat | None = None
    tried: Tried = {}
    key: str = ""


Tuned = dict[str, dict[str, Entry]]
"""method -> task -> entry: the content of a file."""


def rates(trains_backbone: bool) -> tuple[float, ...]:
    """The learning rates to try: four each, a factor of about 3 apart, lower where the whole backbone is trained."""
    return FULL if trains_backbone else LIGHT


def choose(tried: Tried) -> float | None:
    """The learning rate with the best mean over its seeds, the lower one on a tie; one that diverged at a seed only if all others did.

    None where every run diverged.
    """
    scores = {float(lr): [score for score in by_seed.values() if score is not None] for lr, by_seed in tried.items()}
    ranked = [(len(found), fmean(found), -lr) for lr, found in scores.items() if found]
    return -max(ranked)[2] if ranked else None


def read(backbone: str, folder: Path = FOLDER) -> Tuned:
    """All entries of a backbone, empty where there is no file. Raises UserError for a damaged file."""
    path = folder / f"{backbone}.json"
    if not path.exists():
        return {}
    try:
        return TypeAdapter(Tuned).validate_json(path.read_bytes())
    except ValidationError as error:
        raise UserError(f"{path} is damaged: {error.errors()[0]['msg']}") from error


def _tried(known: Tuned, method: str, task: str, key: str) -> Tried:
    """What was tried under this key; nothing where weights, data, method or versions were others."""
    entry = known.get(method, {}).get(task, Entry())
    return entry.tried if entry.key == key else {}


def _missing(tried: Tried, trains_backbone: bool) -> list[tuple[float, int]]:
    return [(lr, seed) for lr in rates(trains_backbone) for seed in SEEDS if str(seed) not in tried.get(f"{lr:g}", {})]


def missing(backbone: str, method: str, task: str, *, trains_backbone: bool, key: str, folder: Path = FOLDER) -> list[tuple[float, int]]:
    """Learning rates and seeds still to be run. key: as in Entry; what was tried under another one counts as not tried."""
    return _missing(_tried(read(backbone, folder), method, task, key), trains_backbone)


def add(backbone: str, method: str, task: str, lr: float, seed: int, score: float | None, *, trains_backbone: bool, key: str,
        folder: Path = FOLDER) -> Entry:
    """Store one result at once, atomically. Results of another key are dropped, but their `lr` stays until all of these are in.

    Raises UserError like `write_atomic`.
    """
    known = read(backbone, folder)
    before = _tried(known, method, task, key)
    tried = before | {f"{lr:g}": dict(sorted((before.get(f"{lr:g}", {}) | {str(seed): score}).items()))}
    found = known.get(method, {}).get(task, Entry()).lr if _missing(tried, trains_backbone) else choose(tried)
    entry = Entry(lr=found, tried=dict(sorted(tried.items(), key=lambda item: float(item[0]))), key=key)
    known.setdefault(method, {})[task] = entry
    content = {name: {task: known[name][task].model_dump() for task in sorted(known[name])} for name in sorted(known)}
    write_atomic(folder / f"{backbone}.json", (json.dumps(content, indent=1, allow_nan=False) + "\n").encode())
    return entry


def learning_rate(backbone: str, task: str, method: str, *, trains_backbone: bool = False, preset: str = "mini",
                  folder: Path = FOLDER) -> float:
    """The tuned learning rate, of whatever key; the second of `rates` where there is none; for the preset `paper` the published one."""
    default = rates(trains_backbone)[1]
    if preset == "paper":
        return _published(backbone, task, method, trains_backbone) or default
    entry = read(backbone, folder).get(method, {}).get(task, Entry())
    return entry.lr if entry.lr is not None else default


def _published(backbone: str, task: str, method: str, trains_backbone: bool) -> float | None:
    """The papers' rate on the dataset that this task is, or stands for."""
    found = _training(backbone, task, method)
    return found and (found.lr if trains_backbone else found.light_lr or found.lr)


def _training(backbone: str, task: str, method: str) -> Training | None:
    return find(backbone, STANDS_FOR.get(task, task), method)


def doubt(backbone: str, task: str, method: str, *, trains_backbone: bool, key: str, preset: str = "mini",
          folder: Path = FOLDER) -> str | None:
    """Why `learning_rate` may not be the best of those tried; None where it is, or is the published one. key: as in Entry."""
    if preset == "paper":
        known = _training(backbone, task, method) is not None
        return None if known else "its papers trained nothing there, or did not tell the learning rate"
    entry = read(backbone, folder).get(method, {}).get(task, Entry())
    if entry.key != key or _missing(entry.tried, trains_backbone):
        return "its learning rate was never tuned" if entry.lr is None else "its learning rate was tuned with other settings, code or data"
    return "no learning rate gave it a finite loss" if entry.lr is None else None


def tune_cell(method: Method, backbone: str, task: Task, lr: float, seed: int, *, preset: str = "mini",
              epochs: int | None = None, official: bool = False, means: Means = Means()) -> float | None:
    """The validation metric (percent) of one run, None where the loss was not finite. Opens no test split. official, means:
    see run_cell."""
    from suite.search import NonFiniteLoss
    from suite.train import run_cell

    try:
        outcome = run_cell(method, backbone, task, seed, preset=preset, lr=lr, epochs=epochs, evaluate="validation", official=official,
                           means=means)  # fmt: skip
    except NonFiniteLoss:
        return None
    return outcome.validation[task.metric]
