"""Several processes that train one cell together, a GPU each: torchrun or Slurm starts them, mmengine.dist joins them.

Each makes its share of the batches. Gradients are averaged before every update, losses and rewards where they are read, so that all
processes hold the same weights and take the same decisions. Alone, nothing here does anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, TypeVar

import torch
from mmengine import dist
from torch import Tensor, nn

from suite.errors import UserError
from suite.recipe import Recipe

Launcher = Literal["pytorch", "slurm"]
Item = TypeVar("Item")


def join(launcher: Launcher) -> None:
    """Join the others. Raises UserError where the launcher did not start this process."""
    try:
        if launcher == "pytorch" and not torch.cuda.is_available():  # mmengine's own asks for a GPU
            torch.distributed.init_process_group("gloo")
        else:
            dist.init_dist(launcher)
    except (KeyError, ValueError, RuntimeError) as error:
        raise UserError(f"--launcher {launcher}: not started by it, {' '.join(str(error).split())[:120]}") from None


def count() -> int:
    """How many there are."""
    return dist.get_world_size()


def forwards(recipe: Recipe) -> int:
    """Of an update, that a process makes."""
    return -(-recipe.accumulated // count())


def first() -> bool:
    """Is this the one that writes?"""
    return dist.get_rank() == 0


def number() -> int:
    """Of this one, from 0."""
    return dist.get_rank()


def told(value: Item) -> Item:
    """The first one's, in all."""
    values = [value]
    dist.broadcast_object_list(values)
    return values[0]


def wait() -> None:
    """Until all are here."""
    dist.barrier()


def share(batches: Sequence[Item], even: bool) -> Sequence[Item]:
    """Every n-th, from this process's own number. even: as many for each; what is left over is dropped."""
    most = len(batches) // count() * count() if even else len(batches)
    return batches[number() : most : count()]


def gathered(outputs: list[Item]) -> list[Item]:
    """What all made of their `share`, in the order of the whole, everywhere."""
    if count() == 1:
        return outputs
    parts = dist.all_gather_object(outputs)
    return [part[place] for place in range(max(map(len, parts))) for part in parts if place < len(part)]


def mean(values: Tensor) -> Tensor:
    """Of all processes' values, elementwise."""
    if count() > 1:
        values = values.clone()
        dist.all_reduce(values, op="mean")
    return values


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Mean over all processes; one that a parameter has no gradient in counts as zero, unless none has."""
    if count() == 1:
        return
    parameters = list(parameters)
    there = torch.tensor([p.grad is not None for p in parameters], device=parameters[0].device).float()
    for parameter, some in zip(parameters, mean(there).tolist(), strict=True):
        if some:
            parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            dist.all_reduce(parameter.grad, op="mean")
