"""Objectives of pre-training by backbone."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from suite.objectives.base import Objective

_PATIENT: dict[str, Any] = {"lr": 1e-3, "muon_lr": 5e-3, "texts": 64, "parts": 1, "twice": 0.8}
"""Of BERT and T5: at the rates of Plan, BERT unlearned in 600 steps what it knew after 200. The smaller batches give more steps."""


@cache
def all_of() -> dict[str, Objective]:
    """Backbone -> its objective, in the order in which they can be made."""
    from suite.objectives.captions import Captions, CaptionsPlan
    from suite.objectives.contrastive import Contrastive, ContrastivePlan
    from suite.objectives.denoising import Denoising, DenoisingPlan
    from suite.objectives.fusion import Fusion, FusionPlan
    from suite.objectives.language import Language, LanguagePlan, corrupted_spans, masked_words, next_words

    return {
        "vilt": Fusion("vilt", FusionPlan()),
        "meter": Fusion("meter", FusionPlan(steps=5_500, again=4_500, decay=1_500, lr=1.5e-3, muon_lr=1e-2, stages=(800, 1_800))),
        "clip": Contrastive("clip", ContrastivePlan(steps=2_200, again=1_700, decay=650, warmup=100)),
        "bert": Language("bert", masked_words, LanguagePlan(steps=7_000, again=5_800, decay=1_800, stages=(200, 3_500), **_PATIENT)),
        "t5": Language("t5", corrupted_spans, LanguagePlan(steps=5_500, again=4_600, decay=1_400, stages=(200, 2_800), **_PATIENT)),
        "llama": Language("llama", next_words, LanguagePlan(steps=1_900, again=1_500, decay=550)),
        "lavin": Captions("lavin", CaptionsPlan()),
        "stable_diffusion": Denoising("stable_diffusion", DenoisingPlan(steps=4_600, again=3_700, decay=1_300, lr=2e-3, muon_lr=1e-2)),
    }
