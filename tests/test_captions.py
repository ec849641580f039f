"""Pre-training of LaVIN: what it begins with, which picture goes with which text, what learns, that it is scored and shipped."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from suite import objectives, pretrain
from suite.backbones import shipped
from suite.backbones.clip import CLIP
from suite.backbones.lavin import LaVIN
from suite.backbones.llama import LLaMA
from suite.core import seed_everything
from suite.data import stories, text, world
from suite.errors import UserError
from suite.objectives import captions, language
from suite.objectives.captions import Captions, CaptionsPlan
from tests import reading

TINY = CaptionsPlan(steps=4, ranks=1, texts=6, pictures=5, warmup=2, decay=2, again=3, stages=(1, 2), save=2)
OWN = Captions("lavin", TINY)


@pytest.fixture(autouse=True)
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with random weights of LLaMA and CLIP."""
    folder = tmp_path / "weights"
    folder.mkdir()
    monkeypatch.setattr(shipped, "FOLDER", folder)
    seed_everything(3)
    made = LLaMA.build("mini", pretrained=False, vision=False), CLIP.build("mini", pretrained=False)
    for backbone in made:
        shipped.save(backbone.pretrained_state(), {}, shipped.path_of(f"{backbone.name}-mini"))
    return folder


@pytest.fixture
def backbone() -> LaVIN:
    torch.set_num_threads(1)
    seed_everything(0)
    return OWN.build()


def test_it_comes_after_the_two_it_is_made_of() -> None:
    order = list(objectives.all_of())
    assert order.index("lavin") > max(order.index("llama"), order.index("clip"))


def test_it_begins_with_weights_of_both(backbone: LaVIN) -> None:
    found, language_model = backbone.pretrained_state(), shipped.load(shipped.path_of("llama-mini"))
    assert all(torch.equal(found.pop(name), tensor) for name, tensor in language_model.items())
    assert {name.partition(".")[0] for name in found} == {"modality", "projection"}
    clip = shipped.load(shipped.path_of("clip-mini"))
    tower = {name.partition("vision_model.")[2]: tensor for name, tensor in clip.items() if "vision_model" in name}
    own = dict(backbone.vision.model.named_parameters())
    assert own.keys() == tower.keys() and all(torch.equal(own[name], tower[name]) for name in own)
    assert {name.partition(".")[0] for name, p in backbone.named_parameters() if not p.requires_grad} == {"vision"}


@pytest.mark.parametrize("name", ["llama", "clip"])
def test_missing_weights_are_told_before_processes_start(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrain.mp, "start_processes", lambda *args, **kwargs: pytest.fail("started"))
    shipped.path_of(f"{name}-mini").unlink()
    with pytest.raises(UserError, match=f"weight file {name}-mini.safetensors is missing") as error:
        pretrain.main("lavin", tmp_path)
    assert "\n" not in str(error.value)


def test_a_step_reaches_all_but_the_tower(backbone: LaVIN, monkeypatch: pytest.MonkeyPatch) -> None:
    names, drawn = [], world.scenes
    monkeypatch.setattr(world, "scenes", lambda name, *rest: names.append((name, *rest)) or drawn(name, *rest))
    losses = [OWN.gradients(backbone, step, rank) for step, rank in ((0, 0), (0, 1), (2, 0))]
    assert all(loss.shape == (4,) == (len(OWN.losses),) and loss.isfinite().all() for loss in losses)
    assert len({name for name, *_ in names}) == 6 and all(name.startswith("pretrain-lavin/") for name, *_ in names)
    assert [rest for _, *rest in names] == [[6, (1, 1)], [5, (1, 1)]] * 2 + [[6, (1, 3)], [5, (1, 3)]]
    for name, p in backbone.named_parameters():
        assert (p.grad is None) if name.startswith("vision") else p.grad.isfinite().all() and p.grad.any(), name
    assert backbone.modality.weight.grad.any(1).all()  # with pictures and without


def test_a_step_is_the_same_again_and_depends_on_its_pictures(backbone: LaVIN, monkeypatch: pytest.MonkeyPatch) -> None:
    once, again, other = (OWN.gradients(backbone, 2, rank) for rank in (0, 0, 1))
    assert torch.equal(once, again) and (once != other).all()
    tower = captions.states
    monkeypatch.setattr(captions, "states", lambda *given: tower(*given).flip(0))
    flipped = OWN.gradients(backbone, 2, 0)
    assert torch.equal(once[:2], flipped[:2]) and (once[2:] != flipped[2:]).all()


def numbered(backbone: LaVIN, scenes: world.Scenes) -> Tensor:
    """Stands for the tower: image tokens that tell the scene's number."""
    return torch.arange(len(scenes))[:, None, None].expand(-1, 4, 96).float()


def test_texts_go_with_their_pictures(backbone: LaVIN, monkeypatch: pytest.MonkeyPatch) -> None:
    told, asked, drawn = [], [], []

    def questions(*given: object) -> list[stories.Asked]:
        drawn.extend(draw(*given))
        return drawn

    follow, answer, draw = captions.following, captions.answers, captions.questions
    monkeypatch.setattr(captions, "states", numbered)
    monkeypatch.setattr(captions, "questions", questions)
    monkeypatch.setattr(captions, "following", lambda b, ids, at: told.extend(zip(ids, at[:, 0, 0])) or follow(b, ids, at))
    monkeypatch.setattr(captions, "answers", lambda b, ids, some, at: asked.extend(zip(some, at[:, 0, 0])) or answer(b, ids, some, at))
    OWN.gradients(backbone, 2, 0)
    scenes, pieces = world.scenes("pretrain-lavin/pictures/0/2/0", 5, (1, 3)), text.tokenizer()
    assert sorted(int(at) for _, at in told) == sorted(int(at) for _, at in asked) == list(range(5))
    assert all(reading.caption(pieces.decode(ids.tolist()), scenes.objects(int(at))) for ids, at in told)
    assert all(one is drawn[int(at)] and not one.description for one, at in asked)


def test_the_following_words_are_named_from_those_before(backbone: LaVIN) -> None:
    ids = text.tokenize(["a red star and a blue circle"])[0]
    images = torch.randn(1, 4, 96)
    with torch.inference_mode():
        scores, wanted = language.following(backbone, ids, images)
        assert wanted.tolist() == ids[0, 1:].tolist() and scores.shape == (len(wanted), text.tokenizer().get_vocab_size())
        for at in range(1, ids.shape[1]):
            changed = ids.copy()
            changed[0, at] += 1
            same = torch.isclose(language.following(backbone, changed, images)[0], scores, atol=1e-5).all(1)
            assert same[:at].all() and not same[at:].any()


def test_answers_are_judged_with_their_own_pictures(backbone: LaVIN, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = captions.questions(world.scenes("test-captions", 30, (1, 3)), random.Random(0))
    answer, given = language.answers, []
    monkeypatch.setattr(language, "answers", lambda b, ids, some, at: given.extend(zip(some, at[:, 0, 0])) or answer(b, ids, some, at))
    with torch.inference_mode():
        language.answered(backbone, asked, numbered(backbone, world.scenes("test-captions", 30)))
    assert len(given) == 30 and all(one is asked[int(at)] for one, at in given)


def test_every_parameter_but_the_towers_has_one_optimiser(backbone: LaVIN) -> None:
    muon, adam = ([p for group in o.param_groups for p in group["params"]] for o in pretrain.optimizers(backbone, OWN))
    assert sorted(map(id, muon + adam)) == sorted(id(p) for p in backbone.pretrained_state().values())
    assert len(muon) == 6 * 7 and all(p.ndim == 2 for p in muon)


def test_one_step_after_another_lowers_the_loss(backbone: LaVIN) -> None:
    optims, losses = pretrain.optimizers(backbone, OWN), []
    for _ in range(40):  # the same texts and pictures again
        losses.append(OWN.gradients(backbone, 0, 0))
        for optim in optims:
            optim.step()
            optim.zero_grad()
    assert (losses[-1] < 0.5 * losses[0]).all(), losses


def test_scores_tell_pictures_from_none(backbone: LaVIN, monkeypatch: pytest.MonkeyPatch) -> None:
    def answered(own: LaVIN, asked: list[stories.Asked], images: Tensor | None = None) -> np.ndarray:
        assert images is None or images.shape == (40, 4, 96)
        return np.array([bool(one.description) if images is None else one.kind == "value" for one in asked])

    for module in (language, captions):
        monkeypatch.setattr(module, "answered", answered)
    found = OWN.scores(backbone, 40)
    assert 0 < found.pop("answers from pictures") < 100 and 0 <= found.pop("words") < 100
    assert found == {
        "answers, value": 100, "answers, count": 100, "answers, verdict": 100, "answers": 100, "answers without description": 0,
        "answers from pictures, value": 100, "answers from pictures, count": 0, "answers from pictures, verdict": 0,
        "answers without the picture": 0,
    }  # fmt: skip


def test_final_weights_are_shipped_with_a_card_and_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objectives, "all_of", lambda: {"lavin": OWN})
    monkeypatch.setattr(OWN, "scores", lambda backbone: {"answers": 12.0})
    pretrain.worker(0, "lavin", tmp_path)
    assert pretrain.finish(OWN, tmp_path) == {"answers": 12.0}
    path = shipped.path_of("lavin-mini")
    tensors, card = shipped.load(path), json.loads(path.with_suffix(".json").read_text())
    assert card["pictures"] == 4 * 5 and card["texts"] == 4 * (6 + 2 * 5) and path.stat().st_size < 6 * 2**20
    loaded, begun = LaVIN.build("mini"), OWN.build()
    assert tensors.keys() == loaded.pretrained_state().keys() and not [name for name in tensors if name.startswith("vision")]
    assert all(torch.equal(p, tensors[name]) for name, p in loaded.pretrained_state().items())
    assert not [name for name, p in begun.pretrained_state().items() if torch.equal(p, tensors[name])]
    assert all(torch.equal(*pair) for pair in zip(loaded.vision.parameters(), begun.vision.parameters()))
    seed_everything(5)
    again = pretrain.train(OWN, 0, tmp_path / "state.pt")  # from its last state, which is the end
    assert all(torch.equal(p, tensors[name]) for name, p in again.pretrained_state().items())
