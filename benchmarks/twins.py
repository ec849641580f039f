"""What each backbone's pre-training is worth to a light method: cells on its weights, as the board's, and on random ones.

The light method is LoRA; for language models that see pictures by visual prompts alone it is all visual tokens with adapters, which
was better on validation than DVP with adapters when learning rates were tuned. Writes the difference into the card beside the weights.
Wanted: 10 points on a task natural to the backbone; of Stable Diffusion, CLIP-T of its samples with intervals apart.
`twins.py bert t5` measures these alone.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from common import RESULTS, from_scratch, measured, report

NATURAL = {
    "vilt": ("world-vqa", "lora", "accuracy"), "meter": ("world-vqa", "lora", "accuracy"), "clip": ("world-classes", "lora", "h_mean"),
    "stable_diffusion": ("world-subject", "lora", "clip_t"), "bert": ("world-vqa-4000", "visual_prompt_adapter", "accuracy"),
    "t5": ("world-vqa-4000", "visual_prompt_adapter", "accuracy"), "llama": ("world-science", "visual_prompt_adapter", "accuracy"),
    "lavin": ("world-science", "lora", "accuracy"),
}  # fmt: skip


def main() -> None:
    from suite.backbones import shipped
    from suite.stats import interval

    rows = _before()
    for backbone in sys.argv[1:] or NATURAL:
        task, method, metric = NATURAL[backbone]
        pre_trained = interval(measured(method, backbone, task, metric))
        random = interval(from_scratch(f"scratch_{method}", backbone, [task], metric)[task])
        row = rows[backbone] = {
            "backbone": backbone, "task": task, "method": method, "metric": metric, "pre_trained": pre_trained.mean,
            "random": random.mean, "points": pre_trained.mean - random.mean,
            "apart": pre_trained.mean - pre_trained.half > random.mean + random.half,
        }  # fmt: skip
        card = shipped.path_of(f"{backbone}-mini").with_suffix(".json")
        told = json.loads(card.read_text())
        told["above_random_twin"] = {"method": method, "task": task, "metric": metric, "points": round(row["points"], 2)}
        card.write_text(json.dumps(told, indent=2) + "\n")
        report("twins", [rows[name] for name in NATURAL if name in rows])


def _before() -> dict[str, dict[str, Any]]:
    """What was measured before, by backbone."""
    file = RESULTS / "twins.json"
    return {row["backbone"]: row for row in json.loads(file.read_text())["rows"]} if file.is_file() else {}


if __name__ == "__main__":
    main()
