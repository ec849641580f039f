"""What pre-training is worth: full tuning from scratch, with the same tuning budget, seeds and epochs, beside the reference's methods.

Needs results/reference. Wanted: full tuning 10 points above scratch on two tasks, LoRA and adapters above it on all, outside intervals.
"""

from __future__ import annotations

import dataclasses

from common import ROOT, report, runs

METHODS = ("full", "lora", "adapter")


def scratch() -> dict[str, list[float]]:
    """Test metric by seed for each task, at the best of the four learning rates that full tuning gets to try, by validation."""
    from suite import grid, tune
    from suite.settings import load

    jobs = grid.cells(load(ROOT / "params.yaml", backbones=["vilt"], methods=["scratch"]), (str(ROOT / "benchmarks" / "scratch.py"),))
    first = {job.cell.task: job for job in jobs}
    tried: dict[str, tune.Tried] = {task: {} for task in first}
    trials = [(job, lr, seed) for job in first.values() for lr in tune.rates(True) for seed in tune.SEEDS]
    for (job, lr, seed), score in runs("suite.work:tuned", trials):
        tried[job.cell.task].setdefault(f"{lr:g}", {})[str(seed)] = score
    origin = grid.Origin.here("mini")
    chosen = [dataclasses.replace(job, lr=tune.choose(tried[job.cell.task])) for job in jobs]
    found: dict[str, list[float]] = {task: [] for task in first}
    for _, (record, _) in runs("suite.work:cell", [grid.CellTask(job, origin) for job in chosen]):
        found[record.cell.task].append(record.metrics[record.metric])
    return found


def main() -> None:
    from suite.gate import Reference
    from suite.stats import interval

    reference = Reference.model_validate_json((ROOT / "results" / "reference" / "mini-vilt.json").read_bytes())
    rows = []
    for task, values in scratch().items():
        by_method = {"scratch": values} | {name: list(reference.methods[name][task].seeds.values()) for name in METHODS}
        for name, scores in by_method.items():
            found = interval(scores)
            rows.append({"task": task, "method": name, "mean": found.mean, "half_width": found.half,
                         "above_scratch": found.mean - sum(values) / len(values)})  # fmt: skip
    report("transfer", rows)


if __name__ == "__main__":
    main()
