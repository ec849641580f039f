"""What the harness adds to a training step: `suite.train.fit` against a bare PyTorch loop, same model, same batches, in turns.

The harness's time holds everything of a run: building mmengine's Runner, hooks, schedule, losses. A ratio of at most 1.05 is wanted.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from time import perf_counter
from typing import Any

from common import report

METHODS = ("head", "apt", "full")
STEPS, EPOCHS, PAIRS = 8, 2, 15
TASK, LR = "world-vqa", 1e-3


class Fixed:
    """A task whose training batches are made already, so that both loops get them for nothing."""

    def __init__(self, task: Any):
        self.inner = task
        self.recipe = dataclasses.replace(task.recipe, epochs=EPOCHS)
        stream = task.batches("train", 0, shuffle=True)
        self.kept = [next(stream) for _ in range(STEPS)]
        self.sizes = {"train": STEPS * task.recipe.batch_size}

    def batches(self, *split: Any, **order: Any) -> Iterator[Any]:
        return iter(self.kept)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


def bare(model: Any, task: Fixed) -> None:
    """The loop that one would write by hand, with the same optimiser, schedule and clipping."""
    import torch

    from suite.assemble import optimizer
    from suite.updates import factor

    total = EPOCHS * STEPS
    update = optimizer(model, task.recipe, LR)
    schedule = torch.optim.lr_scheduler.LambdaLR(update, lambda step: factor(step, total, task.recipe.warmup))
    model.train()
    trained = list(model.trained().values())
    for _ in range(EPOCHS):
        for batch in task.kept:
            task.loss(model.backbone, model.head, batch).backward()
            torch.nn.utils.clip_grad_norm_(trained, task.recipe.clip)
            update.step()
            update.zero_grad()
            schedule.step()


def main() -> None:
    import torch

    from suite import tasks
    from suite.assemble import assemble
    from suite.cost import median_interval
    from suite.plugins import discover
    from suite.train import fit

    torch.set_num_threads(1)
    task = Fixed(tasks.load(TASK))
    rows = []
    for name in METHODS:
        method = discover().get(name)()
        runs = {"bare": lambda m: bare(m, task), "harness": lambda m: fit(m, task.recipe, 0, LR)}
        ratios, steps = [], []
        for pair in range(PAIRS):
            seconds = {}
            for kind in sorted(runs, reverse=pair % 2 == 1):
                model = assemble(method, "vilt", task, 0, preset="mini", plan=None, pretrained=False)
                start = perf_counter()
                runs[kind](model)
                seconds[kind] = perf_counter() - start
            ratios.append(seconds["harness"] / seconds["bare"])
            steps.append(1e3 * seconds["bare"] / (EPOCHS * STEPS))
        found = median_interval(ratios)
        step = median_interval(steps).median
        rows.append({"method": name, "ratio": found.median, "low": found.low, "high": found.high, "bare_step_ms": step})
    report("overhead", rows)


if __name__ == "__main__":
    main()
