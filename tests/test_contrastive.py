"""Contrastive pre-training: which captions are true of which pictures, the losses, the scores."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from built import assert_close
from clips import mini

from suite import objectives, pretrain
from suite.backbones import clip
from suite.core import seed_everything
from suite.data import text, world
from suite.data.facts import describe, number, some_keys
from suite.objectives import contrastive
from suite.objectives.contrastive import NEVER, Captions, Contrastive, ContrastivePlan
from tests import reading

TINY = ContrastivePlan(steps=4, stem_steps=3, ranks=1, scenes=8, warmup=2, decay=2, again=3, stages=(1, 2), save=2)


@pytest.fixture(scope="module")
def scenes() -> world.Scenes:
    return world.scenes("test-contrastive", 40, (1, 3))


@pytest.fixture(scope="module")
def backbone() -> clip.CLIP:
    return mini()


def test_captions_are_true_and_false_as_they_say(scenes: world.Scenes) -> None:
    batch = contrastive.captions(scenes, 2, seed=1)
    assert len(batch.texts) == 160 and batch.own.sum() == 80 and batch.own[torch.arange(40), torch.arange(0, 160, 4)].all()
    assert batch.holds[batch.own].all() and not any(batch.holds[i, 4 * i + k] for i in range(40) for k in (1, 3))
    for i, row in enumerate(batch.holds.tolist()):
        objs = scenes.objects(i)
        assert row == [all(reading.fitting(objs, phrase) for phrase in reading.PHRASE.findall(said)) for said in batch.texts], i
    others = batch.holds & ~batch.own
    assert 0.01 < others.double().mean() < 0.3, "by accident"
    assert contrastive.captions(scenes, 2, seed=1).texts == batch.texts != contrastive.captions(scenes, 2, seed=2).texts


def test_truth_agrees_with_the_facts(scenes: world.Scenes) -> None:
    rng = random.Random(0)
    found = [[describe(obj, some_keys(rng)) for obj in rng.sample(scenes.objects(i), int(scenes.count[i]))] for i in range(40)]
    wanted = [[all(number(scenes.objects(i), part) for part in told) for told in found] for i in range(40)]
    assert contrastive.truth(scenes, found).tolist() == wanted


def test_captions_fit_the_positions() -> None:
    batch = contrastive.captions(world.scenes("test-contrastive/long", 300, (3, 3)), 2, seed=0)
    lengths = text.tokenize(batch.texts, 99)[1]
    assert (lengths <= contrastive.LIMIT).mean() > 0.99


def test_the_losses_leave_out_what_is_true_by_accident() -> None:
    """Two pictures; texts: of the first, its false one, of the second, which is true of the first as well, its false one."""
    scores = torch.tensor([[2.0, 1.0, 5.0, 0.5], [0.3, 0.1, 1.5, -0.5]], requires_grad=True)
    holds = torch.tensor([[True, False, True, False], [False, False, True, False]])
    own = torch.tensor([[True, False, False, False], [False, False, True, False]])

    def loss(right: float, *false: float) -> float:
        return math.log(1 + sum(math.exp(s - right) for s in false))

    found = contrastive.contrast(scores, Captions([""] * 4, holds, own))
    captions, pictures = (loss(2, 1, 0.5) + loss(1.5, 0.3, 0.1, -0.5)) / 2, (loss(2, 0.3) + loss(1.5)) / 2
    assert_close(found, torch.tensor([captions, pictures]))
    found.sum().backward()
    assert scores.grad[0, 2] == 0 and scores.grad.isfinite().all() and loss(1.5, NEVER) == 0


@torch.no_grad()
def test_chunks_change_nothing(backbone: clip.CLIP, scenes: world.Scenes) -> None:
    texts = contrastive.captions(scenes, 1, seed=3).texts
    ids = torch.from_numpy(text.tokenize(texts)[0])
    assert_close(contrastive.features(backbone, texts), backbone.text_features(ids, ids != 0))


def test_the_loss_falls_on_a_batch_seen_again() -> None:
    objective = Contrastive("clip", replace(TINY, scenes=16, stages=(0, 0)))
    seed_everything(0)
    backbone = objective.build()
    optims = pretrain.optimizers(backbone, objective)
    losses = []
    for _ in range(8):
        losses.append(objective.gradients(backbone, 0, 0).sum().item())
        for optim in optims:
            optim.step()
            optim.zero_grad()
    assert losses[-1] < 0.7 * losses[0] and all(p.grad is None for p in backbone.parameters())


def test_every_weight_learns_and_the_scale_is_bounded(backbone: clip.CLIP) -> None:
    objective = Contrastive("clip", TINY)
    own = objective.build()
    before = own.stem[0].weight.clone()
    objective.prepare(own)
    assert not own.stem[0].weight.equal(before)
    objective.gradients(own, 0, 0)
    assert all(p.grad is not None for p in own.parameters())
    own.zero_grad()
    own.model.logit_scale.data.fill_(math.log(2 * contrastive.LARGEST))
    assert objective.gradients(own, 0, 0).isfinite().all() and not own.model.logit_scale.grad


def test_the_plan_of_clip() -> None:
    objective = objectives.all_of()["clip"]
    matrices = {id(p) for p in objective.matrices(objective.build())}
    assert len(matrices) == 2 * 4 * 6 and objective.plan.again < objective.plan.steps
    assert objective.seen() == {"pictures": objective.plan.steps * 256, "texts": objective.plan.steps * 1024}
    assert [TINY.objects(step) for step in range(3)] == [(1, 1), (1, 2), (1, 3)]


def test_scores_are_those_of_chance_without_training(backbone: clip.CLIP) -> None:
    scores = contrastive.held_out(backbone, 400, 120)
    assert scores.keys() == {"colour and shape among 40", "recall among 60"} and all(0 <= score < 12 for score in scores.values())


def test_scores_of_a_model_that_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its pictures and texts are rows of scenes: of all objects by colour and shape, and of a gallery by place."""
    knows = SimpleNamespace(image_features=lambda part: part)
    monkeypatch.setattr(contrastive, "pixels", lambda scenes: torch.eye(40)[scenes.colour[:, 0] * 5 + scenes.shape[:, 0]])
    monkeypatch.setattr(contrastive, "features", lambda _, texts: torch.eye(40))
    assert contrastive.naming(knows, 300) == 100
    monkeypatch.setattr(contrastive, "pixels", lambda scenes: torch.eye(len(scenes)))
    monkeypatch.setattr(contrastive, "features", lambda _, texts: torch.eye(len(texts)))
    assert contrastive.recall(knows, 120) == 100
    monkeypatch.setattr(contrastive, "features", lambda _, texts: torch.eye(len(texts)).roll(1, 0))
    assert contrastive.recall(knows, 120) < 10


@torch.no_grad()
def test_unit_streams_change_the_scale_and_nothing_else() -> None:
    own = clip.CLIP.build("mini", pretrained=False).eval()
    scenes = world.scenes("test-settle", 16, (1, 3))
    shown, texts = contrastive.pixels(scenes), contrastive.captions(scenes, 1, seed=0).texts

    def computed() -> list[torch.Tensor]:
        return [own.image_features(shown), contrastive.features(own, texts)]

    before, scale = computed(), own.image_states(shown).square().mean().sqrt().item()
    assert abs(scale - 1) > 0.1
    contrastive.unit_streams(own, shown, texts)
    assert all(torch.allclose(a, b, atol=1e-3) for a, b in zip(before, computed()))
    assert own.image_states(shown).square().mean().sqrt().item() == pytest.approx(1, abs=1e-3)
    scaled = {name: p.clone() for name, p in own.named_parameters()}
    contrastive.unit_streams(own, shown, texts)
    assert all(torch.allclose(p, scaled[name], rtol=1e-3) for name, p in own.named_parameters())
