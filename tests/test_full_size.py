"""One training step of every method at the papers' size, with random weights: minutes on a CPU, and every backbone on a GPU."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from suite import backbones, inventory, speed, tasks, work
from suite.cost import training_step
from suite.inventory import Item, Sizes
from suite.settings import Settings

SMALL = ("vilt", "meter", "clip", "bert")
"""Those that a CPU steps through in seconds."""


def step_of(item: Item) -> None:
    """Every trained parameter stays finite, and some of them move."""
    torch.set_num_threads(1)
    model = speed._built(item)
    before = {name: p.detach().clone() for name, p in model.trained().items()}
    with torch.autocast(model.device.type, speed.DTYPE):
        training_step(model, speed._input(model))()
    after = model.trained()
    assert all(p.isfinite().all() for p in after.values()), item
    assert not before or any(not torch.equal(after[name], p) for name, p in before.items()), item


def steps_of(name: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """A step of each method that the backbone has, on one example; how many there are."""
    items = [item for item in inventory.items(Settings(profile="paper", backbones=[name])) if isinstance(work.sizes(item), Sizes)]
    task = tasks.load(items[0].task)
    monkeypatch.setattr(task, "recipe", dataclasses.replace(task.recipe, batch_size=1))
    for item in items:
        step_of(item)
    return len(items)


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_a_step_at_full_size_on_a_cpu(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert steps_of(name, monkeypatch) >= 6


@pytest.mark.gpu
@pytest.mark.parametrize("name", backbones.names())
def test_a_step_at_full_size_on_a_gpu(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert steps_of(name, monkeypatch) >= 2
