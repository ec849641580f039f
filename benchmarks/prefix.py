"""Whole cells with the frozen prefix stored once a task against the same cells that compute it at every step, in turns.

The store is empty when the first seed of a method starts, so its filling counts. Losses and metrics have to agree to 1e-6. At least
1.6 times as fast is wanted on METER with a method in its fusion layers, at least 3 times on DVP.
"""

from __future__ import annotations

import tempfile
from contextlib import nullcontext
from time import perf_counter
from typing import Any
from unittest.mock import patch

from common import report

CELLS = (("meter", "world-vqa", "lora"), ("meter", "world-vqa", "apt"), ("bert", "world-vqa-4000", "dvp_adapter"))
SEEDS = 3


def cell(backbone: str, task: Any, method: Any, lr: float, seed: int, stored: bool) -> tuple[float, list[float]]:
    """Seconds of a cell, and every number of its curve with its test metrics."""
    from suite import assemble
    from suite.train import run_cell

    with nullcontext() if stored else patch.object(assemble.Stored, "of", lambda backbone: None):
        start = perf_counter()
        outcome = run_cell(method, backbone, task, seed, preset="mini", lr=lr)
        seconds = perf_counter() - start
    return seconds, [*outcome.metrics.values(), *(value for point in outcome.curve for value in point.values() if value is not None)]


def main() -> None:
    import torch

    from suite import tasks, tune
    from suite.plugins import configured, discover

    torch.set_num_threads(1)
    rows = []
    for backbone, name, method in CELLS:
        lr, task, ratios, apart = tune.learning_rate(backbone, name, method), tasks.load(name), [], 0.0
        task.data_hash()
        spent = {False: 0.0, True: 0.0}
        with tempfile.TemporaryDirectory() as folder, patch("suite.prefix.FOLDER", type(tune.FOLDER)(folder)):
            for seed in range(SEEDS):
                seconds, numbers = {}, {}
                for stored in (False, True) if seed % 2 else (True, False):
                    asked = configured(discover().get(method), backbone, name)
                    seconds[stored], numbers[stored] = cell(backbone, task, asked, lr, seed, stored)
                    spent[stored] += seconds[stored]
                ratios.append(seconds[False] / seconds[True])
                apart = max(apart, *(abs(a - b) for a, b in zip(numbers[False], numbers[True], strict=True)))
        rows.append({"backbone": backbone, "task": name, "method": method, "computed_s": spent[False], "stored_s": spent[True],
                     "ratio": spent[False] / spent[True], "least": min(ratios), "apart": apart})  # fmt: skip
    report("prefix", rows)


if __name__ == "__main__":
    main()
