"""Pre-training of LaVIN on top of LLaMA: captions of pictures and answers about them, among texts as before, so that image tokens mean
something before a task is learnt."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from suite import backbones
from suite.backbones.lavin import LaVIN
from suite.data import corpus, stories, world
from suite.objectives.language import Language, LanguagePlan, answered, answers, by_kind, following, learn, next_words
from suite.probe import CHUNK, pixels


@dataclass(frozen=True)
class CaptionsPlan(LanguagePlan):
    """One optimiser step sees LanguagePlan's texts and `ranks * pictures` pictures, each with a caption and a question."""

    steps: int = 2_400
    again: int = 1_900
    decay: int = 650
    texts: int = 32
    stages: tuple[int, ...] = (150, 800)
    pictures: int = 64


class Captions(Language):
    """Of a backbone with `begin` and `vision`. The image tower stays as it is.

    Of a picture the text says nothing before a question: the answer has to come from the image tokens.
    """

    plan: CaptionsPlan
    losses = ("words", "answers", "captions", "picture answers")
    domain: ClassVar[str] = "pretrain-lavin"

    def __init__(self, backbone: str, plan: CaptionsPlan):
        super().__init__(backbone, next_words, plan)
        self.told = {
            "objective": "on top of LLaMA's weights, with CLIP's image tower frozen: next words of captions of pictures, and answers to "
                         "questions about pictures at the read-out; among them texts without a picture, as in LLaMA's pre-training",
            "data": f"pictures of scenes (suite/data/world.py version {world.VERSION}) with captions of suite/data/corpus.py and questions "
                    f"of suite/data/stories.py, and that file's texts, domains {self.domain}/*",
        }  # fmt: skip

    def build(self) -> LaVIN:
        """With LLaMA's weights. Raises UserError where these or CLIP's cannot be had."""
        return backbones.load(self.backbone).begin("mini")

    def gradients(self, backbone: LaVIN, step: int, rank: int) -> Tensor:
        plan, rng = self.plan, random.Random(self.plan.draw(step, rank))
        texts = super().gradients(backbone, step, rank)
        scenes = world.scenes(f"{self.domain}/pictures/{plan.seed}/{step}/{rank}", plan.pictures, plan.objects(step))
        captions = [corpus.caption(scenes.objects(i), True, rng) for i in range(len(scenes))]
        asked = questions(scenes, rng)
        with torch.autocast("cpu", torch.bfloat16):
            images = states(backbone, scenes)
        pictures = [
            learn(captions, plan.parts, lambda rows, ids, _: following(backbone, ids, images[rows])),
            learn([one.text for one in asked], plan.parts,
                  lambda rows, ids, _: answers(backbone, ids, [asked[i] for i in rows], images[rows])),
        ]  # fmt: skip
        return torch.cat([texts, torch.stack(pictures)])

    def scores(self, backbone: LaVIN, count: int = 4_000) -> dict[str, float]:
        """Percent right on held-out scenes of 1 to 3 objects: Language's, of texts without a picture; and answers about pictures, of each
        kind and of all, and the same answers without the picture, which is what the question alone gives away."""
        scenes = world.scenes(f"{self.domain}/pictures/held-out", count, (1, 3))
        asked, found = questions(scenes, random.Random(0)), super().scores(backbone, count)
        with torch.inference_mode():
            right, blind = answered(backbone, asked, states(backbone, scenes)), answered(backbone, asked)
        pictures = by_kind("answers from pictures", asked, right) | {"answers without the picture": blind.mean()}
        return found | {name: round(100 * float(score), 2) for name, score in pictures.items()}

    def seen(self) -> dict[str, int]:
        """Two texts a picture are among the texts."""
        pictures = self.plan.steps * self.plan.ranks * self.plan.pictures
        return {"pictures": pictures, "texts": super().seen()["texts"] + 2 * pictures}


def questions(scenes: world.Scenes, rng: random.Random) -> list[stories.Asked]:
    """One about each scene, without a description of it."""
    return [stories.asked(scenes.objects(i), rng, blind=1.0) for i in range(len(scenes))]


@torch.no_grad()
def states(backbone: LaVIN, scenes: world.Scenes) -> Tensor:
    """What the frozen tower sees of each scene: (N, M, V)."""
    return torch.cat([backbone.vision.image_states(part) for part in pixels(scenes).split(CHUNK)])
