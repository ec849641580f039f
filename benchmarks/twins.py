"""What each backbone's pre-training is worth to a light method: LoRA on its weights, from results/reference, and on random ones.

Writes the difference into the card beside the weights. Wanted: 10 points on a task natural to the backbone.
"""

from __future__ import annotations

import json

from common import from_scratch, referenced, report

NATURAL = {"vilt": "world-vqa", "meter": "world-vqa"}


def main() -> None:
    from suite.backbones import shipped
    from suite.stats import interval

    rows = []
    for backbone, task in NATURAL.items():
        pre_trained, random = interval(referenced(backbone, "lora", task)), interval(from_scratch("scratch_lora", backbone, [task])[task])
        row = {"backbone": backbone, "task": task, "pre_trained": pre_trained.mean, "random": random.mean,
               "points": pre_trained.mean - random.mean}  # fmt: skip
        rows.append(row)
        card = shipped.path_of(f"{backbone}-mini").with_suffix(".json")
        told = json.loads(card.read_text())
        told["lora_above_random_twin"] = {"task": task, "points": round(row["points"], 2)}
        card.write_text(json.dumps(told, indent=2) + "\n")
    report("twins", rows)


if __name__ == "__main__":
    main()
