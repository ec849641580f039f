"""What DAS's search is worth: the layer that it finds beside every other one, on validation, with the tuned learning rate.

A layer drawn at random has the mean over all of them in expectation.
"""

from __future__ import annotations

from typing import Any

from common import report, runs

SEEDS = (200, 201)
"""Neither of the board nor of tuning, whose rate was chosen with the layers found there."""


def search(job: tuple[str, int]) -> int:
    """The layer that the search finds on a task with a seed."""
    from suite.search import search as run_search

    name, seed = job
    method, task, lr = _setting(name)
    return run_search(method, "vilt", task, seed, preset="mini", lr=lr).plan["skipped"][0]


def skipped(job: tuple[str, int, int]) -> float:
    """Validation metric (percent) on a task with a seed, without this layer."""
    from suite.train import run_cell

    name, seed, layer = job
    method, task, lr = _setting(name)
    outcome = run_cell(method, "vilt", task, seed, preset="mini", lr=lr, plan={"skipped": [layer]}, evaluate="validation")
    return outcome.validation[task.metric]


def _setting(name: str) -> tuple[Any, Any, float]:
    from suite import tasks, tune
    from suite.plugins import configured, discover

    return configured(discover().get("das"), "vilt", name), tasks.load(name), tune.learning_rate("vilt", name, "das")


def main() -> None:
    from suite import backbones, tasks
    from suite.grid import takers
    from suite.settings import Settings

    layers = len(backbones.load("vilt").build("mini").sites("layer"))
    pairs = [(name, seed) for name in tasks.names() if "vilt" in takers(tasks.load(name), Settings()) for seed in SEEDS]
    trials = [(*pair, layer) for pair in pairs for layer in range(layers)]
    found, scores = dict(runs("skips:search", pairs)), dict(runs("skips:skipped", trials))
    rows = []
    for pair in pairs:
        layer = found[pair]
        mine = [scores[(*pair, other)] for other in range(layers)]
        rows.append({"task": pair[0], "seed": pair[1], "layer": layer, "found": mine[layer], "random": sum(mine) / layers,
                     "best": max(mine)})  # fmt: skip
    report("skips", rows)


if __name__ == "__main__":
    main()
