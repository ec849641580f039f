"""A backbone with a method and a head, ready to train; what training, search and costs share."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from suite import backbones, together
from suite.core import Backbone, Method, Plan, Task, freeze, seed_everything
from suite.errors import UserError
from suite.prefix import Stored
from suite.recipe import Recipe


DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
"""Of a recipe's precision, where it is not fp32."""


def derive(purpose: str, *numbers: int) -> int:
    """A 31-bit seed for one purpose, so that one purpose's draws never shift another's."""
    text = "/".join([purpose, *map(str, numbers)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1


class Trainee(nn.Module):
    """Backbone, method and head as one module: what the optimiser and mmengine's Runner see. stored: None computes all."""

    def __init__(self, backbone: Backbone, head: nn.Module, task: Task, method: Method):
        super().__init__()
        self.backbone, self.head, self.task, self.method = backbone, head, task, method
        self.stored: Stored | None = None

    def batches(self, split: str, seed: int, epoch: int = 0, shuffle: bool = False) -> Iterator[Any]:
        """The task's batches, with what the backbone's frozen part makes of them where that is stored."""
        return self.task.batches(split, seed, epoch=epoch, shuffle=shuffle, stored=self.stored)

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def casting(self) -> AbstractContextManager[Any]:
        """Autocast to the recipe's precision; nothing where it is fp32."""
        dtype = DTYPES.get(self.task.recipe.precision)
        return torch.autocast(self.device.type, dtype) if dtype else nullcontext()

    def loss(self, batch: Any) -> Tensor:
        """The task's scalar training loss."""
        with self.casting():
            return self.task.loss(self.backbone, self.head, move(batch, self.device))

    def predict(self, batch: Any) -> Tensor:
        """What the task's score needs of one batch."""
        with self.casting():
            return self.task.predict(self.backbone, self.head, move(batch, self.device))

    def percent(self, batch: Any) -> float:
        """Percent right of one batch."""
        with self.casting():
            return self.task.percent(self.backbone, self.head, move(batch, self.device))

    def train_step(self, data: Any, optim_wrapper: Any) -> Tensor:
        """One update, as mmengine's loop asks for it; returns the detached loss without reading it."""
        loss = self.loss(data)
        optim_wrapper.update_params(loss)
        return loss.detach()

    def trained(self) -> dict[str, nn.Parameter]:
        """All parameters that get a gradient, by name."""
        return {name: p for name, p in self.named_parameters() if p.requires_grad}

    def signature(self) -> str:
        """sha256 over the sorted names and shapes of the trained parameters, head excluded, and a read-out that is not the usual one."""
        shapes = sorted((name, list(p.shape)) for name, p in self.trained().items() if not name.startswith("head."))
        readout = "" if self.method.readout == "task" else self.method.readout
        return hashlib.sha256(f"{shapes}{readout}".encode()).hexdigest()


def assemble(method: Method, backbone_name: str, task: Task, seed: int, *, preset: str, plan: Plan | None,
             pretrained: bool = True, device: str = "cpu") -> Trainee:
    """The method on a fresh frozen backbone with the task's fresh head; head and method draw from seeds of their own.

    Trained: what the method's `attach` makes trainable, the head, `always_trained()`. With pre-trained weights the results of the
    backbone's prefix are stored where they can be.
    Raises UserError for a plan that was found on another backbone or size, for fp16 on a CPU, and whatever the
    backbone's and the method's own files raise.
    """
    here = {"backbone": backbone_name, "preset": preset}
    if (found := here | {key: str(value) for key, value in (plan or {}).items() if key in here}) != here:
        raise UserError(f"this plan of {method.name} was found on {'/'.join(found.values())}, not on {'/'.join(here.values())}")
    if task.recipe.precision == "fp16" and device == "cpu":
        raise UserError("fp16, the published precision, needs a GPU; `precision: bf16` or `precision: fp32` in params.yaml runs on a CPU")
    seed_everything(derive("backbone", seed))
    with torch.device(device):
        backbone = backbones.load(backbone_name).build(preset, pretrained=pretrained, device=device)
        freeze(backbone)
        if method.class_token(backbone):
            backbone.add_class_token()
        seed_everything(derive("method", seed))
        method.attach(backbone, plan)
        seed_everything(derive("head", seed))
        head = task.head(backbone, method.readout).to(device)
    for parameter in backbone.always_trained():
        parameter.requires_grad_(True)
    head.requires_grad_(True)
    for site in backbone.sites("layer") if task.recipe.checkpointing else ():
        site.target.checkpointing = True
    model = Trainee(backbone, head, task, method).to(device)
    if pretrained and not task.dataset:
        model.stored = Stored.of(backbone)
    return model


def device_for(preset: str) -> str:
    """Where a backbone of this size runs: the paper's on a GPU where there is one, the small ones on the CPU, so that their bits last."""
    return "cuda" if preset == "paper" and torch.cuda.is_available() else "cpu"


def move(value: Any, device: torch.device | str) -> Any:
    """Every tensor of a batch (dataclass, tuple, list, dict) on `device`; the value itself where nothing has to move."""
    if isinstance(value, Tensor):
        return value.to(device)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.replace(value, **{f.name: move(getattr(value, f.name), device) for f in dataclasses.fields(value)})
    if isinstance(value, dict):
        return {key: move(item, device) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        items = [move(item, device) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    return value


def parameter_groups(model: Trainee, recipe: Recipe, lr: float) -> list[dict[str, Any]]:
    """Groups by `part` head, own or shared (learning rate), each with or without weight decay: biases and norms have none. Where the recipe
    has a factor for fusion layers, what it is for stands in groups of its own. factor: of the rate, which `lr` holds already."""
    rates = {"head": lr, "own": lr, "shared": recipe.shared_lr or lr}
    groups: dict[tuple[str, bool, float], list[nn.Parameter]] = {}
    exempt, shared = _exempt(model), {id(p) for p in model.backbone.always_trained()}
    fused = {id(p) for p in model.backbone.fusion_parameters()} if recipe.fusion_multiplier != 1 else set()
    for name, parameter in model.trained().items():
        part = "head" if name.startswith("head.") else "shared" if id(parameter) in shared else "own"
        factor = recipe.head_multiplier if part == "head" else recipe.fusion_multiplier if id(parameter) in fused else 1.0
        groups.setdefault((part, id(parameter) not in exempt, factor), []).append(parameter)
    return [
        {"params": parameters, "factor": factor, "lr": factor * rates[part], "weight_decay": recipe.weight_decay if decays else 0.0}
        for (part, decays, factor), parameters in sorted(groups.items(), key=lambda item: item[0])
    ]


def _exempt(model: nn.Module) -> set[int]:
    """Biases and weights of norms, by id; libraries have norms of their own, told by the name of their class."""
    owned = ((module, name, p) for module in model.modules() for name, p in module.named_parameters(recurse=False))
    return {id(p) for module, name, p in owned if name.endswith("bias") or "norm" in type(module).__name__.lower()}


def optimizer(model: Trainee, recipe: Recipe, lr: float) -> torch.optim.AdamW:
    """AdamW with the recipe's groups, betas and eps; the fused kernel, which is the fastest on CPU and GPU."""
    return torch.optim.AdamW(parameter_groups(model, recipe, lr), lr=lr, betas=recipe.betas, eps=recipe.eps, fused=True)


def steps_per_epoch(task: Task, split: str) -> int:
    """Batches of an epoch, of `recipe.rows` each, that a process makes."""
    whole = -(-task.sizes[split] // task.recipe.rows)
    return whole // together.count() if task.dataset else whole


def stream(model: Trainee, split: str, seed: int) -> Iterator[Any]:
    """Shuffled batches of a split without end, epoch after epoch."""
    if not steps_per_epoch(model.task, split):
        raise UserError(f"{model.task.name}/{split} has too few rows for a batch in each process")
    epoch = 0
    while True:
        yield from model.batches(split, seed, epoch, shuffle=True)
        epoch += 1
