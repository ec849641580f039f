"""Pre-training of the language models: what is hidden, what is asked, that it is learnt and scored."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torch import nn

from suite import objectives, pretrain
from suite.backbones import shipped
from suite.backbones.language import LanguageModel
from suite.backbones.t5 import SENTINELS
from suite.data import stories, text, wording, world
from suite.objectives import language
from suite.objectives.language import Language, LanguagePlan

NAMES = ("bert", "t5", "llama")
TINY = LanguagePlan(steps=4, ranks=1, texts=8, warmup=2, decay=2, again=3, stages=(1, 2), save=2)


def objective(name: str, plan: LanguagePlan = TINY) -> Language:
    found = objectives.all_of()[name]
    return Language(name, found.words, plan)


@pytest.fixture(scope="module")
def texts() -> list[str]:
    scenes, rng = world.scenes("test-language", 200, (1, 3)), random.Random(0)
    return [stories.whole(scenes.objects(i), rng) for i in range(len(scenes))]


class Telling(nn.Module):
    """Stands for a backbone: keeps what it is given; every state is a zero of one number."""

    def __init__(self) -> None:
        super().__init__()
        self.heads, self.given = nn.ModuleDict({"lm": nn.Linear(1, 5)}), []

    def forward(self, batch: language.Batch) -> object:
        self.given.append(batch)
        return type("Features", (), {"tokens": torch.zeros(*batch.input_ids.shape, 1), "pooled": torch.zeros(len(batch.input_ids), 1)})


def test_the_order_of_pre_training() -> None:
    assert [name for name in objectives.all_of() if name in NAMES] == list(NAMES)
    order = list(objectives.all_of())
    assert order.index("clip") < order.index("bert")  # whose vision tower it is


def test_chunks_keep_every_text_once_and_cut_padding_only(texts: list[str]) -> None:
    found = language.chunks(texts, 3)
    assert sorted(row for rows, _, _ in found for row in rows.tolist()) == list(range(len(texts)))
    whole, lengths = text.tokenize(texts, limit=language.LIMIT)
    for rows, ids, n in found:
        assert n.tolist() == lengths[rows].tolist() and ids.shape[1] == n.max() and np.array_equal(ids, whole[rows, : n.max()])
    assert found[0][2].max() <= found[1][2].min() <= found[2][2].min()


def test_masked_words_are_content_words_one_at_least_a_text(texts: list[str]) -> None:
    own, (_, ids, lengths) = Telling(), language.chunks(texts, 1)[0]
    scores, wanted = language.masked_words(own, ids, lengths, np.random.default_rng(0), 0.25)
    (batch,) = own.given
    hidden = batch.input_ids.numpy() != ids
    names = {i: word for word, i in text.tokenizer().get_vocab().items()}
    assert (batch.input_ids.numpy()[hidden] == text.MASK).all() and hidden.any(1).all() and len(scores) == hidden.sum()
    assert wanted.tolist() == ids[hidden].tolist() and {names[i] for i in wanted.tolist()} <= wording.CONTENT
    assert np.array_equal(batch.text_mask.numpy(), np.arange(ids.shape[1]) < lengths[:, None])
    assert 0.2 < hidden.sum() / language.content_ids()[ids].sum() < 0.35


def test_next_words_are_all_but_the_first(texts: list[str]) -> None:
    own, (_, ids, lengths) = Telling(), language.chunks(texts[:9], 1)[0]
    scores, wanted = language.next_words(own, ids, lengths, np.random.default_rng(0), 0.0)
    assert wanted.tolist() == [i for row, n in zip(ids, lengths) for i in row[1:n].tolist()] and len(scores) == len(wanted)
    assert wanted.tolist().count(text.SEP) == 9


@pytest.mark.parametrize("count", [1, 2, 3, 4, 9, 30, 62])
def test_corrupted_spans_put_back_give_the_text(count: int) -> None:
    first, dice = 400, np.random.default_rng(count)
    for _ in range(50):
        ids = [text.CLS, *range(10, 10 + count), text.SEP]
        inputs, target = language.corrupt(ids, first, dice, 0.25)
        marks = [i for i in inputs if i >= first]
        assert marks == list(range(first, first + len(marks))) and 1 <= len(marks) <= SENTINELS
        spans: list[list[int]] = [[]]
        for word in target[:-1]:
            if word >= first:
                spans.append([])
            else:
                spans[-1].append(word)
        assert target[-1] == text.SEP and len(spans) == len(marks) and all(1 <= len(span) <= 3 for span in spans)
        assert [word for i in inputs for word in (spans[i - first] if i >= first else [i])] == ids


def test_spans_hide_about_the_given_rate() -> None:
    dice, ids = np.random.default_rng(0), [text.CLS, *range(10, 40), text.SEP]
    hidden = [sum(10 <= i < 40 for i in language.corrupt(ids, 400, dice, 0.25)[1]) / 30 for _ in range(300)]
    assert 0.2 < np.mean(hidden) < 0.33


def test_answers_are_asked_for_at_the_read_out(texts: list[str]) -> None:
    own, (_, ids, _) = Telling(), language.chunks(texts[:3], 1)[0]
    scores, wanted = language.answers(own, ids, [stories.Asked("", "", word, "value") for word in ("red", "yes", "two")])
    vocabulary = text.tokenizer().get_vocab()
    assert scores.shape == (3, 5) and wanted.tolist() == [vocabulary[word] for word in ("red", "yes", "two")]


@pytest.mark.parametrize("name", NAMES)
def test_a_step_draws_scenes_of_its_own(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    names, drawn, own = [], world.scenes, objective(name)
    backbone = own.build()
    monkeypatch.setattr(world, "scenes", lambda name, *rest: names.append((name, *rest)) or drawn(name, *rest))
    losses = [own.gradients(backbone, step, rank) for step, rank in ((0, 0), (0, 1), (2, 0))]
    assert len(set(names)) == 3 and all(domain.startswith("pretrain-language/0/") for domain, *_ in names)
    assert [objects for *_, objects in names] == [(1, 1), (1, 1), (1, 3)]
    assert all(loss.shape == (2,) == (len(own.losses),) and loss.isfinite().all() for loss in losses)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in backbone.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_has_one_optimiser_and_muon_the_layers_matrices(name: str) -> None:
    own = objective(name)
    backbone = own.build()
    muon, adam = ([p for group in o.param_groups for p in group["params"]] for o in pretrain.optimizers(backbone, own))
    assert sorted(map(id, muon + adam)) == sorted({id(p) for p in backbone.parameters()}) and backbone.vision is None
    assert len(muon) == {"bert": 6 * 6, "t5": 3 * 6 + 6 * 10, "llama": 6 * 7}[name] and all(p.ndim == 2 for p in muon)


@pytest.mark.parametrize("name", NAMES)
def test_one_step_after_another_lowers_the_loss(name: str) -> None:
    torch.manual_seed(0)
    own = objective(name)
    backbone = own.build()
    optims, losses = pretrain.optimizers(backbone, own), []
    for _ in range(40):  # the same texts again
        losses.append(own.gradients(backbone, 0, 0))
        for optim in optims:
            optim.step()
            optim.zero_grad()
    assert (losses[-1] < 0.5 * losses[0]).all(), losses


def test_scores_of_a_backbone_that_always_says_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    own = objective("bert")
    backbone, yes = own.build(), text.tokenizer().get_vocab()["yes"]
    backbone.heads["mlm"].bias.data[yes] = 1e4
    scores = own.scores(backbone, 300)
    scenes, rng = world.scenes("pretrain-language/held-out", 300, (1, 3)), random.Random(0)
    asked = [stories.asked(scenes.objects(i), rng) for i in range(300)]
    share = 100 * np.mean([one.answer == "yes" for one in asked])
    assert scores["answers"] == scores["answers without description"] == pytest.approx(share, abs=0.01) and 0 < share < 40
    assert scores["answers, value"] == scores["answers, count"] == 0 < scores["answers, verdict"] < 60
    assert 0 < scores["words"] < 30


@pytest.mark.parametrize("name", NAMES)
def test_final_weights_are_shipped_with_a_card(name: str, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = objective(name)
    monkeypatch.setattr(shipped, "FOLDER", tmp_path)
    monkeypatch.setattr(objectives, "all_of", lambda: {name: own})
    monkeypatch.setattr(own, "scores", lambda backbone: {"answers": 12.0})
    pretrain.worker(0, name, tmp_path)
    assert pretrain.finish(own, tmp_path) == {"answers": 12.0}
    tensors = shipped.load(shipped.path_of(f"{name}-mini"))
    final = torch.load(tmp_path / "final.pt", weights_only=True)
    assert tensors.keys() == final.keys() and all(torch.equal(tensors[key], final[key]) for key in final)
    loaded: LanguageModel = own.build()
    loaded.load_pretrained(tensors)
    assert all(torch.equal(p, final[key]) for key, p in loaded.pretrained_state().items())
    assert shipped.path_of(f"{name}-mini").stat().st_size < 6 * 2**20
