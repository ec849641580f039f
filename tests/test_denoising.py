"""Pre-training of Stable Diffusion: pictures and captions of a step, the loss, the scores."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusions import mini

from suite import objectives, pretrain
from suite.core import normalise, seed_everything
from suite.data import text, world
from suite.objectives import denoising
from suite.objectives.denoising import Denoising, DenoisingPlan
from tests import reading

TINY = DenoisingPlan(steps=4, ranks=1, pictures=4, warmup=2, decay=2, again=3, stages=(2,), save=2)


def test_captions_are_true_of_their_pictures() -> None:
    pictures, texts = denoising.drawn("test-denoising", 40, (1, 2), 0)
    scenes = world.scenes("test-denoising", 40, (1, 2))
    assert all(reading.caption(told, scenes.objects(i)) for i, told in enumerate(texts))
    whole = normalise(torch.from_numpy(world.render(scenes)).permute(0, 3, 1, 2))
    assert pictures.shape == (40, 3, 32, 32)
    torch.testing.assert_close(pictures, torch.nn.functional.avg_pool2d(whole, 2), atol=0.5 / 127, rtol=0)
    assert (text.tokenize(texts, 99)[1] <= 32).all()


def test_a_step_draws_scenes_of_its_own_and_leaves_texts_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    names, said, drawn, told = [], [], world.scenes, denoising.errors
    monkeypatch.setattr(world, "scenes", lambda name, *rest: names.append((name, rest)) or drawn(name, *rest))
    monkeypatch.setattr(denoising, "errors", lambda b, p, texts, g: said.extend(texts) or told(b, p, texts, g))
    objective, backbone = Denoising("stable_diffusion", replace(TINY, pictures=16, silent=0.5)), mini()
    losses = [objective.gradients(backbone, step, rank) for step, rank in ((0, 0), (0, 1), (2, 0))]
    assert len({name for name, _ in names}) == 3 and all(name.startswith("pretrain-stable_diffusion/") for name, _ in names)
    assert [rest for _, rest in names] == [(16, (1, 1))] * 2 + [(16, (1, 2))]
    assert all(loss.shape == (1,) and loss.isfinite().all() for loss in losses) and len({loss.item() for loss in losses}) == 3
    assert 12 <= said.count("") <= 36 and len(set(said)) > 10


def test_the_loss_falls_on_a_batch_seen_again() -> None:
    objective = Denoising("stable_diffusion", replace(TINY, pictures=8))
    seed_everything(0)
    backbone = objective.build()
    optims = pretrain.optimizers(backbone, objective)
    losses = []
    for _ in range(10):
        losses.append(objective.gradients(backbone, 0, 0).item())
        for optim in optims:
            optim.step()
            optim.zero_grad()
    assert losses[-1] < 0.8 * losses[0]


def test_every_weight_learns_by_one_optimiser() -> None:
    objective = objectives.all_of()["stable_diffusion"]
    backbone = objective.build()
    Denoising("stable_diffusion", TINY).gradients(backbone, 0, 0)
    assert all(p.grad is not None for p in backbone.parameters())
    muon, adam = ([p for group in o.param_groups for p in group["params"]] for o in pretrain.optimizers(backbone, objective))
    assert sorted(map(id, muon + adam)) == sorted({id(p) for p in backbone.parameters()})
    assert len(muon) == 4 * (8 + 2) + 3 * 6 and all(p.ndim == 2 for p in muon)
    assert objective.seen() == {"pictures": objective.plan.steps * 64} and objective.plan.again < objective.plan.steps


def test_explained_is_nothing_for_zero_and_all_for_the_target(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = mini()
    pictures, texts = denoising.drawn("test-denoising", 6, (1, 1), 0)
    monkeypatch.setattr(backbone, "predict", lambda z, *rest: torch.zeros_like(z))
    assert denoising.explained(backbone, pictures, texts) == pytest.approx(0, abs=1e-4)
    targets = []
    monkeypatch.setattr(backbone, "noise", lambda z, t, noise: targets.append(backbone.target(z, t, noise)) or z)
    monkeypatch.setattr(backbone, "predict", lambda z, *rest: targets[-1])
    assert denoising.explained(backbone, pictures, texts) == pytest.approx(100)


def test_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(denoising, "HELD_OUT", 8)
    monkeypatch.setattr(denoising, "SAMPLES", 3)
    monkeypatch.setattr(denoising, "STEPS", 2)
    objective, backbone = Denoising("stable_diffusion", TINY), mini()
    names = ["variance explained", "variance explained without captions"]
    monkeypatch.setattr(denoising.shipped, "path_of", lambda name: SimpleNamespace(is_file=lambda: False))
    assert list(objective.scores(backbone)) == names
    seen = []
    monkeypatch.setattr(denoising.shipped, "path_of", lambda name: SimpleNamespace(is_file=lambda: True))
    judge = SimpleNamespace(clip_t=lambda pixels, texts: seen.append((pixels.shape, texts)) or torch.full((len(texts),), 30.0 + len(seen)))
    monkeypatch.setattr("suite.judge.Judge", lambda: judge)
    found = objective.scores(backbone)
    assert list(found) == [*names, "CLIP-T of samples", "CLIP-T of the pictures"] and list(found.values())[2:] == [31.0, 32.0]
    assert [shape for shape, _ in seen] == [(3, 3, 32, 32)] * 2 and seen[0][1] == seen[1][1]
    assert np.isfinite(list(found.values())).all()


def test_samples_are_seeded_by_row() -> None:
    backbone = mini()
    one, two = (denoising.sampled(backbone, texts) for texts in (["a red circle"] * 2, ["a red circle"] * 3))
    torch.testing.assert_close(one, two[:2], atol=1e-3, rtol=0)
    assert not torch.allclose(two[0], two[1])
