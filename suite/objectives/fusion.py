"""Pre-training of the fusion models: masked words and image-text matching on generated scenes no task uses."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from suite.core import Backbone
from suite.data import corpus, text, wording, world
from suite.objectives.base import Objective, Plan
from suite.probe import held_out, pixels
from suite.stem import warm_up

WORDS, MATCH = range(2)
KINDS = {"words": WORDS, "match": MATCH}


@dataclass(frozen=True)
class FusionPlan(Plan):
    """One optimiser step sees `ranks * scenes * texts` texts.

    stem_steps: of the warm-up of the patch stem. hide: rate at which content words are masked.
    """

    scenes: int = 32
    texts: int = 4
    stem_steps: int = 800
    hide: float = 0.35
    stages: tuple[int, ...] = (300, 1_000)


class Fusion(Objective):
    """Of a backbone with `image_tokens`, `fuse`, `read_at`, `stem`, and the heads `itm` and `mlm`."""

    plan: FusionPlan
    losses = ("words", "matching", "right words", "wrong words")
    told = {
        "objective": "masked content words; image-text matching, of whole texts and of single words, false texts mostly one word away; "
                     "the patch stem was first trained to name the object at each patch (suite/stem.py)",
        "data": f"generated scenes (suite/data/world.py version {world.VERSION}), domains pretrain/*; texts of suite/data/corpus.py",
    }  # fmt: skip

    def prepare(self, backbone: Backbone) -> None:
        warm_up(backbone.stem, backbone.head_width // 2, self.plan.stem_steps, self.plan.seed)

    def gradients(self, backbone: Backbone, step: int, rank: int) -> Tensor:
        plan = self.plan
        scenes = world.scenes(f"pretrain/{plan.seed}/{step}/{rank}", plan.scenes, plan.objects(step))
        batch = texts(scenes, plan.texts, plan.hide, seed=plan.draw(step, rank))
        totals = counts(batch)
        image = backbone.image_tokens(pixels(scenes))
        leaf, seen = image.detach().requires_grad_(), torch.zeros(4)
        for part in batch.chunks(3):
            with torch.autocast("cpu", torch.bfloat16):
                sums = losses(backbone, leaf, part) / totals
            sums.sum().backward()
            seen += sums.detach()
        image.backward(leaf.grad)
        return seen

    def scores(self, backbone: Backbone) -> dict[str, float]:
        return held_out(backbone)

    def seen(self) -> dict[str, Any]:
        return {"texts": self.plan.steps * self.plan.ranks * self.plan.scenes * self.plan.texts}


@dataclass
class Texts:
    """T texts of one step. ids (T, L); lengths (T,); image (T,): their scene; kind (T,): WORDS or MATCH;
    target (T, L): the hidden ids, -100 elsewhere; fits (T, L): content words 1, wrong ones 0, elsewhere or unknown -1;
    truth (T,): 1 where the text fits."""

    ids: np.ndarray
    lengths: np.ndarray
    image: np.ndarray
    kind: np.ndarray
    target: np.ndarray
    fits: np.ndarray
    truth: np.ndarray

    def chunks(self, count: int) -> list[Texts]:
        """The same texts sorted by length, in `count` parts cut to their longest."""
        parts = np.array_split(np.argsort(self.lengths, kind="stable"), count)
        longest = [int(self.lengths[part].max()) for part in parts]
        return [Texts(self.ids[p, :n], self.lengths[p], self.image[p], self.kind[p], self.target[p, :n], self.fits[p, :n], self.truth[p])
                for p, n in zip(parts, longest)]


@cache
def content_ids() -> np.ndarray:
    """Boolean table over the vocabulary: is the piece a content word?"""
    vocabulary = text.tokenizer().get_vocab()
    table = np.zeros(len(vocabulary), bool)
    table[[vocabulary[word] for word in wording.CONTENT if word in vocabulary]] = True
    return table


def texts(scenes: world.Scenes, each: int, hide: float, seed: int) -> Texts:
    """`each` samples a scene, the first a caption; content words of `words` samples are hidden at the rate `hide`, one at least."""
    rng, dice = random.Random(seed), np.random.default_rng(seed)
    samples = [corpus.sample(scenes.objects(i), k == 0, rng) for i in range(len(scenes)) for k in range(each)]
    ids, lengths, wrong = unmark(*text.tokenize([s.text for s in samples], limit=40))
    kind, content = np.array([KINDS[s.kind] for s in samples]), content_ids()[ids]
    hidden = content & (kind == WORDS)[:, None]
    chance = np.where(hidden, dice.random(ids.shape), 2.0)
    hidden &= (chance < hide) | (chance == chance.min(1, keepdims=True))
    truth = np.array([int(s.truth) for s in samples])
    known = (kind == MATCH) & ((truth == 1) | wrong.any(1))
    fits = np.where(content & known[:, None], 1 - wrong, -1)
    image = np.repeat(np.arange(len(scenes)), each)
    return Texts(np.where(hidden, text.MASK, ids), lengths, image, kind, np.where(hidden, ids, -100), fits, truth)


def unmark(ids: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Take the marks (they are unknown to the tokenizer) out of padded ids (T, L); ids, lengths, and which tokens they stood before."""
    ids, lengths, wrong = ids.copy(), lengths.copy(), np.zeros(ids.shape, int)
    for row, at in np.argwhere(ids == text.UNK)[::-1]:
        for table in (ids, wrong):
            table[row, at:-1], table[row, -1] = table[row, at + 1 :].copy(), 0
        wrong[row, at] = 1
        lengths[row] -= 1
    return ids[:, : lengths.max()], lengths, wrong[:, : lengths.max()]


def losses(backbone: Backbone, image: Tensor, part: Texts) -> Tensor:
    """Summed losses (hidden words, matching of texts, right words, wrong words) of a chunk: (4,)."""
    ids = torch.from_numpy(part.ids)
    mask = torch.from_numpy(np.arange(part.ids.shape[1]) < part.lengths[:, None])
    features = backbone.fuse(ids, mask, image[torch.from_numpy(part.image)])
    target, kind, truth, fits = (torch.from_numpy(a) for a in (part.target, part.kind, part.truth, part.fits))
    tokens, hidden, judged = features.tokens[:, : ids.shape[1]], target >= 0, kind == MATCH
    matches = backbone.heads["itm"]
    terms = [(backbone.heads["mlm"](tokens[hidden]), target[hidden]), (matches(features.pooled[judged]), truth[judged])]
    terms += [(matches(backbone.read_at(features, fits == k)), fits[fits == k]) for k in (1, 0)]
    return torch.stack([F.cross_entropy(scores, wanted, reduction="sum") for scores, wanted in terms])


def counts(batch: Texts) -> Tensor:
    """How many terms each of the `losses` has: (4,), at least 1."""
    found = [batch.target >= 0, batch.kind == MATCH, batch.fits == 1, batch.fits == 0]
    return torch.tensor([part.sum() for part in found]).clamp(min=1)
