"""The papers' own training settings, as data; papers.md sections 1, 3.4 and 4.5. No setting is petlbench's own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal


@dataclass(frozen=True)
class Training:
    """How a paper trained on a dataset.

    batch_size: reached by accumulating gradients. lr: base rate; light_lr: where the language model is frozen but for its norms and
    adapters (None: the same). head, fusion: factors of the rate for the task's classifier, and in METER for the fusion layers with what
    methods put there, and the poolers. warmup: share of the steps, from 0; afterwards the rate falls to 0. precision: None: not told.
    keep: the weights of the last epoch, or of the best one on validation.
    """

    epochs: int
    batch_size: int
    lr: float
    light_lr: float | None = None
    head: float = 1.0
    fusion: float = 1.0
    warmup: float = 0.1
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.98)
    eps: float = 1e-8
    schedule: Literal["linear", "cosine"] = "linear"
    precision: Literal["fp16", "fp32"] | None = "fp16"
    keep: Literal["best", "last"] = "last"


DATASETS = ("VQA2.0", "NLVR2", "Flickr30K")
LANGUAGE = ("VQA2.0", "GQA", "SNLI-VE")
Key = tuple[str, str, str]
"""(paper, backbone, dataset)."""


def _fusion(paper: str, backbone: str, batches: tuple[int, ...], rates: tuple[float, ...], heads: tuple[float, ...], **rest: object
            ) -> dict[Key, Training]:  # fmt: skip
    rows = zip(DATASETS, batches, rates, heads, strict=True)
    return {(paper, backbone, name): Training(10, batch, lr, head=head, **rest) for name, batch, lr, head in rows}


def _language(backbone: str, usual: Training, **changes: dict[str, object]) -> dict[Key, Training]:
    return {("DVP", backbone, name): replace(usual, **changes.get(name.partition("-")[0], {})) for name in LANGUAGE}


_VILT, _METER = (10, 1, 1), {"heads": (50, 10, 5), "fusion": 5, "precision": "fp32"}
_BEST = {"keep": "best"}
_SHORT = {"epochs": 5, "head": 1, "warmup": 0.2}

RECIPES: dict[Key, Training] = {
    **_fusion("APT", "vilt", (256, 128, 256), (5e-4, 5e-4, 5e-4), _VILT),
    **_fusion("DAS", "vilt", (256, 128, 256), (1e-4, 5e-4, 5e-4), _VILT),
    **_fusion("APT", "meter", (512, 256, 512), (25e-6, 1e-5, 5e-5), **_METER),
    **_fusion("DAS", "meter", (512, 256, 512), (25e-6, 5e-5, 5e-5), **_METER),
    ("DAS", "lavin", "ScienceQA"): Training(20, 32, 1.125e-3, betas=(0.9, 0.95), weight_decay=0.02, schedule="cosine",
                                            precision=None),  # fmt: skip
    **_language("bert", Training(10, 256, 1e-4, light_lr=1e-3, head=10, **_BEST), GQA={"light_lr": 5e-4}, SNLI=_SHORT | {"light_lr": 5e-4}),
    **_language("t5", Training(10, 256, 2e-4, light_lr=3e-4, head=10, **_BEST), SNLI=_SHORT),
    **_language("llama", Training(10, 256, 5e-4, weight_decay=0.2, **_BEST), SNLI={"batch_size": 128}),
    ("DVP", "llama", "ScienceQA"): Training(20, 32, 1.25e-3, weight_decay=0.05),
}
"""LLaMA's are with adapters alone. Its and LaVIN's warm-up on ScienceQA is 2 of 20 epochs."""

VIEWS: dict[tuple[str, str], dict[str, int | str]] = {
    ("meter", "VQA2.0"): {"length": 50}, ("meter", "NLVR2"): {"length": 50, "side": 288},
    ("llama", "ScienceQA"): {"length": 512, "ending": ""}, ("lavin", "ScienceQA"): {"length": 512, "ending": ""},
}  # fmt: skip
"""(backbone, dataset) -> fields of suite.view.View that are other than the backbone's usual ones (papers.md sections 1 and 3.4).

On ScienceQA the letter of an option is what comes next, so nothing stands behind the text."""

PAPERS = {"vilt": "APT", "meter": "APT", "lavin": "DAS", "bert": "DVP", "t5": "DVP", "llama": "DVP"}
"""Whose settings a backbone's methods have."""
OF_DAS = ("das", "das_random")
"""Methods that have DAS's settings wherever it has some."""


def find(backbone: str, dataset: str, method: str) -> Training | None:
    """How the method's paper trained on it, or, of a baseline, the paper that compares with it; None where none did."""
    if backbone not in PAPERS:
        return None
    return RECIPES.get(("DAS" if method in OF_DAS else PAPERS[backbone], backbone, dataset))
