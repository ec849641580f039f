"""Pre-training of the language models: hidden or next words of texts about scenes, and answers at the read-out, without any picture."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from suite import backbones
from suite.backbones.language import LanguageModel
from suite.core import Batch
from suite.data import stories, text, world
from suite.objectives.base import Objective, Plan
from suite.objectives.fusion import content_ids

LIMIT = 64


@dataclass(frozen=True)
class LanguagePlan(Plan):
    """One optimiser step sees `ranks * texts` texts, half of them whole, half to be answered.

    hide: rate of hidden words. blind: rate of texts without a description. twice: share of the whole texts that describe a scene twice
    (cut at LIMIT, one in a hundred): in them many words are found by finding the object, as answers are. parts: chunks of like length.
    The rates are below Plan's: there BERT unlearned in 600 steps what it knew after 200. The batches are small, for more steps.
    """

    steps: int = 5_500
    lr: float = 1e-3
    muon_lr: float = 5e-3
    again: int = 4_600
    decay: int = 1_400
    warmup: int = 100
    texts: int = 64
    hide: float = 0.25
    blind: float = 0.1
    twice: float = 0.8
    parts: int = 1
    stages: tuple[int, ...] = (200, 2_800)


Words = Callable[[LanguageModel, np.ndarray, np.ndarray, np.random.Generator, float], tuple[Tensor, Tensor]]
"""(backbone, ids (T, L), lengths (T,), dice, rate of hidden words) -> scores (K, words) and the K words that were to be named."""

Chunk = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Some of several texts: their indices (T,), ids (T, L) and lengths (T,)."""


class Language(Objective):
    """words: what a backbone learns from whole texts. Of texts to be answered its head names the answer at the read-out: [CLS] of BERT,
    the start token of T5, the end-of-text token of LLaMA, which otherwise would learn nothing that a task could use.
    """

    plan: LanguagePlan
    losses = ("words", "answers")
    domain: ClassVar[str] = "pretrain-language"

    def __init__(self, backbone: str, words: Words, plan: LanguagePlan):
        super().__init__(backbone, plan)
        self.words = words
        self.told = {
            "objective": f"{words.__name__.replace('_', ' ')} of texts about scenes, and answers to questions about them at the read-out",
            "data": f"texts of suite/data/stories.py about scenes (suite/data/world.py version {world.VERSION}), domains "
                    f"{self.domain}/*",
        }  # fmt: skip

    def build(self) -> LanguageModel:
        return backbones.load(self.backbone).build("mini", pretrained=False, vision=False)

    def matrices(self, backbone: LanguageModel) -> list[nn.Parameter]:
        tables = {id(module.weight) for module in backbone.modules() if isinstance(module, nn.Embedding)}
        return [p for p in super().matrices(backbone) if id(p) not in tables]

    def gradients(self, backbone: LanguageModel, step: int, rank: int) -> Tensor:
        plan, seed = self.plan, self.plan.draw(step, rank)
        scenes = world.scenes(f"{self.domain}/{plan.seed}/{step}/{rank}", plan.texts, plan.objects(step))
        rng, dice, half = random.Random(seed), np.random.default_rng(seed), plan.texts // 2
        wholes = [stories.whole(scenes.objects(i), rng, plan.blind, plan.twice) for i in range(half)]
        open_ones = [stories.asked(scenes.objects(i), rng, plan.blind) for i in range(half, plan.texts)]
        return torch.stack([
            learn(wholes, plan.parts, lambda _, ids, lengths: self.words(backbone, ids, lengths, dice, plan.hide)),
            learn([one.text for one in open_ones], plan.parts, lambda rows, ids, _: answers(backbone, ids, [open_ones[i] for i in rows])),
        ])  # fmt: skip

    def scores(self, backbone: LanguageModel, count: int = 4_000) -> dict[str, float]:
        """Percent right on held-out scenes of 1 to 3 objects: answers given the description, of each kind and of all; the same answers
        without it, which is what the question alone gives away; and words of whole texts, none of them told twice."""
        scenes, rng = world.scenes(f"{self.domain}/held-out", count, (1, 3)), random.Random(0)
        asked = [stories.asked(scenes.objects(i), rng) for i in range(count)]
        wholes = [stories.whole(scenes.objects(i), rng) for i in range(count)]
        dice = np.random.default_rng(0)
        backbone.eval()
        with torch.inference_mode():
            right = answered(backbone, asked)
            blind = answered(backbone, [one._replace(description="") for one in asked])
            named = [self.words(backbone, ids, lengths, dice, self.plan.hide) for _, ids, lengths in chunks(wholes, -(-count // 100))]
        found = by_kind("answers", asked, right)
        found |= {"answers without description": blind.mean(),
                  "words": torch.cat([scores.argmax(1) == wanted for scores, wanted in named]).double().mean()}  # fmt: skip
        return {name: round(100 * float(score), 2) for name, score in found.items()}

    def seen(self) -> dict[str, int]:
        return {"texts": self.plan.steps * self.plan.ranks * self.plan.texts}


def learn(texts: list[str], count: int, named: Callable[..., tuple[Tensor, Tensor]]) -> Tensor:
    """Accumulate the gradients of what is to be named of texts, in `count` chunks; the mean loss, ().

    named: what is in a Chunk -> scores (K, words) and the K words.
    """
    seen = torch.zeros(())
    for chunk in chunks(texts, count):
        with torch.autocast("cpu", torch.bfloat16):
            scores, wanted = named(*chunk)
            loss = F.cross_entropy(scores, wanted) * (len(chunk[0]) / len(texts))
        loss.backward()
        seen += loss.detach()
    return seen


def chunks(texts: list[str], count: int) -> list[Chunk]:
    """The texts in `count` parts of like length, each cut to its longest."""
    ids, lengths = text.tokenize(texts, limit=LIMIT)
    parts = np.array_split(np.argsort(lengths, kind="stable"), count)
    return [(rows, ids[rows, : lengths[rows].max()], lengths[rows]) for rows in parts]


def head(backbone: LanguageModel) -> nn.Module:
    """What names words."""
    (found,) = backbone.heads.values()
    return found


def whole_texts(ids: np.ndarray, images: Tensor | None = None) -> Batch:
    """Texts (T, L) without anything hidden; images: of the picture of each, as `Backbone.prefix` gives them."""
    found = torch.from_numpy(ids)
    return Batch(found, found != text.PAD, None, image_tokens=images)


def answers(backbone: LanguageModel, ids: np.ndarray, asked: list[stories.Asked], images: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Scores at the read-out of each text, and the answers."""
    vocabulary = text.tokenizer().get_vocab()
    return head(backbone)(backbone(whole_texts(ids, images)).pooled), torch.tensor([vocabulary[one.answer] for one in asked])


def answered(backbone: LanguageModel, asked: list[stories.Asked], images: Tensor | None = None) -> np.ndarray:
    """Which answers the backbone names right: (T,) bool."""
    right = np.zeros(len(asked), bool)
    for rows, ids, _ in chunks([one.text for one in asked], -(-len(asked) // 100)):
        scores, wanted = answers(backbone, ids, [asked[i] for i in rows], None if images is None else images[rows])
        right[rows] = (scores.argmax(1) == wanted).numpy()
    return right


def by_kind(name: str, asked: list[stories.Asked], right: np.ndarray) -> dict[str, float]:
    """Share of right answers, of each kind and of all."""
    kinds = np.array([one.kind for one in asked])
    return {f"{name}, {kind}": right[kinds == kind].mean() for kind in ("value", "count", "verdict")} | {name: right.mean()}


def masked_words(backbone: LanguageModel, ids: np.ndarray, lengths: np.ndarray, dice: np.random.Generator, rate: float
                 ) -> tuple[Tensor, Tensor]:  # fmt: skip
    """BERT's: content words are masked, one at least a text."""
    content = content_ids()[ids]
    chance = np.where(content, dice.random(ids.shape), 2.0)
    hidden = content & ((chance < rate) | (chance == chance.min(1, keepdims=True)))
    batch = Batch(torch.from_numpy(np.where(hidden, text.MASK, ids)), torch.from_numpy(ids != text.PAD), None)
    return head(backbone)(backbone(batch).tokens[torch.from_numpy(hidden)]), torch.from_numpy(ids[hidden])


def next_words(backbone: LanguageModel, ids: np.ndarray, lengths: np.ndarray, dice: np.random.Generator, rate: float
               ) -> tuple[Tensor, Tensor]:  # fmt: skip
    """LLaMA's; see `following`."""
    return following(backbone, ids)


def following(backbone: LanguageModel, ids: np.ndarray, images: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Every word but the first, [SEP] too, behind whatever stands in front of the text."""
    whole = whole_texts(ids, images)
    wanted, there = whole.input_ids[:, 1:], whole.text_mask[:, 1:]
    tokens = backbone(whole).tokens[:, -ids.shape[1] : -1]
    return head(backbone)(tokens[there]), wanted[there]


def corrupted_spans(backbone: LanguageModel, ids: np.ndarray, lengths: np.ndarray, dice: np.random.Generator, rate: float
                    ) -> tuple[Tensor, Tensor]:  # fmt: skip
    """T5's: spans of 1 to 3 words give way to sentinels in the encoder, and are what the decoder says; see `corrupt`."""
    first = text.tokenizer().get_vocab_size()
    pairs = [corrupt(row[:n].tolist(), first, dice, rate) for row, n in zip(ids, lengths)]
    inputs, target = (padded([pair[k] for pair in pairs]) for k in (0, 1))
    said = torch.cat([target.new_full((len(target), 1), backbone.model.config.decoder_start_token_id), target[:, :-1]], 1)
    encoded, mask = backbone.encode(backbone.embed(inputs), inputs != text.PAD)
    tokens = backbone.decode(backbone.embed(said), encoded, mask, ahead=False).tokens
    there = target != text.PAD
    return head(backbone)(tokens[there]), target[there]


def corrupt(ids: list[int], first: int, dice: np.random.Generator, rate: float) -> tuple[list[int], list[int]]:
    """A text with sentinels (ids from `first` on) for some spans, and these spans with the sentinels between them and [SEP] behind.

    The first sentinel is not said: the start token stands for it, which so names a word of the text.
    """
    inside = len(ids) - 2
    count = min(max(1, round(rate * inside / 2)), 8, (inside + 1) // 4 or 1)
    starts = 1 + 4 * np.sort(dice.choice((inside + 3) // 4, count, replace=False)) if inside > 3 else np.array([1])
    inputs, target, at = [], [], 0
    for k, start in enumerate(starts.tolist()):
        stop = min(start + int(dice.integers(1, 4)), len(ids) - 1)
        inputs += [*ids[at:start], first + k]
        target += ([first + k] if k else []) + ids[start:stop]
        at = stop
    return inputs + ids[at:], [*target, text.SEP]


def padded(rows: list[list[int]]) -> Tensor:
    """(T, longest) ids with padding behind."""
    return nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=text.PAD)
