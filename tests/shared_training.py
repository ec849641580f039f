"""What tests/test_together.py has two processes do: train the smallest task, and run a grid of two cells."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import fakes
import torch
from tiny import SIZES, TinyAdapter, TinyBackbone, TinyTask

from suite import backbones, grid, run, together, work
from suite.assemble import assemble
from suite.core import Batch
from suite.recipe import Recipe
from suite.settings import Settings
from suite.store import Store
from suite.train import fit, outputs_on


@dataclass
class SharedTask(TinyTask):
    """TinyTask as the papers' datasets are shared out."""

    def batches(self, split: str, seed: int, epoch: int = 0, shuffle: bool = False, stored: Any = None) -> Iterator[Batch]:
        whole = list(super().batches(split, seed, epoch, shuffle, stored))
        yield from together.share(whole, even=shuffle)


def trained() -> dict[str, torch.Tensor]:
    """Weights after three epochs of updates on 8 examples, 4 at a time, and `outputs` on the test split."""
    torch.set_num_threads(1)
    torch.nn.functional.dropout = lambda x, *rest: x
    backbones.load = lambda name: TinyBackbone
    recipe = Recipe(epochs=3, batch_size=8, micro_batch=4, clip=0.5)
    task = SharedTask(dataset="tiny", recipe=replace(recipe, batch_size=4), sizes=SIZES | {"train": 32})
    model = assemble(TinyAdapter(), "tiny", task, 0, preset="mini", plan=None)
    fit(model, recipe, 0, 1e-2)
    return {name: p.detach() for name, p in model.trained().items()} | {"outputs": torch.cat(outputs_on(model, "test"))}


def ran() -> str:
    """A grid of two cells in all processes, the first one of which is stored already; who trained what."""
    jobs = [fakes.job("lora", seed) for seed in range(2)]
    store, told = Store(), []
    grid.cells = lambda settings: jobs
    if together.first():
        store.save(jobs[0].record("ok", metrics={"accuracy": 1.0}))
    together.wait()

    def cell(task: grid.CellTask) -> tuple[Any, dict[str, Any]]:
        told.append(task.job.cell.seed)
        return task.job.record("ok", metrics={"accuracy": 2.0}), {}

    work.cell, run._result = cell, lambda record: ""
    records = run.run_together(Settings(gpus=together.count()), store, "pytorch")
    return f"{told} {records and [record.metrics['accuracy'] for record in records]}"


if __name__ == "__main__":
    out = Path(sys.argv[1])
    together.join("pytorch")
    torch.save(trained(), out / f"{together.number()}.pt")
    together.join = lambda launcher: None
    (out / f"{together.number()}.txt").write_text(ran())
