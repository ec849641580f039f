"""Objectives of pre-training by backbone."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from suite.objectives.base import Objective


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
        "bert": Language("bert", masked_words, LanguagePlan(steps=7_000, again=5_800, decay=1_800, stages=(200, 3_500))),
        "t5": Language("t5", corrupted_spans, LanguagePlan()),
        "llama": Language("llama", next_words, LanguagePlan()),
        "lavin": Captions("lavin", CaptionsPlan()),
        "stable_diffusion": Denoising("stable_diffusion", DenoisingPlan(steps=4_600, again=3_700, decay=1_300, lr=2e-3, muon_lr=1e-2)),
    }
