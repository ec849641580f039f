"""One training step of every method at the papers' size, with random weights: minutes on a CPU, and every backbone on a GPU."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from built import Pooled

from suite import backbones, inventory, macs, speed, tasks, work
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


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vilt", "meter", "bert"])
def test_fvcore_agrees_at_full_size(name: str) -> None:
    """On real tensors; what torch counts on the meta device, design.md section 6: within 1 %."""
    kind = backbones.load(name)
    text, height, width = kind.build("paper", pretrained=False, device="meta").papers_input()

    def inputs(device: str) -> tuple[torch.Tensor, ...]:
        ids = torch.full((1, text), 7, device=device)
        return ids, torch.ones_like(ids), torch.zeros(1, 3, height, width, device=device)

    meta, real = (Pooled(kind.build("paper", pretrained=False, device=device).eval()) for device in ("meta", "cpu"))
    counted = macs.counted(lambda: meta(*inputs("meta")))
    with torch.no_grad():
        assert macs.with_fvcore(real, inputs("cpu")) == pytest.approx(counted, rel=0.01) and counted > 1e9
