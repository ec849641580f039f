"""What a cell of the papers' size asks for, told before anything is run: files, memory, updates, hours. Nothing is loaded or trained."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from huggingface_hub import try_to_load_from_cache
from torch import Tensor

from suite import backbones, macs, pool, tasks, tune
from suite.assemble import Trainee, assemble
from suite.binding import Means, bound, costed
from suite.core import Task
from suite.cost import example, parameters
from suite.errors import UserError
from suite.grid import methods, takers
from suite.inventory import Item
from suite.plans import plan_of
from suite.plugins import configured, discover
from suite.search import EPOCHS
from suite.settings import Settings, chosen

RATES = {"fp32": 20e12, "bf16": 150e12, "fp16": 150e12}
"""FLOPs a second that hours are reckoned with: about a half of an A100's data sheet, an assumption and no measurement."""
ADAM = 12
"""Bytes of a trained parameter's gradient and its two moments."""


class Need(NamedTuple):
    """lr: its rate; epochs, batch_size, precision: see Recipe. updates: of training and, where the method searches, its search. memory:
    bytes of a training step; an example more takes `example`. hours: of one seed, evaluation too. The last three are reckoned."""

    item: Item
    trainable: int
    lr: float
    epochs: int
    batch_size: int
    micro_batch: int
    precision: str
    updates: int
    memory: int
    example: int
    hours: float

    def fitting(self, room: int) -> int:
        """The examples of a forward, up to the whole batch, that so many bytes have room for; 0: none."""
        return max(0, min(self.batch_size, self.micro_batch + (room - self.memory) // self.example))


def need(asked: tuple[Item, Means, int | None]) -> Need | str:
    """What one seed of a cell needs; the reason where the method does not apply. asked: with the epochs to train (None: as published)."""
    item, means, epochs = asked
    method = configured(discover().get(item.method), item.backbone, item.task)
    try:
        task = bound(tasks.load(item.task), item.backbone, item.method, means)
        built = backbones.load(item.backbone).build(item.preset, pretrained=False, device="meta")
        if reason := method.not_applicable(built, item.task):
            return reason
        plan, _ = plan_of(method, item.backbone, item.preset, None)
        model = assemble(method, item.backbone, costed(task), 0, preset=item.preset, plan=plan, pretrained=False, device="meta")
    except UserError as error:
        return str(error)
    recipe = task.recipe
    trained = epochs or recipe.epochs
    rounds = trained + (min(EPOCHS, trained) if method.search is not None else 0)
    updates = rounds * -(-task.about("train") // recipe.batch_size)
    size = model.backbone.papers_input()
    batches = [example(costed(task, count), size) for count in (1, 2)]
    step, forward, kept = (Line.through(*(measured(model, batch) for batch in batches)) for measured in (step_macs, _macs, kept_bytes))
    passes = task.passes("test") + (task.passes("validation") if task.validates else 0)
    forwards = updates * -(-recipe.batch_size // recipe.rows)
    work = 2 * (forwards * step.at(recipe.rows) + passes / task.evaluation_batch * forward.at(task.evaluation_batch))
    half = 1 if recipe.precision == "fp32" else 2
    lr = tune.learning_rate(item.backbone, item.task, item.method, trains_backbone=method.trains_backbone, preset=item.preset)
    memory, each = fixed(model) + int(kept.at(recipe.rows)) // half, max(1, int(kept.more) // half)
    return Need(item, parameters(model)["trainable"], lr, trained, recipe.batch_size, recipe.rows, recipe.precision, updates, memory, each,
                work / RATES[recipe.precision] / 3600)  # fmt: skip


class Line(NamedTuple):
    """What a batch takes whatever its examples (prompts of classes are read once), and each of them more."""

    once: float
    more: float

    @classmethod
    def through(cls, one: float, two: float) -> Line:
        """Of measurements of one and of two examples."""
        return cls(2 * one - two, two - one)

    def at(self, rows: int) -> float:
        """A batch of so many."""
        return self.once + rows * self.more


def _macs(model: Trainee, batch: Any) -> int:
    """Of a forward pass in evaluation mode, on the meta device."""
    model.eval()
    return macs.counted(lambda: model.predict(batch))


def step_macs(model: Trainee, batch: Any) -> int:
    """Of a forward and backward pass on the meta device; what is not trained, and nothing before it, has no gradient to compute."""
    model.train()
    found = macs.counted(lambda: model.loss(batch).backward())
    model.zero_grad()
    return found


def fixed(model: Trainee) -> int:
    """Bytes of weights in fp32, and of gradients and moments of what is trained."""
    return 4 * sum(p.numel() for p in model.parameters()) + ADAM * sum(p.numel() for p in model.trained().values())


def kept_bytes(model: Trainee, batch: Any) -> int:
    """What autograd keeps of a training forward in fp32, each storage once, parameters aside; under autocast about half of it."""
    own = {p.untyped_storage()._cdata for p in model.parameters()}
    found: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            found[storage._cdata] = storage.nbytes()
        return tensor

    model.train()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = model.loss(batch)
    del loss
    return sum(found.values())


def asked(settings: Settings) -> list[tuple[Item, Means, int | None]]:
    """What `need` takes, of every cell of the grid but for its seeds. Raises UserError for unknown names, and where nothing is left."""
    names = methods(discover(), settings)
    found = [task for task in map(tasks.load, chosen("task", settings.tasks, tasks.names())) if task.dataset]
    means = Means(settings.precision, settings.micro_batch, settings.gpus)
    items = [(Item(place, name, task.name, settings.preset), means, settings.epochs)
             for place in chosen("backbone", settings.backbones, backbones.names())
             for task in found if place in takers(task, settings) for name in names]  # fmt: skip
    if settings.preset != "paper" or not items:
        raise UserError("a dry run is for cells of the paper profile: petlbench run --profile paper --dry-run")
    return items


def reckoned(settings: Settings) -> Iterator[tuple[Item, Need | str]]:
    """Of each cell, seeds aside, what it needs, or why it does not apply, in the grid's order. Raises UserError as `asked`, and where a
    method's code raises something."""
    wanted = asked(settings)
    with tempfile.TemporaryDirectory() as logs:
        found = {outcome.job: outcome for outcome in pool.run("suite.needs:need", wanted, settings.processes(), Path(logs))}
    for job in wanted:
        if error := found[job].error:
            raise UserError(f"{job[0].backbone}, {job[0].task}, {job[0].method}: {error}")
        yield job[0], found[job].value


def files(backbone: str, task: Task) -> Iterator[tuple[str, str | None]]:
    """Dataset, checkpoints and tokenizer, each with why it cannot be had here and now, or None where it lies ready. Reads no data."""
    try:
        yield f"data {task.reader.folder}", str(task.reader.home()) and None
    except UserError as error:
        yield f"data {task.reader.folder}", str(error)
    view = backbones.load(backbone).view
    for kind, name in (*(("checkpoint", name) for name in backbones.load(backbone).checkpoints()), ("tokenizer", view.tokenizer)):
        yield f"{kind} {name}", None if here(name) else "neither below PETLBENCH_MIRROR nor in the hub's cache"


def here(name: str) -> bool:
    """Does the repository, or the official file of that name, lie below PETLBENCH_MIRROR or in the hub's cache?"""
    mirror = os.environ.get("PETLBENCH_MIRROR")
    if mirror and Path(mirror, name).exists():
        return True
    return "/" in name and any(isinstance(try_to_load_from_cache(name, file), str) for file in ("config.json", "model_index.json"))
