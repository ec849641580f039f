"""Trains and evaluates one cell. The only file that imports mmengine's Runner: its loop, hooks, scheduler and optimiser wrapper."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import torch
from mmengine.hooks import Hook
from mmengine.logging import MessageHub
from mmengine.runner import Runner
from torch import Tensor

from suite.assemble import Trainee, assemble, derive, device_for, optimizer, steps_per_epoch
from suite.core import Method, Plan, Task, seed_everything
from suite.recipe import Recipe
from suite import together
from suite.binding import Means, bound
from suite.errors import UserError
from suite.search import Found, NonFiniteLoss, search
from suite.store import write_atomic
from suite.updates import Warmup, wrapped

CHECKPOINT, SEARCHED = "last.pth", "search.json"
MMENGINE_DEFAULTS = ("runtime_info", "timer", "sampler_seed", "logger", "checkpoint")
LOOK_EVERY = 50
"""Steps between looks at the losses: reading one waits for the device."""


@dataclass(frozen=True)
class Outcome:
    """What one cell gave. Metrics in percent; correct and clusters in the order of the evaluated split.

    metrics: of the test split (empty where only validation was asked for). curve: dicts with the fields of record.CurvePoint.
    hyper_parameters: `method` (resolved), `recipe`, `lr`, `search` (what it took and noted; empty where nothing was searched).
    kept: arrays in that order to look at, by the task's `kept`; empty where it has none. floors: of the task, with `metrics`.
    """

    metrics: dict[str, float]
    validation: dict[str, float]
    curve: list[dict[str, Any]]
    correct: list[bool]
    clusters: list[str]
    plan: Plan | None
    signature: str
    flags: list[str]
    hyper_parameters: dict[str, Any]
    search_seconds: float = 0.0
    kept: dict[str, np.ndarray] = field(default_factory=dict)
    floors: dict[str, float] = field(default_factory=dict)


def run_cell(method: Method, backbone_name: str, task: Task, seed: int, *, preset: str, lr: float, plan: Plan | None = None,
             work_dir: Path | None = None, epochs: int | None = None, checkpoint_every: int = 1,
             evaluate: Literal["test", "validation"] = "test", official: bool = False, means: Means = Means()) -> Outcome:
    """Search where the method searches and no plan is given, train afresh, evaluate; the test split is read once, at the end.

    work_dir: this cell's own folder for checkpoints, every `checkpoint_every` epochs; a run that finds one goes on from it (None: no
    checkpoints). evaluate: "validation" leaves the test split alone. official: the search is the papers' own. means: of the machine.
    Raises NonFiniteLoss with the step.
    """
    device, task = device_for(preset), bound(task, backbone_name, method.name, means)
    recipe = task.recipe if epochs is None else dataclasses.replace(task.recipe, epochs=epochs)
    found = Found(plan, 0.0, {})
    if method.search is not None and plan is None:
        found = _kept_search(work_dir, lambda: search(method, backbone_name, task, seed, preset=preset, lr=lr, device=device,
                                                      epochs=epochs, official=official))  # fmt: skip
    plan = found.plan
    model = assemble(method, backbone_name, task, seed, preset=preset, plan=plan, device=device)
    protocol = fit(model, recipe, seed, lr, work_dir=work_dir, checkpoint_every=checkpoint_every)
    validated = task.validates or evaluate == "validation"
    validation = protocol.best or (evaluate_on(model, "validation")[0] if validated else {})
    metrics, correct, clusters, kept = {}, [], [], {}
    if evaluate == "test":
        outputs = outputs_on(model, "test")
        metrics, correct, clusters = task.score("test", outputs)
        kept = task.kept("test", outputs)
        for split in task.unscored:
            kept |= task.kept(split, outputs_on(model, split))
    chosen = {"method": method.resolved(), "recipe": dataclasses.asdict(recipe), "lr": lr, "search": found.noted}
    return Outcome(metrics, validation, protocol.curve, correct, clusters, plan, model.signature(), flags(task, metrics), chosen,
                   found.seconds, kept, task.floors() if metrics else {})


def _kept_search(folder: Path | None, found: Callable[[], Found]) -> Found:
    """What an earlier run of the cell found, or what `found` finds, kept in the cell's folder: weights belong to a plan."""
    path = folder and folder / SEARCHED
    if path and path.exists():
        return Found(**json.loads(path.read_text()))
    result = found()
    if path and together.first():
        write_atomic(path, json.dumps(dataclasses.asdict(result)).encode())
    return result


def outputs_on(model: Trainee, split: str) -> list[Tensor]:
    """What `predict` makes of every batch of a split, as the task's `score` takes it."""
    model.eval()
    with torch.inference_mode():
        found = [model.predict(batch) for batch in model.batches(split, 0)]
    return together.gathered(found) if model.task.dataset else found


def evaluate_on(model: Trainee, split: str) -> tuple[dict[str, float], list[bool], list[str]]:
    """Metrics (percent), correctness and cluster per example of a split, in its order."""
    return model.task.score(split, outputs_on(model, split))


def flags(task: Task, metrics: dict[str, float]) -> list[str]:
    """What a cell can know to be wrong with itself; nothing without test metrics, since floors are read from the test split."""
    if not metrics:
        return []
    return [f"below the {name} floor" for name, floor in sorted(task.floors().items()) if metrics[task.metric] < floor]


def fit(model: Trainee, recipe: Recipe, seed: int, lr: float, *, work_dir: Path | None = None, checkpoint_every: int = 1) -> Protocol:
    """Train in place; afterwards the model holds the weights to keep. Raises NonFiniteLoss, also where the last step broke a weight."""
    loader = Epochs(model, seed)
    wrapper = wrapped(optimizer(model, recipe, lr), recipe, len(loader))
    protocol = Protocol(seed, recipe, loader, work_dir, checkpoint_every)
    found = str(work_dir / CHECKPOINT) if work_dir and (work_dir / CHECKPOINT).exists() else None
    runner = QuietRunner(
        model, str(work_dir or tempfile.gettempdir()), loader, train_cfg={"by_epoch": True, "max_epochs": recipe.epochs},
        optim_wrapper=wrapper, param_scheduler=[Warmup(wrapper, len(loader), recipe)], custom_hooks=[protocol],
        default_hooks=dict.fromkeys(MMENGINE_DEFAULTS), default_scope=None, randomness={"seed": derive("runner", seed)},
        load_from=found, resume=found is not None)
    runner.train()
    if protocol.weights is not None:
        model.load_state_dict(protocol.weights, strict=False)
    if broken := [name for name, p in model.trained().items() if not p.isfinite().all()]:
        raise NonFiniteLoss(f"{broken[0]} is not finite after the last step")
    return protocol


class Epochs:
    """A task's training batches as mmengine's loop wants a loader; the order depends on (seed, epoch) only."""

    metainfo: dict[str, Any] = {}

    def __init__(self, model: Trainee, seed: int):
        self.model, self.seed, self.epoch, self.dataset = model, derive("order", seed), 0, self

    def __len__(self) -> int:
        return steps_per_epoch(self.model.task, "train")

    def __iter__(self) -> Iterator[Any]:
        return iter(self.model.batches("train", self.seed, self.epoch, shuffle=True))


@dataclass(eq=False)
class Protocol(Hook):
    """Seeds each epoch, collects the curve, keeps the best weights where the recipe says so, writes checkpoints.

    Each epoch starts from a seed of its own, so no generator state has to be stored for an exact resume.
    best, weights: validation metrics and trained weights of the best epoch (recipe.keep = "best"), the earlier one on a tie.
    """

    seed: int
    recipe: Recipe
    loader: Epochs
    work_dir: Path | None
    every: int
    curve: list[dict[str, Any]] = field(default_factory=list)
    best: dict[str, float] | None = None
    weights: dict[str, Tensor] | None = None
    losses: list[Tensor] = field(default_factory=list)

    def before_train_epoch(self, runner: Runner) -> None:
        self.loader.epoch, self.losses = runner.epoch, []
        seed_everything(derive("dropout", self.seed, runner.epoch, *([together.number()] if together.number() else [])))

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        self.losses.append(outputs)
        if len(self.losses) % LOOK_EVERY == 0:
            self._look(runner.epoch, len(self.losses) - LOOK_EVERY)

    def after_train_epoch(self, runner: Runner) -> None:
        self._look(runner.epoch, 0)
        if len(self.losses) != len(self.loader):
            raise RuntimeError(f"an epoch had {len(self.losses)} batches where the task's sizes say {len(self.loader)}")
        loss, lr = together.mean(torch.stack(self.losses)).mean().item(), _base_lr(runner)
        point = {"epoch": runner.epoch + 1, "loss": loss, "lr": lr, "validation": None}
        if self.recipe.keep == "best":
            point["validation"] = self._keep_best(runner.model)
        self.curve.append(point)
        if self.work_dir and (runner.epoch + 1) % self.every == 0:
            _write_checkpoint(runner, self.work_dir)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        trained = runner.model.trained()
        checkpoint["state_dict"] = {name: value for name, value in checkpoint["state_dict"].items() if name in trained}
        checkpoint["protocol"] = {"curve": self.curve, "best": self.best, "weights": self.weights}

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        for name, value in checkpoint["protocol"].items():
            setattr(self, name, value)

    def _look(self, epoch: int, start: int) -> None:
        """Raise NonFiniteLoss with the first step from `start` on whose loss is not finite."""
        losses = together.mean(torch.stack(self.losses[start:]))
        finite = losses.isfinite()
        if not finite.all():
            step = int(finite.logical_not().nonzero()[0])
            raise NonFiniteLoss(f"loss is {losses[step].item()} at epoch {epoch + 1}, step {start + step + 1}")

    def _keep_best(self, model: Trainee) -> float:
        metrics, metric = evaluate_on(model, "validation")[0], model.task.metric
        if self.best is None or metrics[metric] > self.best[metric]:
            self.best = metrics
            self.weights = {name: p.detach().clone() for name, p in model.trained().items()}
        return metrics[metric]


def _base_lr(runner: Runner) -> float:
    """The method's learning rate at this step of the schedule."""
    first = runner.optim_wrapper.param_groups[0]  # the head's or, where there is none, the method's own
    return first["lr"] / first["factor"]


def _write_checkpoint(runner: Runner, folder: Path) -> None:
    together.wait()
    if not together.first():
        return
    folder.mkdir(parents=True, exist_ok=True)
    runner.save_checkpoint(str(folder), f".{CHECKPOINT}")
    os.replace(folder / f".{CHECKPOINT}", folder / CHECKPOINT)


class QuietRunner(Runner):
    """mmengine's Runner without its log folder, banners, environment report, visualizer and global message hub.

    Its own `load_checkpoint` leaves no class to unpickle that `torch.load(weights_only=True)` does not know (mmengine 0.10.7 cannot
    resume with torch >= 2.6 otherwise), so the check stays on.
    """

    timestamp = "."

    def setup_env(self, env_cfg: Any) -> None:
        """One process; mmengine would change the start method of processes and the limit of open files."""
        self._rank, self._world_size = 0, 1

    def build_logger(self, *args: Any, **kwargs: Any) -> logging.Logger:
        """Warnings and errors only, to Python's own logging."""
        logger = logging.getLogger("petlbench.mmengine")
        logger.setLevel(logging.WARNING)
        return logger

    def build_message_hub(self, *args: Any, **kwargs: Any) -> MessageHub:
        """A hub of this run alone: a shared one would carry state from cell to cell."""
        return MessageHub("petlbench")

    def build_visualizer(self, *args: Any, **kwargs: Any) -> Any:
        """A stand-in: the real one imports matplotlib and makes folders."""
        return SimpleNamespace()

    def wrap_model(self, model_wrapper_cfg: Any, model: Trainee) -> Trainee:
        """The model where it is; mmengine would move it to any GPU there is."""
        return model

    def dump_config(self) -> None:
        """Nothing: the record holds the configuration."""

    def _log_env(self, env_cfg: Any) -> None:
        """Nothing: asking every compiler for its version takes a second."""

    def load_checkpoint(self, filename: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Trained weights from a checkpoint of this class; the frozen ones are in the model already."""
        checkpoint = torch.load(filename, map_location="cpu", weights_only=True)
        if checkpoint["state_dict"].keys() != self.model.trained().keys():
            raise UserError(f"{filename} is of another model: remove it to begin the cell anew")
        self.call_hook("after_load_checkpoint", checkpoint=checkpoint)
        self.model.load_state_dict(checkpoint["state_dict"], strict=False)
        return checkpoint
