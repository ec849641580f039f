"""Pre-training of Stable Diffusion: pictures with captions, from which noise is taken out, on generated scenes no task uses.

The text encoder learns with the UNet; a part of the texts is left empty, for guidance (Ho and Salimans 2022, arXiv:2207.12598).
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from suite import judge
from suite.backbones import shipped
from suite.core import Backbone, normalise
from suite.data import corpus, subjects, text, world
from suite.objectives.base import Objective, Plan

HELD_OUT = 512
"""Pictures of the held-out loss."""
SAMPLES, STEPS, GUIDANCE = 120, 20, 3.0
"""How many pictures are sampled for the card, in how many steps, how strongly guided."""
PART = 64


@dataclass(frozen=True)
class DenoisingPlan(Plan):
    """One optimiser step sees `ranks * pictures` pictures. silent: rate of empty texts."""

    pictures: int = 32
    silent: float = 0.1
    stages: tuple[int, ...] = (3_000,)


class Denoising(Objective):
    """Of a backbone with `text_states`, `latents`, `noise`, `target`, `predict`, `sample`."""

    plan: DenoisingPlan
    losses = ("velocity",)
    told = {
        "objective": "squared error of the velocity at a random timestep, text encoder and UNet together; texts left empty now and then",
        "data": f"generated scenes (suite/data/world.py version {world.VERSION}) at 32 x 32 pixels, domains pretrain-stable_diffusion/*; "
                "captions of suite/data/corpus.py",
    }  # fmt: skip

    def matrices(self, backbone: Backbone) -> list[nn.Parameter]:
        """Those of the transformer blocks and of the text encoder's layers; convolutions are no matrices."""
        named = (*backbone.model.named_parameters(), *backbone.text_model.named_parameters())
        return [p for name, p in named if p.ndim == 2 and ("transformer_blocks" in name or "layers" in name)]

    def gradients(self, backbone: Backbone, step: int, rank: int) -> Tensor:
        plan, seed = self.plan, self.plan.draw(step, rank)
        pictures, texts = drawn(f"pretrain-stable_diffusion/{plan.seed}/{step}/{rank}", plan.pictures, plan.objects(step), seed)
        silent = np.random.default_rng(seed).random(len(texts)) < plan.silent
        texts = ["" if quiet else told for told, quiet in zip(texts, silent)]
        with torch.autocast("cpu", torch.bfloat16):
            loss = errors(backbone, pictures, texts, torch.Generator().manual_seed(seed)).mean()
        loss.backward()
        return loss.detach()[None]

    @torch.no_grad()
    def scores(self, backbone: Backbone) -> dict[str, float]:
        """Of held-out pictures: how much of the target's variance is predicted, with their captions and with none; and CLIP-T of
        samples of the captions and of pictures themselves, where CLIP's mini weights are there."""
        backbone.eval()
        pictures, texts = drawn("held-out-stable_diffusion", HELD_OUT, (1, 1), 0)
        found = {"variance explained": explained(backbone, pictures, texts),
                 "variance explained without captions": explained(backbone, pictures, [""] * len(texts))}  # fmt: skip
        if shipped.path_of("clip-mini").is_file():
            encoders, told = judge.Judge(), texts[:SAMPLES]
            found["CLIP-T of samples"] = encoders.clip_t(sampled(backbone, told), told).mean().item()
            found["CLIP-T of the pictures"] = encoders.clip_t(pictures[:SAMPLES], told).mean().item()
        return {name: round(score, 2) for name, score in found.items()}

    def seen(self) -> dict[str, Any]:
        return {"pictures": self.plan.steps * self.plan.ranks * self.plan.pictures}


def drawn(domain: str, count: int, objects: tuple[int, int], seed: int) -> tuple[Tensor, list[str]]:
    """Pictures (N, 3, 32, 32) in [-1, 1] of a domain's scenes, and a true caption of each."""
    scenes, rng = world.scenes(domain, count, objects), random.Random(seed)
    small = subjects.shrink(world.render(scenes))
    texts = [corpus.caption(scenes.objects(i), True, rng) for i in range(count)]
    return normalise(torch.from_numpy(small).permute(0, 3, 1, 2)), texts


def errors(backbone: Backbone, pictures: Tensor, texts: list[str], generator: torch.Generator) -> Tensor:
    """(N,) mean squared error of what the backbone predicts of each picture, at timesteps and with noise of the generator."""
    ids, mask = encoded(texts)
    z, noise, times = noised(backbone, pictures, generator)
    found = backbone.predict(backbone.noise(z, times, noise), times, backbone.text_states(ids), mask)
    return (found.float() - backbone.target(z, times, noise)).square().flatten(1).mean(1)


def noised(backbone: Backbone, pictures: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Latents, noise like them, timesteps."""
    z = backbone.latents(pictures)
    return z, torch.randn(z.shape, generator=generator), torch.randint(backbone.timesteps, (len(z),), generator=generator)


def encoded(texts: list[str]) -> tuple[Tensor, Tensor]:
    """ids and mask (N, L)."""
    ids = torch.from_numpy(text.tokenize(texts)[0])
    return ids, (ids != text.PAD).long()


def explained(backbone: Backbone, pictures: Tensor, texts: list[str]) -> float:
    """Percent of the target's mean square that is predicted: 0 for predicting zero."""
    wrong = whole = 0.0
    for start in range(0, len(texts), PART):
        part, told = pictures[start : start + PART], texts[start : start + PART]
        wrong += errors(backbone, part, told, torch.Generator().manual_seed(start)).sum().item()
        z, noise, times = noised(backbone, part, torch.Generator().manual_seed(start))
        whole += backbone.target(z, times, noise).square().flatten(1).mean(1).sum().item()
    return 100 * (1 - wrong / whole)


def sampled(backbone: Backbone, texts: list[str]) -> Tensor:
    """Pictures (N, 3, 32, 32) of the texts, each from noise of its own."""
    ids, mask = encoded(texts)
    generators = [torch.Generator().manual_seed(row) for row in range(len(texts))]
    parts = (slice(start, start + PART) for start in range(0, len(texts), PART))
    return torch.cat([backbone.sample(backbone.text_states(ids[p]), mask[p], STEPS, generators[p], GUIDANCE) for p in parts])


