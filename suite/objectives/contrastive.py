"""Pre-training of CLIP: which caption belongs to which picture, on generated scenes no task uses.

Captions leave much unsaid, so many are true of other pictures too: truth is known here, and only false pairs count as such.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from suite.core import Backbone
from suite.data import corpus, text, world
from suite.data.facts import Description, describe, falsify, some_keys
from suite.data.wording import phrase
from suite.data.world import Object
from suite.objectives.base import Objective, Plan
from suite.probe import pixels
from suite.stem import warm_up

LIMIT = 32
"""Tokens of a caption."""
LARGEST = 100.0
"""Of the logit scale (Radford et al. 2021, section 2.5)."""
NEVER = -1e4
CHUNKS = 4
GALLERY = 60
CHOICES = tuple(product(range(len(world.COLOURS)), range(len(world.SHAPES))))
"""All objects by colour and shape."""
STREAMS = {"image": ("vision_model", "post_layernorm", ("pre_layrnorm",)),
           "text": ("text_model", "final_layer_norm", ("embeddings.token_embedding", "embeddings.position_embedding"))}
"""Of each tower: its name, the norm behind its last layer, and what first writes its residual stream."""
EVERY = ("size", "colour", "shape", "row", "column")


@dataclass(frozen=True)
class ContrastivePlan(Plan):
    """One optimiser step sees `ranks * scenes` pictures with `texts` true captions each, and as many false ones, a word away.

    Every process compares its own pictures. stem_steps: as FusionPlan's.
    """

    scenes: int = 128
    texts: int = 2
    stem_steps: int = 500
    stages: tuple[int, ...] = (150, 400)


class Contrastive(Objective):
    """Of a backbone with `image_features`, `text_features`, `logit_scale`, `stem` and `vision_width`."""

    plan: ContrastivePlan
    losses = ("captions", "pictures")
    told = {
        "objective": "image-text contrast; false captions of the same picture, one word away, among the others; pairs that are true by "
                     "accident left out; the patch stem was first trained to name the object at each patch (suite/stem.py)",
        "data": f"generated scenes (suite/data/world.py version {world.VERSION}), domains pretrain-clip/*; captions in the templates of "
                "suite/data/corpus.py",
    }  # fmt: skip

    def prepare(self, backbone: Backbone) -> None:
        warm_up(backbone.stem, backbone.vision_width, self.plan.stem_steps, self.plan.seed)

    def gradients(self, backbone: Backbone, step: int, rank: int) -> Tensor:
        plan = self.plan
        scenes = world.scenes(f"pretrain-clip/{plan.seed}/{step}/{rank}", plan.scenes, plan.objects(step))
        batch = captions(scenes, plan.texts, seed=plan.draw(step, rank))
        with torch.autocast("cpu", torch.bfloat16):
            image, texts = backbone.image_features(pixels(scenes)), features(backbone, batch.texts)
        losses = contrast(backbone.logit_scale.clamp(max=LARGEST) * image.float() @ texts.float().T, batch)
        losses.sum().backward()
        return losses.detach()

    def settle(self, backbone: Backbone) -> None:
        scenes = world.scenes("pretrain-clip/settle", 256, (1, 3))
        unit_streams(backbone, pixels(scenes), captions(scenes, 1, seed=0).texts)

    def scores(self, backbone: Backbone) -> dict[str, float]:
        return held_out(backbone)

    def seen(self) -> dict[str, Any]:
        pictures = self.plan.steps * self.plan.ranks * self.plan.scenes
        return {"pictures": pictures, "texts": 2 * pictures * self.plan.texts}


@torch.no_grad()
def unit_streams(backbone: Backbone, pictures: Tensor, texts: list[str]) -> None:
    """Scale each tower's residual stream to a root mean square of 1 behind its last layer; what the backbone computes stays the same
    but for the norms' epsilon.

    Every layer begins with a norm and so does the projection, so training leaves the scale where it drifts (here 23 in the image tower),
    and what methods add to the stream, or take from it as visual tokens, would be of another order than what it meets.
    """
    for stream, (tower, last, entrance) in STREAMS.items():
        found: list[Tensor] = []
        hook = backbone.model.get_submodule(f"{tower}.{last}").register_forward_pre_hook(lambda module, inputs: found.append(inputs[0]))
        backbone.image_features(pictures) if stream == "image" else features(backbone, texts)
        hook.remove()
        factor = torch.cat([part.flatten() for part in found]).square().mean().rsqrt()
        outputs = [backbone.model.get_submodule(site.linears["out"]) for site in backbone.sites("self", "ffn") if site.stream == stream]
        entrances = [backbone.model.get_submodule(f"{tower}.{name}") for name in entrance]
        for parameter in {p for module in (*outputs, *entrances) for p in module.parameters()}:
            parameter.mul_(factor)


@dataclass
class Captions:
    """T texts of I pictures. holds (I, T) bool: is it true there? own (I, T) bool: was it written for this picture, and true?"""

    texts: list[str]
    holds: Tensor
    own: Tensor


def captions(scenes: world.Scenes, each: int, seed: int) -> Captions:
    """`each` true captions a scene, the first of all objects, the others of some, and after each one that is false, by one word."""
    rng = random.Random(seed)
    found: list[list[Description]] = []
    for objs in map(scenes.objects, range(len(scenes))):
        for k in range(each):
            told = [describe(obj, some_keys(rng, place=0.4)) for obj in rng.sample(objs, rng.randint(1, len(objs)) if k else len(objs))]
            found += [told, _wrong(told, objs, rng)]
    texts = [written(parts, rng) for parts in found]
    own = torch.zeros(len(scenes), len(texts), dtype=torch.bool)
    own[torch.arange(len(texts)) // (2 * each), torch.arange(len(texts))] = True
    own[:, 1::2] = False
    return Captions(texts, torch.from_numpy(truth(scenes, found)), own)


def written(parts: list[Description], rng: random.Random) -> str:
    """Descriptions as a caption."""
    noun = rng.choice(corpus.NOUNS)
    return corpus.listed([phrase(part, noun) for part in parts], rng)


def _wrong(told: list[Description], objs: list[Object], rng: random.Random) -> list[Description]:
    spot = rng.randrange(len(told))
    return [falsify(part, objs, rng) if k == spot else part for k, part in enumerate(told)]


def truth(scenes: world.Scenes, found: list[list[Description]]) -> np.ndarray:
    """(I, T) bool: does some object of the scene fit, for every description of the text?"""
    there = np.arange(world.SLOTS) < scenes.count[:, None]
    parts = np.array([[part.get(key, -1) for key in EVERY] for told in found for part in told])
    fits = there[:, None, :] & np.ones((1, len(parts), 1), bool)
    for wanted, key in zip(parts.T, EVERY):
        fits &= (wanted[None, :, None] < 0) | (getattr(scenes, key)[:, None, :] == wanted[None, :, None])
    first = np.cumsum([0, *(len(told) for told in found[:-1])])
    return np.logical_and.reduceat(fits.any(2), first, axis=1)


def features(backbone: Backbone, texts: list[str]) -> Tensor:
    """(T, E), computed in chunks of texts of like length."""
    ids, lengths = text.tokenize(texts, LIMIT)
    order = np.argsort(lengths, kind="stable")
    parts = [torch.from_numpy(ids[rows, : lengths[rows].max()]) for rows in np.array_split(order, min(CHUNKS, len(order)))]
    return torch.cat([backbone.text_features(part, part != text.PAD) for part in parts])[torch.from_numpy(np.argsort(order))]


def contrast(scores: Tensor, batch: Captions) -> Tensor:
    """Mean losses (2,) of scores (I, T): each true caption against the false ones of its picture, and against the pictures where it
    is false; the symmetric loss of Radford et al. 2021 (figure 3) but for what is left out."""
    false = scores.masked_fill(batch.holds, NEVER)
    picture, caption = batch.own.nonzero(as_tuple=True)
    right = scores[picture, caption]
    return torch.stack([F.softplus(false.logsumexp(1)[picture] - right).mean(), F.softplus(false.logsumexp(0)[caption] - right).mean()])


def held_out(backbone: Backbone, singles: int = 2000, pictures: int = 1200) -> dict[str, float]:
    """Percent on held-out scenes: colour and shape of single objects, named among all of them; and, among GALLERY pictures of 1 to 3
    objects described in full, the right caption of a picture and the right picture of a caption, recall at 1, mean of both."""
    backbone.eval()
    with torch.inference_mode():
        found = {f"colour and shape among {len(CHOICES)}": naming(backbone, singles), f"recall among {GALLERY}": recall(backbone, pictures)}
    return {name: round(score, 2) for name, score in found.items()}


def naming(backbone: Backbone, count: int) -> float:
    """Zero-shot accuracy, in percent, of single objects among all colours x shapes ("a red circle")."""
    scenes = world.scenes("held-out-clip/single", count, (1, 1))
    prompts = features(backbone, ["a " + phrase({"colour": colour, "shape": shape}) for colour, shape in CHOICES])
    said = torch.cat([backbone.image_features(part) for part in pixels(scenes).split(GALLERY)]) @ prompts.T
    right = torch.from_numpy(scenes.colour[:, 0] * len(world.SHAPES) + scenes.shape[:, 0])
    return 100 * (said.argmax(1) == right).double().mean().item()


def recall(backbone: Backbone, count: int) -> float:
    """Mean recall at 1, in percent, over galleries of GALLERY pictures; what is true by accident counts as right."""
    scenes, rng, right = world.scenes("held-out-clip/gallery", count, (1, 3)), random.Random(0), []
    for start in range(0, count, GALLERY):
        part = scenes.take(np.arange(start, min(start + GALLERY, count)))
        found = [[describe(obj, EVERY) for obj in part.objects(i)] for i in range(len(part))]
        scores = backbone.image_features(pixels(part)) @ features(backbone, [written(told, rng) for told in found]).T
        holds = torch.from_numpy(truth(part, found))
        right += [holds.gather(1, scores.argmax(1, keepdim=True)), holds.gather(0, scores.argmax(0, keepdim=True)).T]
    return 100 * torch.cat(right).double().mean().item()
