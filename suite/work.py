"""What a worker process does with a job: train a cell, measure a cost, or count sizes. Here training meets records."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from time import perf_counter
from typing import Any

import numpy as np
import torch

from suite import backbones, tasks
from suite.binding import costed
from suite.core import Backbone
from suite.cost import bare_macs, latency_of, measure, papers_own
from suite.errors import UserError
from suite.grid import CellTask, CostTask, Job
from suite.inventory import Item, Sizes
from suite.plans import plan_of
from suite.plugins import configured, discover
from suite.record import Cost, Provenance, Record
from suite.store import Examples
from suite.train import run_cell
from suite.tune import tune_cell

torch.set_num_threads(1)


def cell(task: CellTask) -> tuple[Record, Examples]:
    """Train and evaluate; the record, and the per-example arrays `correct`, `cluster`, `ids`, each (N,), N test examples, with what the
    task keeps to look at.

    Raises UserError where the GPU has too little memory, and whatever the method, the backbone or the training raises.
    """
    job, start = task.job, perf_counter()
    data = tasks.load(job.cell.task)
    try:
        result = run_cell(_method(job), job.cell.backbone, data, job.cell.seed, preset=job.preset, lr=job.lr, epochs=job.epochs,
                          work_dir=task.checkpoints, official=job.official, means=job.means)  # fmt: skip
    except torch.OutOfMemoryError:
        raise UserError(_too_little(job)) from None
    record = job.record(
        "ok", metrics=result.metrics, validation=result.validation, floors=result.floors, plan=result.plan, curve=result.curve,
        hyper_parameters=result.hyper_parameters, signature=result.signature, flags=result.flags,
        provenance=_provenance(task, perf_counter() - start, result.search_seconds),
    )  # fmt: skip
    correct, clusters = np.asarray(result.correct, bool), np.asarray(result.clusters, str)
    return record, result.kept | {"correct": correct, "cluster": clusters, "ids": np.arange(len(correct))}


def cost(task: CostTask) -> Cost:
    """All but latency, single-threaded."""
    cell = task.job.cell
    _, bare = _bare(cell.backbone, cell.task, task.job.preset)
    return measure(_method(task.job), cell.backbone, costed(tasks.load(cell.task)), preset=task.job.preset, plan=task.plan,
                   memory=task.memory, key=task.key, profile=cell.profile, bare=bare)  # fmt: skip


def timed(found: tuple[CostTask, Cost]) -> Cost:
    """The cost with its latency; to be called where nothing else runs."""
    task, cost = found
    cell = task.job.cell
    latency = latency_of(_method(task.job), cell.backbone, costed(tasks.load(cell.task)), preset=task.job.preset, plan=task.plan)
    return cost.model_copy(update={"latency": latency})


def tuned(task: tuple[Job, float, int]) -> float | None:
    """The validation metric of one learning rate and seed, in percent; None where the loss was not finite."""
    job, lr, seed = task
    return tune_cell(_method(job), job.cell.backbone, tasks.load(job.cell.task), lr, seed, preset=job.preset, epochs=job.epochs,
                     official=job.official, means=job.means)  # fmt: skip


def sizes(item: Item) -> Sizes | str:
    """What the item costs, with an example of a plan where the method searches; the reason where it has none."""
    task = costed(tasks.load(item.task))
    method = configured(discover().get(item.method), item.backbone, item.task)
    try:
        built, bare = _bare(item.backbone, item.task, item.preset)
        if reason := method.not_applicable(built, item.task):
            return reason
        plan, _ = plan_of(method, item.backbone, item.preset, None)
        cost = measure(method, item.backbone, task, preset=item.preset, plan=plan, memory=False, bare=bare)
    except UserError as error:
        return str(error)
    return Sizes(item.backbone, item.method, papers_own(built, cost.trainable), cost.total, cost.macs, cost.extra_macs)


@cache
def _bare(backbone: str, task: str, preset: str) -> tuple[Backbone, int]:
    """The backbone without weights, and its MACs with the task's head."""
    built = backbones.load(backbone).build(preset, pretrained=False, device="meta")
    return built, bare_macs(backbone, costed(tasks.load(task)), preset)


def _method(job: Job) -> Any:
    return discover(job.files).get(job.cell.method)(**job.parameters)


def _too_little(job: Job) -> str:
    """What to do where the GPU's memory is too little for a cell."""
    from suite import needs, speed

    found = needs.need((Item(job.cell.backbone, job.cell.method, job.cell.task, job.preset), job.means, job.epochs))
    room = speed.room()
    if isinstance(found, str) or not room:
        return "too little GPU memory"
    has, took = (f"{size / 2**30:.0f} GiB" for size in (room, found.memory))
    fits = found.fitting(int(speed.ROOM * room))
    advice = f"`micro_batch: {min(fits, max(1, found.micro_batch // 2))}` in params.yaml may fit" if fits else "not one example fits"
    return f"too little GPU memory: {has}, where {found.micro_batch} examples at once take about {took}; {advice}"


def _provenance(task: CellTask, seconds: float, search_seconds: float) -> Provenance:
    return Provenance(
        commit=task.origin.commit, dirty=task.origin.dirty, versions=task.origin.versions, machine=task.origin.machine,
        data_hash=task.job.data_hash, weights_hash=task.job.weights_hash, wall_seconds=seconds, search_seconds=search_seconds,
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
    )  # fmt: skip
