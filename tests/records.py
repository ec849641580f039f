"""Hand-made records, costs and per-example arrays for the tests of what is computed from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from suite.record import Cell, Cost, Interval, Latency, Provenance, Record

TASKS = ("easy-vqa", "world-vqa")
SOURCE = Provenance(
    commit="c0ffee1", dirty=False, versions={"torch": "2.13.0"}, machine="box", data_hash="d", weights_hash="w", wall_seconds=1.0,
    finished="2026-01-02T03:04:05Z",
)  # fmt: skip


def cell(method: str, task: str = TASKS[0], seed: int = 0, backbone: str = "vilt", profile: str = "mini") -> Cell:
    return Cell(method=method, backbone=backbone, task=task, seed=seed, profile=profile)


def record(where: Cell, value: float | None = None, **fields: Any) -> Record:
    """An ok record with this headline value, or one without a result where `value` is None."""
    given: dict[str, Any] = {"status": "failed", "reason": "boom"} if value is None else {"status": "ok", "metrics": {"accuracy": value}}
    given |= {"key": f"key-{where}", "title": where.method.title(), "metric": "accuracy", "provenance": SOURCE}
    given |= {"signature": where.method, "floors": {"majority": 30.0, "blind": 40.0}}
    return Record(cell=where, **(given | fields))


def board_records(values: Mapping[str, Mapping[str, Sequence[float]]], **fields: Any) -> list[Record]:
    """method -> task -> values by seed."""
    return [
        record(cell(method, task, seed), value, **fields)
        for method, tasks in values.items()
        for task, seeds in tasks.items()
        for seed, value in enumerate(seeds)
    ]


def cost(method: str, task: str = TASKS[0], extra: int = 0, trainable: int = 0, plan: dict[str, Any] | None = None, **fields: Any) -> Cost:
    given = {
        "key": f"cost-{method}-{task}-{plan}", "method": method, "backbone": "vilt", "task": task, "profile": "mini", "plan": plan,
        "trainable": trainable, "trainable_all": trainable + 5_000, "total": 900_000, "macs": 20_000_000 + extra, "extra_macs": extra,
        "latency": latency(2.0), "peak_memory": 12 * 2**20, "machine": "box",
    }  # fmt: skip
    return Cost(**(given | fields))


def latency(median: float, merged: float | None = None) -> Latency:
    def sizes(one: float) -> dict[str, Interval]:
        return {size: Interval(median=one * k, low=one * k * 0.95, high=one * k * 1.05) for size, k in (("1", 1.0), ("32", 20.0))}

    return Latency(unmerged=sizes(median), merged=None if merged is None else sizes(merged))


def examples(rng: np.random.Generator, rate: float, images: int = 200, each: int = 3) -> dict[str, np.ndarray]:
    """Independent hits at `rate`, `each` examples to an image."""
    ids = np.arange(images * each)
    return {"correct": rng.random(ids.size) < rate, "cluster": np.array([f"image-{i // each}" for i in ids]), "ids": ids}


def generated(colour: Sequence[int] = (200, 60, 90), prompts: str = "vwxyz") -> dict[str, np.ndarray]:
    """What a task that generates pictures keeps: five prompts of three clusters; the k-th sample is `colour`, darker by 10 k."""
    ones = np.ones((5, 32, 32, 3), np.uint8)
    shades = (np.array(colour) - 10 * np.arange(5)[:, None]).astype(np.uint8)
    return {
        "samples": ones * shades[:, None, None], "learned": 77 * ones, "prompts": np.array(list(prompts)),
        "cluster": np.array(["b", "b", "a", "a", "c"]), "correct": np.ones(5, bool), "ids": np.arange(5),
    }  # fmt: skip


VALUES = {
    "full": {"easy-vqa": [80.0, 81.0, 82.0], "world-vqa": [90.0, 91.0, 92.0]},
    "lora": {"easy-vqa": [80.0, 80.5, 81.0], "world-vqa": [84.0, 85.0, 86.0]},
    "head": {"easy-vqa": [50.0, 51.0, 52.0], "world-vqa": [60.0, 61.0, 62.0]},
}
COSTS = [
    cost(m, t, extra=e, trainable=n, latency=latency(ms, merged))
    for m, e, n, ms, merged in (("full", 0, 900_000, 2.0, None), ("lora", -332_000, 9_216, 2.5, 2.0), ("head", 0, 0, 2.0, None))
    for t in TASKS
]


def holes() -> list[Record]:
    """One failed seed, one task that does not apply, one method that never ran."""
    records = board_records(VALUES)
    broken = [record(r.cell, None, reason="loss is nan") if str(r.cell) == "mini/vilt/easy-vqa/lora/1" else r for r in records]
    none = [record(cell("apt", "world-vqa", s), None, status="n/a", reason="no place for it") for s in range(3)]
    return [*broken, *none, *board_records({"apt": {"easy-vqa": [70.0, 71.0, 72.0]}})]


def grid_with(*more: str) -> list[Cell]:
    methods = ("full", "lora", "head", "apt", *more)
    return [cell(m, t, s) for m in methods for t in TASKS for s in range(3)]
