"""NLVR2 and Flickr30K as tasks of the papers' size, on a few rows in their published formats."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from mirrored import photograph, put_tokenizer, view
from torch import Tensor
from torch.nn.functional import one_hot, pad

from baselines.lora import Lora
from suite import macs, together
from suite.assemble import Trainee, assemble
from suite.binding import bound
from suite.core import Batch
from suite.cost import measure
from suite.data import seen
from suite.errors import UserError
from suite.recipe import Recipe
from suite.tasks import real
from suite.tasks.base import SEARCH_PARTS
from suite.tasks.nlvr2 import Pair
from suite.tasks.real_pairs import TASKS, RealNlvr2, RealRetrieval, false_captions
from suite.tasks.retrieval import ranks
from suite.train import fit, outputs_on

RECIPE = Recipe(epochs=1, batch_size=4, warmup=0.0)
SHAPES = ((80, 80), (60, 100), (100, 60))
"""Width and height of the pictures, in turn."""


@pytest.fixture(autouse=True)
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PETLBENCH_MIRROR", str(tmp_path))
    put_tokenizer(tmp_path)
    torch.set_num_threads(1)
    return tmp_path


@pytest.fixture
def nlvr2(mirror: Path) -> RealNlvr2:
    """Two statements about each pair of pictures, the first one true; each has its number."""
    for part, count, text in (("train", 14, "There are two dogs"), ("dev", 4, "A dog is left of a cat"), ("test1", 10, "Both show a dog")):
        statements(mirror, part, [(f"{text} {i}.", i % 2 == 0) for i in range(count)])
    return small("nlvr2", 14, 4, 10).bound(view(fit="shorter"), RECIPE)


@pytest.fixture
def flickr30k(mirror: Path) -> RealRetrieval:
    """Captions that say their number, of several lengths."""
    images = []
    for number, part in enumerate(["train"] * 5 + ["val"] * 2 + ["test"] * 4):
        told = [{"raw": f"A {part} dog {5 * number + k}{' x' * k}.", "sentid": 5 * number + k} for k in range(5)]
        images.append({"filename": f"{number}.jpg", "split": part, "sentences": told})
        photograph(mirror / f"flickr30k/flickr30k-images/{number}.jpg", SHAPES[number % 3], number)
    (mirror / "flickr30k/dataset_flickr30k.json").write_text(json.dumps({"images": images}))
    return small("flickr30k", 25, 10, 20).bound(view(fit="shorter"), RECIPE)


def small(name: str, *sizes: int) -> real.Real:
    """The task with so many rows, not bound."""
    task = TASKS[name]()
    return replace(task, reader=replace(task.reader, sizes=dict(zip(("train", "validation", "test"), sizes))))


def statements(mirror: Path, part: str, told: list[tuple[str, bool]]) -> None:
    """A split of NLVR2, with two statements about each pair of pictures."""
    folder, rows = mirror / "nlvr2/images" / part / ("7" if part == "train" else ""), []
    for i, (text, truth) in enumerate(told):
        rows.append({"identifier": f"{part}-{i // 2}-0-{i}", "sentence": text, "label": str(truth), "directory": 7})
        photograph(folder / f"{part}-{i // 2}-0-img{i % 2}.png", SHAPES[i % 3], i)
    (mirror / "nlvr2/data").mkdir(exist_ok=True)
    (mirror / f"nlvr2/data/{part}.json").write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def shown(task: real.Real, split: str, row: int, side: int = 0) -> Tensor:
    """The picture of a row as the view has it, not augmented."""
    data = task.split(split)
    return seen.picture(task.view, data.images.open(int(data.image_of[row, side])))


def pictures_of(task: RealRetrieval) -> list[Tensor]:
    """Those of test, in the order of their names."""
    data = task.split("test")
    return [shown(task, "test", data.clusters.index(name)) for name in sorted({*data.clusters})]


def holds(batch: Batch, place: int, picture: Tensor) -> bool:
    """Is it there, with zeros right and below, and its size told?"""
    (height, width), (most, widest) = picture.shape[1:], batch.pixels.shape[2:]
    told = [most, widest] if batch.picture_sizes is None else batch.picture_sizes[place].tolist()
    return told == [height, width] and torch.equal(batch.pixels[place], pad(picture, (0, widest - width, 0, most - height)))


def captions(task: RealRetrieval, split: str, batch: Batch) -> list[int]:
    """The rows of a batch's texts."""
    data = task.split(split)
    rows = {tuple(ids[there].tolist()): row for row, (ids, there) in enumerate(zip(data.tokens, data.there))}
    return [rows[tuple(ids[mask.bool()].tolist())] for ids, mask in zip(batch.input_ids, batch.text_mask)]


def content(batches: Iterator) -> list:
    """Everything in them, to be compared."""
    flat = [part for batch in batches for part in (batch if isinstance(batch, Pair) else (batch,))]
    return [value.tolist() if isinstance(value, Tensor) else value for part in flat for value in vars(part).values()]


def alone(task: real.Real, row: int, picture: Tensor, image_type: int = 1) -> Batch:
    """A text of test with one picture, nothing padded."""
    data = task.split("test")
    ids = data.tokens[row][data.there[row]][None]
    return Batch(ids, torch.ones_like(ids), picture[None], image_type=image_type)


def trained(task: real.Real) -> Trainee:
    """After an epoch, in which every trained parameter has moved but for a bias that all captions have; in evaluation mode."""
    model = assemble(Lora(), "vilt", task, 0, preset="mini", plan=None, pretrained=False)
    before = {name: p.detach().clone() for name, p in model.trained().items()}
    fit(model, task.recipe, 0, 1e-3)
    assert {name for name, p in model.trained().items() if torch.equal(p, before[name])} <= {"head.bias"}
    return model.eval()


def test_a_statement_has_its_two_pictures(nlvr2: RealNlvr2) -> None:
    data, rows = nlvr2.split("train"), []
    for left, right in nlvr2.batches("train", 0, shuffle=True):
        assert (left.image_type, right.image_type) == (1, 2) and torch.equal(left.labels, data.labels[left.ids])
        assert torch.equal(left.input_ids, right.input_ids)
        for place, row in enumerate(left.ids.tolist()):
            assert holds(left, place, shown(nlvr2, "train", row)) and holds(right, place, shown(nlvr2, "train", row, 1))
        rows.append(left.ids.tolist())
    assert list(map(len, rows)) == [4, 4, 4, 2] and sorted(sum(rows, [])) == list(range(14))
    assert data.labels.tolist() == [1, 0] * 7 and data.clusters[:3] == ["train-0-0", "train-0-0", "train-1-0"]
    assert {path.rpartition("-")[2] for path in data.images.paths[:7]} == {"img0.png"}, "left ones first"


def test_nlvr2_is_scored_in_the_order_of_its_rows(nlvr2: RealNlvr2) -> None:
    task = replace(nlvr2, evaluation_batch=4)
    outputs = [one_hot(left.labels, 2).float() for left, _ in task.batches("test", 0)]
    assert task.score("test", outputs) == ({"accuracy": 100}, [True] * 10, task.reader.split("test")["image_id"][:])
    for part, (left, _) in zip(outputs, task.batches("test", 0), strict=True):
        part[left.ids == 7] = part[left.ids == 7].flip(1)
    assert len(outputs) == 3 and task.score("test", outputs)[:2] == ({"accuracy": 90}, [row != 7 for row in range(10)])


def test_floors_of_nlvr2_need_no_pictures_and_no_tokenizer(nlvr2: RealNlvr2, mirror: Path) -> None:
    """Most training statements are true, but not the one that begins as those of test do."""
    statements(mirror, "train", [("Both show a cat", True)] * 9 + [("Both show a dog", False)] + [("A dog", False)] * 4)
    statements(mirror, "test1", [("Both show a dog again", i < 3) for i in range(10)])
    for picture in mirror.glob("nlvr2/images/**/*.png"):
        picture.write_bytes(b"")
    assert small("nlvr2", 14, 4, 10).floors() == {"majority": pytest.approx(30), "blind": pytest.approx(70)}


def test_flickr30k_trains_on_train_and_validation(flickr30k: RealRetrieval) -> None:
    data = {name: flickr30k.split(name) for name in ("train", "validation", "test", *SEARCH_PARTS)}
    assert {name: len(split) for name, split in data.items()} == flickr30k.sizes
    assert flickr30k.sizes == {"train": 35, "validation": 10, "test": 20, "search-train": 30, "search-reward": 5}
    assert data["train"].texts[25:] == data["validation"].texts and data["validation"].texts[0].startswith("A val dog 25")
    assert len(data["train"].images) == 7 and not {*data["train"].clusters} & {*data["test"].clusters}
    assert sorted(data["search-train"].clusters + data["search-reward"].clusters) == sorted(data["train"].clusters)
    assert not {*data["search-train"].clusters} & {*data["search-reward"].clusters}


def test_published_sizes_and_floors_need_no_data() -> None:
    nlvr2, flickr30k = TASKS["nlvr2"](), TASKS["flickr30k"]()
    assert flickr30k.sizes == {"train": 150_070, "validation": 5_070, "test": 5_000, "search-train": 120_060, "search-reward": 30_010}
    assert flickr30k.sequences() == 16 * 150_070 and nlvr2.sequences() == 2 * 86_373
    assert flickr30k.floors() == {"majority": 0.1, "blind": 0.1} and flickr30k.passes("test") == 5_000 * 1_000
    assert flickr30k.gallery >= 1_014, "validation would be scored in folds"
    assert [bound(task, "meter", "apt").recipe.head_multiplier for task in (nlvr2, flickr30k)] == [10, 1]


def test_the_true_caption_stands_before_false_ones(flickr30k: RealRetrieval) -> None:
    picture_of, rows = flickr30k.split("train").image_of[:, 0], []
    for batch in flickr30k.batches("train", 1, shuffle=True):
        groups = torch.tensor(captions(flickr30k, "train", batch)).view(-1, 16)
        assert torch.equal(groups[:, 0], batch.ids) and batch.labels.tolist() == [0] * len(batch.ids)
        assert all(len(set(group)) == 16 for group in groups.tolist())
        assert not (picture_of[groups[:, 1:]] == picture_of[batch.ids][:, None]).any()
        assert batch.image_index.tolist() == [place for place in range(len(batch.ids)) for _ in range(16)]
        assert all(holds(batch, place, shown(flickr30k, "train", row)) for place, row in enumerate(batch.ids.tolist()))
        rows += batch.ids.tolist()
    assert sorted(rows) == list(range(35))


def test_false_captions_are_drawn_evenly() -> None:
    """Of ten others each is among the seven in 70 % of 2,000 draws; the standard deviation of how often is 20."""
    picture_of, rows = np.array([0, 0, 1, 1, 1, 2, 2, 2, 2, 0, 3, 3, 3]), np.zeros(2_000, int)
    found = false_captions(picture_of, rows, 7, np.random.default_rng(0))
    often = Counter(found.ravel().tolist())
    assert set(often) == {2, 3, 4, 5, 6, 7, 8, 10, 11, 12} and all(abs(count - 1_400) < 100 for count in often.values())
    assert all(len(set(line)) == 7 for line in found.tolist())
    with pytest.raises(ValueError, match="13 captions are too few to draw 10 of other pictures"):
        false_captions(picture_of, rows, 10, np.random.default_rng(0))


@pytest.mark.parametrize("name", TASKS)
def test_batches_are_the_same_however_threads_run(name: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    task = request.getfixturevalue(name)
    task = task.bound(replace(task.view, augment=True), RECIPE)
    first, evaluated = content(task.batches("train", 3, epoch=1, shuffle=True)), content(task.batches("test", 0))
    assert first != content(task.batches("train", 3, epoch=2, shuffle=True)) != content(task.batches("train", 4, epoch=2, shuffle=True))
    usual = real.Photographs.open
    monkeypatch.setattr(real.Photographs, "open", lambda *args: time.sleep(0.02 * (args[1] % 3)) or usual(*args))
    assert first == content(task.batches("train", 3, epoch=1, shuffle=True)), "threads that end in another order"
    monkeypatch.setattr(real, "THREADS", 1)
    assert first == content(task.batches("train", 3, epoch=1, shuffle=True))
    assert evaluated == content(task.batches("test", 5)), "evaluation draws nothing"


def test_evaluation_decodes_a_photograph_once_for_500_captions(flickr30k: RealRetrieval, monkeypatch: pytest.MonkeyPatch) -> None:
    """On threads, and alone, so that nothing is padded to another one's shape."""
    opened, usual = [], real.Photographs.open
    monkeypatch.setattr(real.Photographs, "open", lambda *args: opened.append((args[1], threading.current_thread())) or usual(*args))
    assert all(batch.picture_sizes is None for batch in flickr30k.batches("test", 0))
    assert sorted(row for row, _ in opened) == [0, 1, 2, 3]
    assert threading.current_thread() not in {thread for _, thread in opened}


@pytest.mark.parametrize("name", TASKS)
def test_processes_share_the_evaluation_out(name: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    task = replace(request.getfixturevalue(name), evaluation_batch=4)
    whole = [content([batch]) for batch in task.batches("test", 0)]
    monkeypatch.setattr(together, "count", lambda: 2)
    for number in (0, 1):
        monkeypatch.setattr(together, "number", lambda: number)
        assert [content([batch]) for batch in task.batches("test", 0)] == whole[number::2]


def test_recalls_by_hand(flickr30k: RealRetrieval) -> None:
    """All is right but for one caption, which fits the last picture best and its own picture second."""
    task, pairs = replace(flickr30k, block=(7, 3)), []
    for batch in task.batches("test", 0):
        columns = [next(i for i, one in enumerate(pictures_of(task)) if holds(batch, place, one)) for place in range(len(batch.pixels))]
        pairs.append((captions(task, "test", batch), torch.tensor(columns)[batch.image_index]))
    assert [len(rows) for rows, _ in pairs] == [21, 7, 21, 7, 18, 6]
    data = task.split("test")
    truth = (data.image_of == torch.arange(4)).float()
    metrics, correct, clusters = task.score("test", [truth[pair] for pair in pairs])
    assert metrics == dict.fromkeys(("ir_r1", "ir_r5", "ir_r10", "tr_r1", "tr_r5", "tr_r10", "recall"), 100) and all(correct)
    assert clusters == data.clusters + sorted({*data.clusters})
    truth[6, 3] = 2
    metrics, correct, _ = task.score("test", [truth[pair] for pair in pairs])
    assert metrics == {"ir_r1": 95, "ir_r5": 100, "ir_r10": 100, "tr_r1": 75, "tr_r5": 100, "tr_r10": 100, "recall": 85}
    assert data.image_of[6, 0] == 2 and [place for place, right in enumerate(correct) if not right] == [6, 20 + 3]


def test_trained_nlvr2_gives_what_single_rows_give(nlvr2: RealNlvr2) -> None:
    """In one shape: with others the mini backbone's convolutions see what is padded."""
    task = nlvr2.bound(replace(nlvr2.view, fit="square"), RECIPE)
    model, order = trained(task), task.split("test").by_length()
    pairs = [Pair(alone(task, row, shown(task, "test", row)), alone(task, row, shown(task, "test", row, 1), 2)) for row in order]
    wanted = torch.cat([model.predict(pair) for pair in pairs])
    torch.testing.assert_close(torch.cat(outputs_on(model, "test")), wanted, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("block", "fit"), [((500, 1), "shorter"), ((6, 3), "square")])
def test_trained_flickr30k_gives_what_single_pairs_give(block: tuple[int, int], fit: str, flickr30k: RealRetrieval) -> None:
    task = replace(flickr30k.bound(replace(flickr30k.view, fit=fit), RECIPE), block=block)
    model = trained(task)
    matrix = torch.stack([torch.cat([model.predict(alone(task, row, one)) for one in pictures_of(task)]) for row in range(20)])
    found = task.score("test", outputs_on(model, "test"))[0]
    wanted = [100 * (rank < 1).double().mean().item() for rank in ranks(matrix, task.split("test").image_of[:, 0])]
    assert [found["ir_r1"], found["tr_r1"]] == pytest.approx(wanted)


@pytest.mark.parametrize(("name", "head"), [("nlvr2", 1536 * (1536 + 2)), ("flickr30k", 768)])
def test_costs_need_no_data(name: str, head: int) -> None:
    cost = measure(Lora(), "vilt", TASKS[name](), preset="paper", memory=False)
    one = macs.vilt(layers=12, width=768, tokens=241, patches=200, patch_pixels=3 * 32 * 32)
    assert cost.macs - cost.extra_macs == (2 if name == "nlvr2" else 1) * one + head


def test_blank_batches_are_trained_on(nlvr2: RealNlvr2, flickr30k: RealRetrieval) -> None:
    pair, batch = (task.blank((5, 32, 64)) for task in (nlvr2, flickr30k))
    assert (len(pair.left.input_ids), len(batch.input_ids)) == (4, 4 * 16) and len(batch.pixels) == 4 and pair.right.image_type == 2
    assert batch.image_index.tolist() == [place for place in range(4) for _ in range(16)]
    for task, blank in ((nlvr2, pair), (flickr30k, batch)):
        assert assemble(Lora(), "vilt", task, 0, preset="mini", plan=None, pretrained=False).loss(blank).isfinite()


@pytest.mark.parametrize("name", TASKS)
def test_a_damaged_picture_is_told(name: str, request: pytest.FixtureRequest) -> None:
    task = request.getfixturevalue(name)
    path = Path(task.split("test").images.paths[1])
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(UserError, match=f"{path.name} is damaged"):
        list(task.batches("test", 0))
