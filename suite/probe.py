"""What a pre-trained backbone knows of held-out scenes: masked content words and image-text matching."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator

import numpy as np
import torch

from suite.core import Backbone, Batch, normalise
from suite.data import corpus, text, world
from suite.data.facts import ATTRIBUTES, Exists, ask, describe, number, some_keys
from suite.data.wording import value
from suite.data.world import Object

CHUNK = 250


def pixels(scenes: world.Scenes) -> torch.Tensor:
    """The pictures of scenes as a backbone takes them: (N, 3, 64, 64)."""
    return normalise(torch.from_numpy(world.render(scenes)).permute(0, 3, 1, 2).contiguous())


def cloze(objs: list[Object], kind: str, rng: random.Random) -> tuple[str, str]:
    """A true text with [MASK] for one content word that the picture determines, and that word.

    kind: `attribute` (of a described object), `answer` (of a question), `check` (yes or no).
    """
    while True:
        if kind == "attribute":
            what = describe(rng.choice(objs), some_keys(rng, place=0.4))
            key = rng.choice(list(what))
            if sum(number(objs, {**what, key: v}) > 0 for v in range(len(ATTRIBUTES[key]))) == 1:
                word = value(key, what[key])
                return re.sub(rf"\b{word}\b", "[MASK]", corpus.tell(Exists(what), rng), count=1), word
        elif kind == "answer":
            if query := ask(objs, rng):
                return f"{corpus.question(query, rng)} [MASK]", value(query.attribute, query.answer)
        else:
            found = corpus.checked(objs, True, rng)
            if found and "{w}" in found[0]:
                return found[0].replace("{w}", "[MASK]"), found[1]


def masked_words(backbone: Backbone, scenes: world.Scenes, kind: str, seed: int = 0) -> float:
    """Percent of hidden words that the masked-word head names right, one text a scene."""
    rng = random.Random(seed)
    texts, words = zip(*(cloze(scenes.objects(i), kind, rng) for i in range(len(scenes))))
    vocabulary, right = text.tokenizer().get_vocab(), 0
    for at, batch in _batches(scenes, list(texts)):
        states = backbone(batch).tokens[:, : batch.input_ids.shape[1]][batch.input_ids == text.MASK]
        right += int((backbone.heads["mlm"](states).argmax(1) == torch.tensor([vocabulary[words[i]] for i in at])).sum())
    return 100 * right / len(scenes)


def matching(backbone: Backbone, scenes: world.Scenes, long: bool, seed: int = 0) -> float:
    """Percent of texts, half of them false, that the matching head judges right; captions where `long`, else claims and answers."""
    rng = random.Random(seed)
    make = corpus.caption if long else corpus.short
    truths = [i % 2 == 0 for i in range(len(scenes))]
    texts = [corpus.plain(make(scenes.objects(i), truth, rng)) for i, truth in enumerate(truths)]
    right = 0
    for at, batch in _batches(scenes, texts):
        right += int((backbone.heads["itm"](backbone(batch).pooled).argmax(1) == torch.tensor([int(truths[i]) for i in at])).sum())
    return 100 * right / len(scenes)


def held_out(backbone: Backbone, count: int = 4000) -> dict[str, float]:
    """All scores on held-out scenes of 1 to 3 objects, in percent."""
    scenes = world.scenes("held-out", count, (1, 3))
    backbone.eval()
    with torch.inference_mode():
        scores = {f"masked {kind}": masked_words(backbone, scenes, kind) for kind in ("attribute", "answer", "check")}
        scores |= {"matching captions": matching(backbone, scenes, True), "matching claims": matching(backbone, scenes, False)}
    scores["masked content words"] = float(np.mean([scores[f"masked {kind}"] for kind in ("attribute", "answer", "check")]))
    scores["matching"] = float(np.mean([scores["matching captions"], scores["matching claims"]]))
    return {name: round(score, 2) for name, score in scores.items()}


def _batches(scenes: world.Scenes, texts: list[str]) -> Iterator[tuple[range, Batch]]:
    for start in range(0, len(scenes), CHUNK):
        at = range(start, min(start + CHUNK, len(scenes)))
        ids, lengths = text.tokenize([texts[i] for i in at])
        mask = torch.from_numpy((np.arange(ids.shape[1]) < lengths[:, None]).astype(np.int64))
        yield at, Batch(torch.from_numpy(ids), mask, pixels(scenes.take(np.array(at))))
