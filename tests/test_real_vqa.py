"""VQA2.0, GQA and SNLI-VE as tasks: splits, targets, losses, scores, floors; BERT and ViLT on their photographs."""

from __future__ import annotations

import copy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import test_gqa_reader
import torch
from built import assert_close
from mirrored import WORDS, photograph, put_tokenizer, snli_ve, view
from test_vqa2 import ANNOTATIONS, NAMES, annotation, put, question
from torch import Tensor, nn
from transformers import ViltConfig, ViltModel

from suite import tasks
from suite.assemble import assemble, optimizer
from suite.backbones import vilt
from suite.core import Batch
from suite.data import seen, vqa2
from suite.data.gqa import Gqa
from suite.plugins import discover
from suite.recipe import Recipe
from suite.tasks.base import SEARCH_PARTS
from suite.tasks.real_vqa import RealVqa, Vqa2, commonest

YES, SOME = ["yes"] * 10, ["no"] * 2 + ["maybe"] * 8
"""What ten people say to the two questions about each photograph of validation; "maybe" is no word of the vocabulary."""
ASKED = ("is the big dog here now?", "what?")
SIZES = ((100, 64), (64, 100), (300, 66), (64, 64), (80, 64))


@pytest.fixture(autouse=True)
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With two photographs each in validation and test, and a vocabulary of all that is a majority's answer."""
    monkeypatch.setenv("PETLBENCH_MIRROR", str(tmp_path))
    monkeypatch.setattr(vqa2, "REST", 2)
    monkeypatch.setattr(vqa2.rest_val, "__defaults__", (2,))
    monkeypatch.setattr(vqa2, "LEAST", 1)
    seen.tokenizer.cache_clear()
    put_tokenizer(tmp_path)
    torch.set_num_threads(1)


def vqa2_task(home: Path, **changes: object) -> Vqa2:
    """Four questions about two photographs in train, two about each of six in validation, two about one in test-dev."""
    rows = {
        "train": [(1, 1, "is it red?", YES, "yes"), (2, 1, "what colour is it?", ["red"] * 3 + ["blue"] * 7, "red"),
                  (3, 2, "who is it?", ["blue"] * 10, "no"), (4, 2, "is it?", ["no"] * 4 + ["Yes"] * 5 + ["yes"], "no")],
        "validation": [(2 * image + kind, image, ASKED[kind], (YES, SOME)[kind], ("yes", "no")[kind])
                       for image in range(11, 17) for kind in (0, 1)],
        "test": [(71, 31, "is it?", [], ""), (70, 31, "is it a very big dog?", [], "")],
    }  # fmt: skip
    for split, found in rows.items():
        put(home, NAMES[split], {"questions": [question(number, image, question=text) for number, image, text, *_ in found]})
        if split in ANNOTATIONS:
            given = [annotation(number, answers, multiple_choice_answer=most) for number, _, _, answers, most in found]
            put(home, ANNOTATIONS[split], {"annotations": given})
        folder = vqa2.PHOTOGRAPHS[split]
        for _, image, *_ in found:
            photograph(home / f"vqa2/{folder}/COCO_{folder}_{image:012d}.jpg", SIZES[image % len(SIZES)], image)
    reader = vqa2.Vqa2("vqa2", {split: len(found) for split, found in rows.items()}, words=3)
    return Vqa2(reader, Recipe(1, 4), evaluation_batch=3, dataset="VQA2.0", count=3).bound(view(**changes), Recipe(1, 4))


def gqa_task(home: Path) -> RealVqa:
    """Three answers, one of which only the test split has."""
    rows = {"train": ["yes", "no", "yes", "no"], "val": ["no", "yes"], "testdev": ["bottle cap", "yes", "no"]}
    for part, answers in rows.items():
        asked = {f"{part}{n}": test_gqa_reader.question(answer, f"{part}{n}", question=f"Is it {n}?") for n, answer in enumerate(answers)}
        test_gqa_reader.put(home, part, asked)
        for number in range(len(answers)):
            photograph(home / f"gqa/images/{part}{number}.jpg", SIZES[number], number)
    own = RealVqa(Gqa("gqa", {"train": 4, "validation": 2, "test": 3}, 3), Recipe(1, 4), dataset="GQA", count=3)
    return own.bound(view(), own.recipe)


def ve_task(home: Path) -> RealVqa:
    rows = [("a dog runs", 0), ("it rains", 1), ("two people sit in the sun", 2), ("no one is here", 3)]
    return snli_ve(home, dict.fromkeys(("train", "validation", "test"), rows), SIZES).bound(view(), Recipe(1, 4))


def outputs(own: RealVqa, split: str, said: list[int | None]) -> list[Tensor]:
    """Logits of every batch, highest for what is said to each row; of None not finite."""
    found = []
    for batch in own.batches(split, 0):
        rows = [said[row] for row in batch.ids.tolist()]
        logits = nn.functional.one_hot(torch.tensor([row or 0 for row in rows]), own.count).float()
        found.append(logits.masked_fill(torch.tensor([row is None for row in rows])[:, None], torch.nan))
    return found


def test_validation_and_test_have_photographs_of_their_own(tmp_path: Path) -> None:
    own = vqa2_task(tmp_path)
    shown = {name: set(own.split(name).clusters) for name in ("train", "validation", "test")}
    assert {name: len(images) for name, images in shown.items()} == {"train": 4, "validation": 2, "test": 2}
    assert len(set.union(*shown.values())) == 8 and {"1", "2"} < shown["train"]
    assert own.sizes == {"train": 7, "validation": 4, "test": 4, "test-dev": 2, "search-train": 6, "search-reward": 1}
    assert all(len(own.split(name)) == own.sizes[name] for name in ("train", "validation", "test", "test-dev"))
    assert own.bound(view(), own.recipe).split("test").ids == own.split("test").ids, "a fixed draw"


def test_questions_are_trained_on_that_somebody_answered_with_a_word_of_the_vocabulary(tmp_path: Path) -> None:
    own = vqa2_task(tmp_path)
    assert own.reader.vocabulary == ("no", "red", "yes") and "who is it?" not in own.split("train").texts
    for name in ("validation", "test"):
        shown = sorted(set(own.split(name).clusters))
        assert own.split(name).ids == [str(2 * int(image) + kind) for image in shown for kind in (0, 1)], "all of them"


def test_targets_are_soft(tmp_path: Path) -> None:
    """By the votes as given: "Yes" is no vote for "yes"."""
    own = vqa2_task(tmp_path)
    labels = {row: label for batch in own.batches("train", 0, shuffle=True) for row, label in zip(batch.ids.tolist(), batch.labels)}
    found = {text: labels[row].tolist() for row, text in enumerate(own.split("train").texts)}
    wanted = {"is it red?": [0, 0, 1], "what colour is it?": [0, 0.9, 0], "is it?": [1, 0, 0.3], ASKED[0]: [0, 0, 1], ASKED[1]: [0.6, 0, 0]}
    assert found == {text: pytest.approx(label) for text, label in wanted.items()}


def test_the_loss_is_summed_over_answers_and_averaged_over_questions(tmp_path: Path) -> None:
    own = vqa2_task(tmp_path)
    batch = next(own.batches("train", 0, shuffle=True))
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    given = logits.sigmoid()
    wanted = -(batch.labels * given.log() + (1 - batch.labels) * (1 - given).log()).sum(1).mean()
    assert_close(own.loss(lambda _: SimpleNamespace(pooled=logits), nn.Identity(), batch), wanted)
    assert own.percent(lambda _: SimpleNamespace(pooled=logits), nn.Identity(), batch) == pytest.approx(
        100 * sum(label[k].item() for label, k in zip(batch.labels, logits.argmax(1))) / 4)  # fmt: skip


def test_vqa_accuracy_of_answers(tmp_path: Path) -> None:
    """To half of the questions ten say yes; to the others two say no, which is worth 0.6. Rows are read from short to long."""
    own = vqa2_task(tmp_path)
    assert own.split("test").texts == [*ASKED] * 2 and own.split("test").by_length().tolist() == [1, 3, 0, 2]
    for said, worth in (([2, 0, 2, 0], [1, 0.6, 1, 0.6]), ([0, 0, 2, 2], [0, 0.6, 1, 0]), ([2, None, 1, 0], [1, 0, 0, 0.6])):
        metrics, correct, clusters = own.score("test", outputs(own, "test", said))
        assert metrics == {"accuracy": pytest.approx(25 * sum(worth))} and correct == [one >= 0.5 for one in worth]
        assert clusters[0] == clusters[1] != clusters[2] == clusters[3]


def test_predictions_for_the_server_are_kept_with_their_questions(tmp_path: Path) -> None:
    own = vqa2_task(tmp_path)
    kept = own.kept("test-dev", outputs(own, "test-dev", [0, 2]))
    assert kept["question_ids"].tolist() == [71, 70] and kept["answers"].tolist() == ["no", "yes"]
    assert own.kept("test-dev", outputs(own, "test-dev", [1, None]))["answers"].tolist() == ["red", ""]
    assert own.kept("test", outputs(own, "test", [0] * 4)) == {} and own.unscored == ("test-dev",)


def test_floors_of_vqa_by_hand(tmp_path: Path) -> None:
    """Of seven rows three are yes, and three no, which came later; to "what?" no, worth 0.6, is the commonest."""
    assert vqa2_task(tmp_path).floors() == {"majority": pytest.approx(50), "blind": pytest.approx(80)}


def test_floors_of_classes_by_hand(tmp_path: Path) -> None:
    train = ["a dog runs", "the sky", "a cat sits", "A dog runs", "the sky falls", "a cat sits"]
    test = ["a dog runs fast now", "the sky is red", "a dog runs", "birds"]
    rows = {"train": [(text, 0) for text in train], "test": [(text, 0) for text in test]}
    own = snli_ve(tmp_path, rows).bound(view(), Recipe(1, 4))
    assert own.floors() == {"majority": 50.0, "blind": 75.0} == own.floors()


def test_the_commonest_of_texts_that_begin_alike() -> None:
    """By four words, or fewer where no text begins so."""
    texts = ["what is on the table", "what is on the floor", "what is on the wall", "what is it", "who", *["what is on it"] * 3]
    found = commonest(texts, [3, 4, 4, 5, 4, 6, 6, 6], ["what is on the table", "What is it", "what is on", "whose", "is it"])
    assert found == {"majority": [4] * 5, "blind": [4, 5, 6, 4, 4]}


def test_search_parts_keep_what_belongs_to_their_rows(tmp_path: Path) -> None:
    own = vqa2_task(tmp_path)
    whole, parts = own.split("train"), [own.split(name) for name in SEARCH_PARTS]
    assert [len(part) for part in parts] == [6, 1] and not {*parts[0].clusters} & {*parts[1].clusters}
    for part in parts:
        for row, key in enumerate(part.ids):
            was = whole.ids.index(key)
            assert (part.people[row], part.targets[row], part.texts[row]) == (whole.people[was], whole.targets[was], whole.texts[was])


def test_what_only_the_test_split_has_is_a_class_that_counts_as_wrong(tmp_path: Path) -> None:
    own = gqa_task(tmp_path)
    metrics, correct, _ = own.score("test", outputs(own, "test", [1, 2, 1]))
    assert own.split("test").labels.tolist() == [0, 2, 1] and correct == [False, True, True]
    assert metrics == {"accuracy": pytest.approx(200 / 3)}


@pytest.mark.parametrize("method", ["dvp", "visual_prompt_adapter"])
@pytest.mark.parametrize("task", [vqa2_task, gqa_task, ve_task])
def test_a_language_model_learns_and_sees(task: object, method: str, tmp_path: Path) -> None:
    own, found = task(tmp_path), discover().get(method)()
    plan = {"layer": 1} if method == "dvp" else None
    model = assemble(found, "bert", own, 0, preset="mini", plan=plan, pretrained=False).eval()
    steps, batch, losses = optimizer(model, own.recipe, 1e-3), next(own.batches("train", 0, shuffle=True)), []
    for _ in range(4):
        losses.append(model.loss(batch))
        steps.zero_grad()
        losses[-1].backward()
        steps.step()
    assert losses[-1] < losses[0] and model.head[3].out_features == own.count
    other = copy.copy(batch)
    other.pixels = batch.pixels.flip(0)
    assert not torch.allclose(model.predict(other), model.predict(batch), atol=1e-5)


@pytest.mark.parametrize("name", ["vqa2", "gqa", "snli-ve"])
def test_costs_need_neither_data_nor_tokenizer(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PETLBENCH_MIRROR")
    own = tasks.load(name).bound(None, Recipe(1, 4, micro_batch=2))
    batch = own.blank((16, 64, 96))
    assert batch.input_ids.shape == (2, 16) and batch.pixels.shape == (2, 3, 64, 96)
    logits = torch.zeros(2, {"vqa2": 3_129, "gqa": 1_843, "snli-ve": 3}[name])
    assert own.loss(lambda _: SimpleNamespace(pooled=logits), nn.Identity(), batch).isfinite()
    assert own.head(SimpleNamespace(width=8, head_width=16))[3].out_features == logits.shape[1]


@pytest.fixture(scope="module")
def linear_vilt() -> vilt.ViLT:
    """With the published patch map: that of the mini size has norms over the whole picture."""
    torch.manual_seed(0)
    model = ViltModel(ViltConfig(vocab_size=WORDS, hidden_size=32, num_hidden_layers=3, num_attention_heads=2, intermediate_size=64,
                                 image_size=64, patch_size=32, max_position_embeddings=12, modality_type_vocab_size=3))  # fmt: skip
    nn.init.normal_(model.embeddings.position_embeddings)
    return vilt.ViLT(model, "test").eval()


def together(own: RealVqa) -> Batch:
    data = own.split("train")
    batch = own.collate(data, np.arange(len(data)), np.random.default_rng(0))
    assert len(batch.picture_sizes.unique(dim=0)) > 2
    return batch


@torch.no_grad()
def test_pictures_of_different_sizes_give_what_each_gives_alone(linear_vilt: vilt.ViLT, tmp_path: Path) -> None:
    own = vqa2_task(tmp_path, fit="shorter")
    batch = together(own)
    alone = [own.collate(own.split("train"), np.array([row]), np.random.default_rng(0)) for row in range(len(batch.ids))]
    assert all(one.picture_sizes is None for one in alone) and len({one.pixels.shape for one in alone}) > 2
    assert_close(linear_vilt(batch).pooled, torch.cat([linear_vilt(one).pooled for one in alone]))
    batch.picture_sizes = None
    assert not torch.allclose(linear_vilt(batch).pooled, torch.cat([linear_vilt(one).pooled for one in alone]), atol=1e-4)


@torch.no_grad()
def test_pictures_of_different_sizes_are_read_as_the_library_reads_them(linear_vilt: vilt.ViLT, tmp_path: Path) -> None:
    """It shuffles its patches, so the text's states are compared."""
    batch = together(vqa2_task(tmp_path, fit="shorter"))
    rows, columns = (torch.arange(side) for side in batch.pixels.shape[-2:])
    there = (rows < batch.picture_sizes[:, :1])[:, :, None] & (columns < batch.picture_sizes[:, 1:])[:, None]
    found, wanted = linear_vilt(batch), linear_vilt.model(
        input_ids=batch.input_ids, attention_mask=batch.text_mask, pixel_values=batch.pixels, pixel_mask=there.long())
    words = batch.input_ids.shape[1]
    assert_close(found.tokens[:, :words], wanted.last_hidden_state[:, :words])
    assert_close(found.pooled, wanted.pooler_output)
