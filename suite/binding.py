"""Binds a task of the papers' size to a backbone and method: the view, the published recipe, and how much the machine takes at once."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from suite import backbones
from suite.errors import UserError
from suite.recipe import Precision, Recipe
from suite.recipes import VIEWS, Training, find

if TYPE_CHECKING:
    from suite.core import Task
    from suite.record import Status

STEP = 32
"""Examples of a training step that is measured; for DreamBooth, whose batches are smaller, as many as these have."""


@dataclass(frozen=True)
class Means:
    """What the machine asks for, beside the papers' settings: see Recipe. None: as published, or all at once.

    processes: that train together; batches are shared out to them (suite/together.py).
    """

    precision: Precision | None = None
    micro_batch: int | None = None
    processes: int = 1


def bound(task: Task, backbone: str, method: str, means: Means = Means()) -> Task:
    """The task as this method is trained on it there; a task of petlbench's own as it is, whatever the means. Layers of a
    decoder-only model, which has 7 B weights, are computed again in the backward pass. Raises UserError where a batch cannot be shared out."""
    if not task.dataset:
        return task
    kind = backbones.load(backbone)
    view = replace(kind.view, **VIEWS.get((backbone, task.dataset), {}))
    known = find(backbone, task.dataset, method)
    recipe = task.recipe if known is None else published(known, task.rated)
    most = max(1, recipe.batch_size // means.processes)
    micro_batch = min(most, means.micro_batch or most)
    if recipe.batch_size % (micro_batch * means.processes):
        gpus = f"{means.processes} GPU{'s' if means.processes > 1 else ''}"
        raise UserError(f"micro_batch: {micro_batch} on {gpus} does not divide the batch of {recipe.batch_size}")
    recipe = replace(recipe, shared_lr=None, clip=None, checkpointing=kind.decoder_only, micro_batch=micro_batch)
    found = task.bound(view, replace(recipe, precision=means.precision or recipe.precision))
    return replace(found, evaluation_batch=min(found.evaluation_batch, means.micro_batch)) if means.micro_batch else found


def bindable(task: Task, backbone: str, method: str, means: Means) -> tuple[Task, tuple[Status, str] | None]:
    """The bound task; where it cannot be, the task as it is, with the status and reason of its cells."""
    try:
        return bound(task, backbone, method, means), None
    except UserError as error:
        return task, ("failed", str(error))


def settled(task: Task) -> dict[str, Any]:
    """What the papers' settings come to, as plain values; nothing for petlbench's own tasks, whose files say it."""
    if not task.dataset:
        return {}
    return {name: part and asdict(part) for name, part in (("recipe", task.recipe), ("view", task.view))}


def costed(task: Task, rows: int = STEP) -> Task:
    """The task as costs are measured on it: unread, with so many examples of a training step where it is of the papers' size."""
    return task.bound(None, replace(task.recipe, precision="fp32", micro_batch=rows)) if task.dataset else task


def published(found: Training, rated: bool) -> Recipe:
    """A paper's settings. rated: does its factor for the head hold for this task's? Where the precision is not told it is fp32."""
    shared = {name: getattr(found, name) for name in ("epochs", "batch_size", "warmup", "weight_decay", "betas", "eps", "schedule", "keep")}
    factors = {"head_multiplier": found.head if rated else 1.0, "fusion_multiplier": found.fusion}
    return Recipe(**shared, **factors, precision=found.precision or "fp32")
