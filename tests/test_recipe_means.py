"""What the machine asks of training: micro-batches and checkpointed layers change no update; schedules and bf16 run."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import built
import pytest
import torch
from tiny import TinyAdapter, TinyBackbone, TinyTask

from suite import backbones, layers
from suite.assemble import Trainee, assemble
from suite.core import Batch
from suite.plugins import discover
from suite.recipe import Recipe
from suite.train import fit
from suite.updates import factor


class Still(TinyBackbone):
    """Without dropout."""

    def train(self, mode: bool = True) -> TinyBackbone:
        return super().train(False)


class Stop(Exception):
    pass


@dataclass
class InParts(TinyTask):
    """Its batches are those of a forward."""

    stop_in: int | None = None  # the epoch whose second forward does not come

    def batches(self, split: str, seed: int, epoch: int = 0, shuffle: bool = False, stored: Any = None) -> Iterator[Batch]:
        usual = replace(self.recipe, batch_size=self.recipe.rows if shuffle else self.recipe.batch_size)
        for number, batch in enumerate(TinyTask(recipe=usual, sizes=self.sizes).batches(split, seed, epoch, shuffle)):
            if shuffle and (epoch, number) == (self.stop_in, 1):
                raise Stop
            yield batch


@pytest.fixture
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backbones, "load", lambda name: Still)
    torch.set_num_threads(1)


def trained(recipe: Recipe, rows: int = 36, folder: Path | None = None, stop_in: int | None = None
            ) -> tuple[dict[str, torch.Tensor], list[dict[str, Any]]]:  # fmt: skip
    """What is trained after `fit`, and its curve."""
    task = InParts(recipe=recipe, sizes={"train": rows, "validation": 24, "test": 30}, stop_in=stop_in)
    model = assemble(TinyAdapter(), "tiny", task, 3, preset="mini", plan=None)
    curve = fit(model, recipe, 3, 1e-2, work_dir=folder).curve
    return {name: p.detach().clone() for name, p in model.trained().items()}, curve


@pytest.mark.parametrize("more", [{}, {"schedule": "cosine", "warmup": 0.5}, {"clip": 0.05, "weight_decay": 0.2}, {"keep": "best"}])
def test_micro_batches_change_no_update(still: None, more: dict[str, Any]) -> None:
    """Rates rise and fall with the updates, and gradients are clipped as a whole."""
    recipe = Recipe(epochs=3, batch_size=4, **more)
    whole, curve = trained(recipe)
    for size in (2, 1):
        parts, of_parts = trained(replace(recipe, micro_batch=size))
        for name, parameter in whole.items():
            torch.testing.assert_close(parts[name], parameter, atol=1e-6, rtol=1e-6)
        assert [point["loss"] for point in of_parts] == pytest.approx([point["loss"] for point in curve])
        assert [point["lr"] for point in of_parts] == pytest.approx([point["lr"] for point in curve])
    assert trained(replace(recipe, micro_batch=9))[1] == curve, "no more than the batch"


@pytest.mark.parametrize("rows", [8, 10])
def test_a_training_in_parts_is_resumed_as_if_nothing_had_been(rows: int, still: None, tmp_path: Path) -> None:
    recipe = Recipe(epochs=3, batch_size=4, micro_batch=2)
    with pytest.raises(Stop):
        trained(recipe, rows, tmp_path / "cell", stop_in=1)
    resumed, whole = trained(recipe, rows, tmp_path / "cell")[0], trained(recipe, rows)[0]
    assert all(torch.equal(resumed[name], parameter) for name, parameter in whole.items())


@pytest.mark.parametrize("rows", [8, 10])
def test_an_epoch_has_as_many_updates_in_parts(rows: int, still: None) -> None:
    whole, parts = trained(Recipe(3, 4), rows)[0], trained(Recipe(3, 4, micro_batch=2), rows)[0]
    for name, parameter in whole.items():
        torch.testing.assert_close(parts[name], parameter, atol=1e-6, rtol=1e-6)


def test_rates_follow_the_cosine(still: None) -> None:
    """Nine updates an epoch: after the warm-up of nine, a half of the cosine over 27."""
    _, curve = trained(Recipe(epochs=4, batch_size=4, warmup=0.25, schedule="cosine"))
    wanted = [1e-2 * (1 + math.cos(math.pi * step / 27)) / 2 for step in (0, 9, 18, 27)]
    assert [point["lr"] for point in curve] == pytest.approx(wanted)
    assert [factor(step, 36, 0.25, "cosine") for step in (0, 9, 36)] == [0, 1, 0]
    linear = [point["lr"] for point in trained(Recipe(4, 4, warmup=0.25))[1]]
    assert linear == pytest.approx([1e-2 * (27 - step) / 27 for step in (0, 9, 18, 27)])


def test_bf16_trains_fp32_weights(still: None) -> None:
    """Results are coarser, and nearly the same."""
    usual, coarse = trained(Recipe(4, 8)), trained(Recipe(4, 8, precision="bf16"))
    assert {p.dtype for p in coarse[0].values()} == {torch.float32}
    losses = [[point["loss"] for point in curve] for _, curve in (usual, coarse)]
    assert losses[0] != losses[1] and losses[1] == pytest.approx(losses[0], rel=0.05) and losses[1][-1] < losses[1][0]


def gradients(recipe: Recipe, backbone: str, method: str, plan: dict[str, Any] | None) -> tuple[Trainee, dict[str, torch.Tensor]]:
    """Of a step on four texts with pictures, in training mode."""
    model = assemble(discover().get(method)(), backbone, TinyTask(recipe=recipe), 0, preset="mini", plan=plan, pretrained=False)
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(5, 300, (4, 9), generator=generator)
    there = (torch.arange(9) < torch.tensor([[9], [4], [7], [1]])).long()
    pictures = torch.randn(4, 3, 64, 64, generator=generator)
    torch.manual_seed(2)
    model.loss(Batch(ids, there, pictures, labels=torch.tensor([0, 1, 2, 0]))).backward()
    return model, {name: p.grad for name, p in model.trained().items()}


@pytest.mark.parametrize(("backbone", "method", "plan"), [
    ("vilt", "full", None), ("vilt", "das", {"skipped": [1]}), ("meter", "apt", None), ("bert", "dvp", {"layer": 2}), ("t5", "lora", None),
    ("llama", "dvp_adapter", {"layer": 2}), ("lavin", "lavin", None),
])  # fmt: skip
def test_layers_that_are_computed_again_give_the_same_gradients(backbone: str, method: str, plan: dict[str, Any] | None,
                                                                monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    """Dropout is drawn as before."""
    torch.set_num_threads(1)
    asked, original = [], layers.checkpoint
    monkeypatch.setattr(layers, "checkpoint", lambda *inputs, **options: asked.append(1) or original(*inputs, **options))
    _, usual = gradients(Recipe(1, 4), backbone, method, plan)
    assert not asked
    model, again = gradients(Recipe(1, 4, checkpointing=True), backbone, method, plan)
    assert len(asked) == len(model.backbone.sites("layer")) and any(grad is not None and grad.any() for grad in usual.values())
    for name, gradient in usual.items():
        assert (gradient is None) == (again[name] is None), name
        if gradient is not None:
            built.assert_close(again[name], gradient)
