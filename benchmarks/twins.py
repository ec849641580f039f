"""What each backbone's pre-training is worth to a light method: on its weights, from results/reference, and on random ones.

The light method is LoRA, or DVP with adapters. Writes the difference into the card beside the weights. Wanted: 10 points on a task
natural to the backbone.
"""

from __future__ import annotations

import json

from common import from_scratch, referenced, report

NATURAL = {"vilt": ("world-vqa", "lora"), "meter": ("world-vqa", "lora"), "clip": ("world-classes", "lora"),
           "llama": ("world-science", "dvp_adapter"), "lavin": ("world-science", "lora")}


def main() -> None:
    from suite.backbones import shipped
    from suite.stats import interval

    rows = []
    for backbone, (task, method) in NATURAL.items():
        pre_trained = interval(referenced(backbone, method, task))
        random = interval(from_scratch(f"scratch_{method}", backbone, [task])[task])
        row = {"backbone": backbone, "task": task, "method": method, "pre_trained": pre_trained.mean, "random": random.mean,
               "points": pre_trained.mean - random.mean}  # fmt: skip
        rows.append(row)
        card = shipped.path_of(f"{backbone}-mini").with_suffix(".json")
        told = json.loads(card.read_text())
        told["above_random_twin"] = {"method": method, "task": task, "points": round(row["points"], 2)}
        card.write_text(json.dumps(told, indent=2) + "\n")
    report("twins", rows)


if __name__ == "__main__":
    main()
