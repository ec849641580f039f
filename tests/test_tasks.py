"""Tasks: batches, heads, losses, scores and floors."""

import dataclasses
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from suite import tasks
from suite.backbones.vilt import ViLT
from suite.core import Backbone, Batch, normalise
from suite.data import easy_vqa
from suite.data.reader import Reader
from suite.data.text import UNK, tokenize
from suite.errors import UserError
from suite.tasks import floors
from suite.tasks.base import LANGUAGE, SEARCH_PARTS, BaseTask, Split
from suite.tasks.retrieval import ranks

SPLITS = {"train": 64, "validation": 20, "test": 24}
HERE = [name for name in tasks.names() if not (task := tasks.load(name)).group and not task.dataset
        and {"vilt", "llama", *LANGUAGE} & {*task.backbones, *task.also}]  # fmt: skip
"""What is generated or installed, and has questions or statements. Real data that has to be fetched: tests/test_nlvr.py."""

FUSED = [name for name in HERE if name != "world-science"]
"""What a backbone without a language model's head can learn."""

LONGEST = dict.fromkeys(HERE, 32) | {"world-science": 40}


@pytest.fixture(scope="module")
def small() -> dict[str, BaseTask]:
    """Every task with a few rows."""
    return {name: _small(tasks.load(name)) for name in HERE}


@pytest.fixture(params=FUSED)
def fused(request: pytest.FixtureRequest, small: dict[str, BaseTask]) -> BaseTask:
    return small[request.param]


@pytest.fixture(params=HERE)
def task(request: pytest.FixtureRequest, small: dict[str, BaseTask]) -> BaseTask:
    return small[request.param]


@pytest.fixture(scope="module")
def vilt() -> Backbone:
    torch.manual_seed(0)
    return ViLT.build("mini", pretrained=False).eval()


def _small(task: BaseTask) -> BaseTask:
    reader: Reader = dataclasses.replace(task.reader, sizes=dict(SPLITS))
    return dataclasses.replace(task, reader=reader, evaluation_batch=16)


def _flat(batches: Iterator) -> list[Tensor]:
    parts = [b if isinstance(b, tuple) else (b,) for b in batches]
    fields = ("input_ids", "text_mask", "pixels", "image_index", "labels", "ids")
    return [getattr(b, name) for part in parts for b in part for name in fields if getattr(b, name) is not None]


def _same(one: list[Tensor], two: list[Tensor]) -> bool:
    return len(one) == len(two) and all(torch.equal(a, b) for a, b in zip(one, two))


def _rows(task: BaseTask, **which: object) -> list[int]:
    return [i for b in task.batches("train", **which) for i in (b[0] if isinstance(b, tuple) else b).ids.tolist()]


def test_names_load_and_are_their_tasks_names() -> None:
    assert [tasks.load(name).name for name in tasks.names()] == tasks.names()
    with pytest.raises(UserError, match="did you mean 'easy-vqa'"):
        tasks.load("easyvqa")


def test_listing_the_tasks_imports_no_torch() -> None:
    code = "import sys, suite.tasks; suite.tasks.names(); sys.exit('torch' in sys.modules or 'datasets' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1]).returncode == 0


def test_shuffled_batches_depend_on_seed_and_epoch_alone(task: BaseTask) -> None:
    first = _flat(task.batches("train", 1, epoch=2, shuffle=True))
    assert _same(first, _flat(task.batches("train", 1, epoch=2, shuffle=True)))
    orders = [_rows(task, seed=seed, epoch=epoch, shuffle=True) for seed, epoch in ((1, 2), (1, 3), (2, 2))]
    assert all(sorted(order) == list(range(64)) for order in orders)
    assert orders[0] != orders[1] != orders[2] != orders[0]


def test_batches_are_padded_to_their_longest_and_scaled(task: BaseTask) -> None:
    for batch in task.batches("train", 0, shuffle=True):
        one = batch[0] if isinstance(batch, tuple) else batch
        assert one.input_ids.dtype == one.text_mask.dtype == torch.int64
        assert one.text_mask.sum(1).max() == one.input_ids.shape[1] <= LONGEST[task.name]
        assert torch.equal(one.text_mask.bool(), one.input_ids != 0)
        assert one.pixels.dtype == torch.float32 and one.pixels.is_contiguous() and one.pixels.shape[1:] == (3, 64, 64)
        assert -1 <= one.pixels.min() < 0 < one.pixels.max() <= 1


@pytest.mark.parametrize("name", [name for name in tasks.names() if not tasks.load(name).group and not tasks.load(name).dataset])
def test_no_text_is_cut_or_has_unknown_words(name: str) -> None:
    reader = tasks.load(name).reader
    for split in reader.sizes:
        tokens, lengths = tokenize(reader.rows(split)["text"], limit=100)
        assert lengths.max() <= LONGEST.get(name, 32) and not (tokens == UNK).any()


def test_pixels_are_the_datasets(task: BaseTask) -> None:
    data, dataset = task.split("test"), task.reader.split("test")
    for row in (0, 7, 23):
        for k, column in enumerate(task.reader.pictures):
            expected = np.asarray(dataset[row][column]).astype(np.float32) / 127.5 - 1
            found = data.batch([row], data.image_of[row, k : k + 1]).pixels[0].permute(1, 2, 0).numpy()
            np.testing.assert_allclose(found, expected, atol=1e-6)


def test_search_parts_divide_train_by_picture(task: BaseTask) -> None:
    whole, (train, reward) = task.split("train"), map(task.split, SEARCH_PARTS)
    assert not set(train.clusters) & set(reward.clusters)
    assert sorted(train.texts + reward.texts) == sorted(whole.texts)
    assert task.sizes["search-train"] == len(train) == 52 and task.sizes["search-reward"] == len(reward) == 12
    row = whole.texts.index(reward.texts[0])
    assert torch.equal(reward.images[reward.image_of[0]], whole.images[whole.image_of[row]])


def test_head_and_loss_fit_the_backbone(fused: BaseTask, vilt: Backbone) -> None:
    head = fused.head(vilt)
    loss = fused.loss(vilt, head, next(fused.batches("train", 0, shuffle=True)))
    loss.backward()
    assert loss.ndim == 0 and loss.isfinite()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in head.parameters())
    vilt.zero_grad()


def test_head_sizes_and_initial_values(small: dict[str, BaseTask], vilt: Backbone) -> None:
    d = vilt.width
    shapes = {name: [tuple(p.shape) for p in small[name].head(vilt).parameters() if p.ndim == 2] for name in FUSED}
    assert shapes["world-vqa"] == [(2 * d, d), (len(small["world-vqa"].reader.classes), 2 * d)]
    assert shapes["easy-vqa"] == [(2 * d, d), (13, 2 * d)]
    assert shapes["world-gqa"] == [(2 * d, d), (17, 2 * d)] and shapes["world-ve"] == [(2 * d, d), (3, 2 * d)]
    assert shapes["world-nlvr2"] == [(2 * d, 2 * d), (2, 2 * d)]
    first = small["world-nlvr2"].head(vilt)[0]
    assert first.weight.std().item() == pytest.approx(0.02, rel=0.05) and not first.bias.any()
    rank = small["world-retrieval"].head(vilt)
    assert torch.equal(rank.weight[0], vilt.heads["itm"].weight[1]) and torch.equal(rank.bias[0], vilt.heads["itm"].bias[1])


@pytest.mark.parametrize("name", ["world-vqa", "easy-vqa", "world-nlvr2", "world-ve"])
def test_evaluation_restores_the_order(name: str, small: dict[str, BaseTask]) -> None:
    task = small[name]
    data = task.split("test")
    wrong = set(range(0, 24, 3))

    def answers(batch: Batch) -> Tensor:
        ids, labels = batch.ids, batch.labels.clone()
        for i, row in enumerate(ids.tolist()):
            labels[i] = (labels[i] + 1) % 2 if row in wrong else labels[i]
        return nn.functional.one_hot(labels, len(task.reader.classes)).float()

    batches = list(task.batches("test", 0))
    assert len(batches) == 2
    metrics, correct, clusters = task.score("test", [answers(b[0] if isinstance(b, tuple) else b) for b in batches])
    assert {i for i, right in enumerate(correct) if not right} == wrong
    assert metrics == {"accuracy": pytest.approx(100 * 16 / 24)}
    assert clusters == task.reader.split("test")["image_id"][:] == data.clusters


def test_outputs_that_are_not_numbers_are_wrong(small: dict[str, BaseTask]) -> None:
    task = small["world-nlvr2"]
    outputs = [torch.full((len(b.left.ids), 2), torch.nan) for b in task.batches("test", 0)]
    assert task.score("test", outputs)[0] == {"accuracy": 0.0}


def test_predictions_do_not_depend_on_batching(fused: BaseTask, vilt: Backbone) -> None:
    head, whole = fused.head(vilt), dataclasses.replace(fused, evaluation_batch=1000)
    if hasattr(fused, "block"):
        whole = dataclasses.replace(fused, block=(1000, 1000))
    found = [t.score("test", [t.predict(vilt, head, b) for b in t.batches("test", 0)]) for t in (fused, whole)]
    assert found[0] == found[1]


def test_nlvr2_reads_each_picture_in_a_pass_of_its_own(small: dict[str, BaseTask], vilt: Backbone) -> None:
    task = small["world-nlvr2"]
    pair = next(task.batches("test", 0))
    assert (pair.left.image_type, pair.right.image_type) == (1, 2)
    swapped = pair._replace(left=dataclasses.replace(pair.left, pixels=pair.right.pixels),
                            right=dataclasses.replace(pair.right, pixels=pair.left.pixels))
    with torch.no_grad():
        usual, other = task.features(vilt, pair), task.features(vilt, swapped)
        table = vilt.model.embeddings.token_type_embeddings.weight
        assert torch.equal(table[1], table[2])
    torch.testing.assert_close(usual[:, : vilt.width], other[:, vilt.width :])
    assert (usual - other).abs().max() > 1e-4


def test_retrieval_sets_the_true_caption_against_captions_of_other_pictures(small: dict[str, BaseTask]) -> None:
    task = small["world-retrieval"]
    data = task.split("train")
    texts = {tuple(row[row != 0].tolist()): i for i, row in enumerate(data.tokens)}
    chosen = []
    for epoch in (0, 1):
        for batch in task.batches("train", 0, epoch=epoch, shuffle=True):
            captions = [texts[tuple(ids[mask.bool()].tolist())] for ids, mask in zip(batch.input_ids, batch.text_mask)]
            groups = torch.tensor(captions).view(-1, 1 + task.negatives)
            assert torch.equal(groups[:, 0], batch.ids)
            assert all(len(set(group)) == 1 + task.negatives for group in groups.tolist())
            assert torch.equal(batch.pixels, normalise(data.images[data.image_of[batch.ids, 0]]))
            assert batch.image_index.tolist() == [i for i in range(len(batch.ids)) for _ in range(1 + task.negatives)]
            chosen.append(groups[:, 1:])
    assert len(torch.cat(chosen).unique()) > 60


def test_retrieval_scores_every_pair_once(small: dict[str, BaseTask]) -> None:
    task = small["world-retrieval"]
    data = task.split("test")
    truth = torch.randn(24, 24, generator=torch.Generator().manual_seed(0))
    seen = {tuple(row[row != 0].tolist()): i for i, row in enumerate(data.tokens)}
    looks = {picture.sum().item(): i for i, picture in enumerate(normalise(data.images[:24]))}
    outputs = []
    for batch in task.batches("test", 0):
        rows = [seen[tuple(ids[mask.bool()].tolist())] for ids, mask in zip(batch.input_ids, batch.text_mask)]
        columns = [looks[batch.pixels[i].sum().item()] for i in batch.image_index.tolist()]
        outputs.append(truth[rows, columns])
    metrics, correct, clusters = task.score("test", outputs)
    image_rank, text_rank = ranks(truth, data.image_of[:, 0])
    assert correct == (torch.cat([image_rank, text_rank]) < 1).tolist() and len(clusters) == 48
    assert sum(map(len, outputs)) == 24 * 24
    assert metrics["recall"] == (metrics["ir_r1"] + metrics["tr_r1"]) / 2
    assert metrics["ir_r10"] == pytest.approx(100 * (image_rank < 10).double().mean().item())


def test_ranks_by_hand_with_ties_and_several_captions() -> None:
    matrix = torch.tensor([[3.0, 1.0, 2.0], [5.0, 5.0, 0.0], [1.0, 2.0, 3.0], [9.0, 0.0, 4.0], [0.0, torch.nan, 1.0]])
    image_rank, text_rank = ranks(matrix, torch.tensor([0, 1, 2, 2, 0]))
    assert image_rank.tolist() == [0, 1, 0, 1, 2]
    assert text_rank.tolist() == [2, 1, 0]
    tied = torch.ones(4, 4)
    assert [r.tolist() for r in ranks(tied, torch.arange(4))] == [[3] * 4, [3] * 4]


def test_floors_lie_between_chance_and_a_model_that_sees(task: BaseTask) -> None:
    found = task.floors()
    assert set(found) == {"majority", "blind"}
    assert all(0 < value < 90 for value in found.values())


def test_text_alone_answers_two_thirds_of_easy_vqa() -> None:
    names = tasks.load("easy-vqa").reader.classes
    train, test = ((p.questions, torch.tensor([names.index(a) for a in p.answers])) for p in map(easy_vqa.part, ("train", "test")))
    assert floors.accuracy(floors.same_text(train, test[0]), test[1]) == pytest.approx(67.0, abs=0.1)


def test_the_blind_floor_of_easy_vqa_is_not_understated() -> None:
    reader = tasks.load("easy-vqa").reader
    rows = [reader.rows(name) for name in ("train", "validation", "test")]
    parts = [(part["text"], torch.tensor(part["label"])) for part in rows]
    assert len(parts[0][0]) == 250 and floors.of_text(*parts)["blind"] >= 67.0


def test_blind_models_learn_what_the_text_says() -> None:
    texts = [f"{colour} {shape}" for colour in ("red", "blue", "teal", "gray") for shape in ("star", "cross")]
    labels = torch.tensor([0, 1] * 4)
    train, test = (texts[:6], labels[:6]), (texts[6:], labels[6:])
    assert all(floors.accuracy(floors.word_regression(train, test[0], decay), test[1]) == 100 for decay in floors.DECAYS)
    assert floors.of_text(train, test, test) == {"majority": 50.0, "blind": 100.0}
    assert floors.same_text((["a", "a", "b", "c", "c"], torch.tensor([2, 2, 1, 0, 0])), ["b", "a", "z"]).tolist() == [1, 2, 0]


def test_floors_do_not_look_at_pictures_or_test_labels(small: dict[str, BaseTask]) -> None:
    task = _small(small["world-vqa"])
    before = task.floors()
    hidden = _small(small["world-vqa"])
    for name in SPLITS:
        hidden.split(name).images.zero_()
    assert hidden.floors() == before


def test_take_keeps_the_pictures_of_its_rows() -> None:
    images = torch.arange(4, dtype=torch.uint8).view(4, 1, 1, 1).expand(4, 3, 2, 2)
    image_of = torch.tensor([[0, 3], [1, 2], [2, 0]])
    split = Split(torch.ones(3, 2, dtype=torch.long), images, image_of, None, ["a", "b", "c"], ["x", "y", "z"])
    part = split.take(np.array([2, 0]))
    assert part.texts == ["c", "a"] and part.clusters == ["z", "x"] and len(part.images) == 3
    assert torch.equal(part.images[part.image_of], images[torch.tensor([[2, 0], [0, 3]])])
