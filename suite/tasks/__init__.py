"""The tasks by name. Listing them imports nothing heavy; `load` imports the file of the kind."""

from __future__ import annotations

import importlib
from functools import cache
from typing import TYPE_CHECKING

from suite.names import unknown

if TYPE_CHECKING:
    from suite.core import Task

SETS = ("caltech101", "imagenet", "oxford-pets", "stanford-cars", "flowers102", "food101", "aircraft", "sun397", "dtd", "eurosat", "ucf101")
"""Image sets, with all classes and, as `<set>-new`, from base to new classes. Costs of CLIP are those of the first: each picture of
ImageNet is read with a thousand prompts, more than a CPU has memory for."""

KINDS = {"world-vqa": "vqa", "easy-vqa": "vqa", "world-nlvr2": "nlvr2", "world-retrieval": "retrieval", "world-vqa-4000": "vqa",
         "world-gqa": "gqa", "world-ve": "entailment", "world-science": "science", "world-classes": "prototypes", "digits": "prototypes",
         "world-subject": "subject", "nlvr": "nlvr", "nlvr-3525": "nlvr", "vqa2": "real_vqa", "nlvr2": "real_pairs",
         "flickr30k": "real_pairs", "gqa": "real_vqa", "snli-ve": "real_vqa", "scienceqa": "real_science",
         **{name + new: "real_classes" for name in SETS for new in ("", "-new")}, "dreambooth": "real_subject"}
"""Task -> its file in this folder, which has it in `TASKS`."""


def names() -> list[str]:
    """All tasks, in the order of the tables."""
    return list(KINDS)


@cache
def load(name: str) -> Task:
    """The task, one object a process: its data is made when first needed and kept. Raises UserError for an unknown name."""
    if name not in KINDS:
        raise unknown("task", name, KINDS)
    return importlib.import_module(f"suite.tasks.{KINDS[name]}").TASKS[name]()
