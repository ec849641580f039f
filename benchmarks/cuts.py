"""What skipping layers cuts of MACs, and how much of that share the clock confirms: DAS against the same backbone with its head, in turns.

At least 80 % of the share is wanted. Random weights: neither MACs nor time depend on them. `paper`: one example of the papers' size.
"""

from __future__ import annotations

from typing import Any

from common import report

SIZES = (("vilt", "mini", 32, 41), ("meter", "mini", 32, 41), ("lavin", "mini", 32, 41), ("vilt", "paper", 1, 11),
         ("meter", "paper", 1, 11))  # fmt: skip
"""Backbone, preset, examples of a pass, passes."""


def cut(backbone: str, preset: str, examples: int, passes: int) -> dict[str, Any]:
    """The row of a backbone: layers skipped as in DAS's example plan, which is as dear as any other."""
    import torch

    from suite import backbones, cost, grid, macs
    from suite.assemble import assemble
    from suite.plugins import discover

    task, das = grid.fitting(backbone, None, preset), discover().get("das")()
    bare = backbones.load(backbone).build(preset, pretrained=False, device="meta")
    plan, size = das.example_plan(bare), bare.papers_input()
    inputs = cost.rows(cost.example(task, size), examples)

    def build(method: Any, device: str) -> Any:
        chosen = plan if method is das else None
        return assemble(method, backbone, task, 0, preset=preset, plan=chosen, pretrained=False, device=device).eval()

    counts = [macs.counted(lambda model=build(method, "meta"): model.predict(inputs)) for method in (cost.Bare(), das)]
    models, times = [build(method, "cpu") for method in (cost.Bare(), das)], ([], [])
    with torch.inference_mode():
        for turn in range(passes + 2):
            for model, kept in zip(models, times):
                spent = cost._clock(lambda model=model: model.predict(inputs))
                if turn >= 2:
                    kept.append(spent)
    before, after = (cost.median_interval(kept).median for kept in times)
    fewer, faster = 1 - counts[1] / counts[0], 1 - after / before
    return {"backbone": backbone, "preset": preset, "batch": examples, "skipped": len(plan["skipped"]), "fewer_macs_%": 100 * fewer,
            "ms_before": before, "ms_after": after, "faster_%": 100 * faster, "confirmed_%": 100 * faster / fewer}  # fmt: skip


def main() -> None:
    import torch

    torch.set_num_threads(1)
    report("cuts", [cut(*size) for size in SIZES])


if __name__ == "__main__":
    main()
