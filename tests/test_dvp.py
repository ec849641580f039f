"""DVP and the baseline with all visual tokens: places, sizes, costs, searching."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from baselines.visual_prompt import VisualPrompt, VisualPromptAdapter
from methods.dvp import DVP, DVPAdapter
from methods.dvp_placement import DVPFirst, DVPRandom
from suite import backbones, macs
from suite.backbones.language import LanguageModel
from suite.core import Batch, Method, freeze

BACKBONES = ("bert", "t5", "llama")
GENERATOR = {"bert": 4 * (768 * 768 + 768), "t5": 4 * (768 * 768 + 768), "llama": 2 * (768 * 512 + 512) + 2 * 4096 * 512 + 512 + 4096}
TYPES = {"bert": 2 * 768, "t5": 2 * 768, "llama": 0}
ADAPTERS = {"bert": 24 * 148_320, "t5": 60 * 148_320, "llama": 64 * 528_448}
NORMS = {"bert": 25 * 2 * 768, "t5": (2 * 12 + 3 * 12 + 2) * 768, "llama": 65 * 4096}
VISION = 96


def assembled(method: Method, backbone: str, plan: Any = None, preset: str = "mini", device: str = "cpu") -> LanguageModel:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    own = backbones.load(backbone).build(preset, pretrained=False, device=device)
    freeze(own)
    torch.manual_seed(1)
    with torch.device(device):
        method.attach(own, plan)
    return own.eval()


def batch(texts: int = 3, visual: int = 65) -> Batch:
    generator = torch.Generator().manual_seed(2)
    ids = torch.randint(5, 300, (texts, 9), generator=generator)
    ids[:, -1] = 2
    return Batch(ids, torch.ones_like(ids), None, image_tokens=torch.randn(texts, visual, VISION, generator=generator))


def count(method: Method, own: LanguageModel) -> int:
    return sum(p.numel() for p in method.trainable(own))


@pytest.mark.parametrize("backbone", BACKBONES)
def test_sizes_at_paper_scale(backbone: str) -> None:
    """papers.md section 6: the cross-attention has 2.362M (LLaMA 4.986M), the adapters 3.56M, 8.90M and 33.82M."""
    generator, method = GENERATOR[backbone] + TYPES[backbone], DVPAdapter()
    own = assembled(method, backbone, {"layer": 3}, "paper", "meta")
    assert count(method, own) == generator + ADAPTERS[backbone] + NORMS[backbone]
    assert sum(p.numel() for p in own.attached.parameters()) == generator + ADAPTERS[backbone]
    if backbone == "llama":
        assert "adapters only" in DVP().not_applicable(own, "world-vqa")
    else:
        whole = DVP()
        own = assembled(whole, backbone, {"layer": 3}, "paper", "meta")
        assert count(whole, own) == generator + sum(p.numel() for p in own.model.parameters())
        assert not any(p.requires_grad for p in own.vision.parameters())


@pytest.mark.parametrize("kind", [DVP, DVPAdapter])
@pytest.mark.parametrize("backbone", BACKBONES)
def test_one_token_enters_at_the_planned_layer(backbone: str, kind: type[DVP]) -> None:
    own, b = assembled(kind(), backbone, {"layer": 2}), batch()
    seen: list[Tensor] = []
    layers = own.decoder if backbone == "t5" else own.layers
    for layer in layers:
        inside = layer.self_attention.core
        layer.self_attention.core = lambda u, *rest, inside=inside: seen.append(u) or inside(u, *rest)  # type: ignore[method-assign]
    own(b)
    own(dataclasses.replace(b, image_tokens=b.image_tokens * 2))
    one, two = seen[:6], seen[6:]
    length = 1 if backbone == "t5" else 9
    assert [u.shape[1] for u in one] == 2 * [length] + 4 * [length + 1]
    assert [torch.equal(u, v) for u, v in zip(one, two, strict=True)] == 2 * [True] + 4 * [False]


@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_search_has_a_generator_for_every_layer(backbone: str) -> None:
    method = DVP()
    own = assembled(method, backbone)
    assert len(own.attached) == 6 and method.resolved()["draws"] == (10 if backbone == "llama" else 5)
    pooled = []
    for layer in (0, 5):
        method.choose(own, layer)
        pooled.append(own(batch()).pooled)
    assert not torch.equal(*pooled)
    own(batch()).pooled.sum().backward()
    taps = [own.sequence.taps[f"visual.{layer}"][0] for layer in range(6)]
    assert [tap.out.weight.grad is not None for tap in taps] == [False] * 5 + [True]


class Trial:
    """core.Trial in which one layer scores best."""

    official = False

    def __init__(self, best: int = 4, epochs: int = 3):
        self.rng, self.epochs, self.steps_per_epoch, self.best = np.random.default_rng(0), epochs, 60, best
        self.trace: dict[str, Any] = {}
        self.trained: list[int] = []
        self.batches = self.rewards = 0

    def train_step(self, choice: int) -> float:
        self.trained.append(choice)
        return 0.0

    def new_batch(self) -> None:
        self.batches += 1

    def reward_score(self, choice: int) -> float:
        self.rewards += 1
        return 60.0 if choice == self.best else 50.0


@pytest.mark.parametrize("kind", [DVP, DVPAdapter])
def test_the_search_finds_the_best_layer(kind: type[DVP]) -> None:
    method, trial = kind(), Trial()
    assembled(method, "bert")
    assert method.search(trial) == {"layer": 4}
    assert trial.batches == len(trial.trained) == trial.trace["updates"] == 2 * 60 and trial.rewards == 5 * trial.batches
    assert set(trial.trained) == set(range(6)) and np.argmax(trial.trace["preferences"]) == 4
    assert trial.trace["rewards"][4] == 60


def test_a_search_is_no_longer_than_the_training_allows() -> None:
    method, trial = DVP(), Trial(epochs=1)
    assembled(method, "bert")
    method.search(trial)
    assert len(trial.trained) == 60


def test_controls_do_not_search() -> None:
    first, random = DVPFirst(), DVPRandom()
    assert first.search is None
    own = assembled(first, "bert", None)
    assert own.sequence.placed == 0 and len(own.attached) == 1
    assembled(random, "bert")
    trial = Trial()
    layers = [random.search(trial)["layer"] for _ in range(60)]
    assert set(layers) == set(range(6)) and not trial.trained and not trial.batches


@pytest.mark.parametrize("kind", [VisualPrompt, VisualPromptAdapter])
@pytest.mark.parametrize("backbone", BACKBONES)
def test_all_visual_tokens_stand_in_front_from_the_first_layer(backbone: str, kind: type[VisualPrompt]) -> None:
    own, b = assembled(kind(), backbone), batch()
    features = own(b)
    assert features.tokens.shape[1] == 65 + (1 if backbone == "t5" else 9) and features.mask.all()
    swapped = own(dataclasses.replace(b, image_tokens=b.image_tokens.flip(1)))
    assert not torch.equal(features.pooled, own(dataclasses.replace(b, image_tokens=b.image_tokens * 2)).pooled)
    assert torch.allclose(features.pooled, swapped.pooled, atol=1e-5) == (backbone == "bert")  # which gives them no positions


@pytest.mark.parametrize("pair", [(DVP, VisualPrompt), (DVPAdapter, VisualPromptAdapter)])
@pytest.mark.parametrize("backbone", BACKBONES)
def test_one_token_costs_less_than_all(backbone: str, pair: tuple[type[Method], type[Method]]) -> None:
    """At the first layer, where DVP's token costs most; the vision tower left out, which both need."""
    counts = []
    for kind in pair:
        method = kind()
        own = assembled(method, backbone, method.example_plan(backbones.load(backbone).build("mini", False, "meta")), device="meta")
        with torch.device("meta"):
            ids = torch.zeros(2, 9, dtype=torch.long)
            b = Batch(ids, torch.ones_like(ids), None, image_tokens=torch.zeros(2, 65, VISION))
            counts.append(macs.counted(lambda own=own, b=b: own(b)))
    assert counts[0] < 0.6 * counts[1]


def test_adapters_leave_the_language_model_frozen_but_for_its_norms() -> None:
    own = assembled(DVPAdapter(), "t5", {"layer": 0})
    trained = [name.rpartition(".")[0] for name, p in own.model.named_parameters() if p.requires_grad]
    assert {type(own.model.get_submodule(name)).__name__ for name in trained} == {"T5LayerNorm"}


@pytest.mark.parametrize(("pictures", "wanted"), [(False, (1.68e9, 18.9e9)), (True, (19.3e9, 36.5e9))], ids=["bare", "with tower"])
def test_macs_of_bert_at_paper_size(pictures: bool, wanted: tuple[float, float]) -> None:
    """papers.md section 6: texts of 16 tokens, the 197 tokens of a picture of 224 x 224; DVP at the first layer."""
    for method, macs_wanted in zip((DVP(), VisualPrompt()), wanted, strict=True):
        own = assembled(method, "bert", {"layer": 0}, "paper", "meta")
        with torch.device("meta"):
            ids = torch.zeros(1, 16, dtype=torch.long)
            b = Batch(ids, torch.ones_like(ids), torch.zeros(1, 3, 224, 224) if pictures else None,
                      image_tokens=None if pictures else torch.zeros(1, 197, 768))  # fmt: skip
            found = macs.counted(lambda own=own, b=b: own(b))
        assert found == pytest.approx(macs_wanted, rel=0.03), f"{found:,}"
