"""What pre-training is worth: full tuning from scratch, with the same tuning budget, seeds and epochs, beside the reference's methods.

Needs results/reference. Wanted: full tuning 10 points above scratch on two tasks, LoRA and adapters above it on all, outside intervals.
"""

from __future__ import annotations

from common import from_scratch, referenced, report

METHODS = ("full", "lora", "adapter")


def main() -> None:
    from suite.stats import interval

    rows = []
    for task, values in from_scratch("scratch", "vilt").items():
        by_method = {"scratch": values} | {name: referenced("vilt", name, task) for name in METHODS}
        for name, scores in by_method.items():
            found = interval(scores)
            rows.append({"task": task, "method": name, "mean": found.mean, "half_width": found.half,
                         "above_scratch": found.mean - sum(values) / len(values)})  # fmt: skip
    report("transfer", rows)


if __name__ == "__main__":
    main()
