"""Classes by their names: the data of world-classes and digits, heads, base and new classes, floors."""

from __future__ import annotations

import dataclasses
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from clips import mini
from torch import Tensor

from suite import tasks
from suite.core import Features
from suite.data import classes, world
from suite.data.classes import Digits, WorldClasses
from suite.data.text import tokenize
from suite.errors import UserError
from suite.prefix import Stored
from suite.tasks.prototypes import NO_CHOICE, SHOTS, BaseToNew, Probe, Prototypes, prototypes

NAMES = ("world-classes", "digits")


@pytest.fixture(scope="module")
def reader() -> WorldClasses:
    return WorldClasses("world-classes", {"train": 40, "validation": 20, "test": 80})


def test_base_and_new_classes_share_all_colours_and_shapes(reader: WorldClasses) -> None:
    assert len(reader.classes) == len(set(reader.classes)) == 40 and sum(reader.base) == 20
    for key in (0, 1):
        for values in (Counter(kind[key] for kind, base in zip(classes.KINDS, reader.base) if base == side) for side in (True, False)):
            assert len(values) == (len(world.COLOURS), len(world.SHAPES))[key] and max(values.values()) - min(values.values()) <= 1


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_the_large_object_is_the_class(reader: WorldClasses, split: str) -> None:
    labels = reader.rows(split)["label"]
    wanted = set(range(40)) if split == "test" else {k for k in range(40) if reader.base[k]}
    assert set(labels) == wanted and len({*Counter(labels).values()}) == 1
    drawn = classes._with_large(reader.scenes(split, len(labels)), np.array([classes.KINDS[k] for k in labels]).T)
    for i, label in enumerate(labels):
        first, *others = drawn.objects(i)
        assert (first.colour, first.shape) == classes.KINDS[label] and first.size == 1 and others and not any(o.size for o in others)
    for slot in range(world.SLOTS):
        radius, limits = drawn.radius[:, slot], ((4, 6), (9, 11))[slot == 0]
        assert limits[0] == radius.min() and radius.max() == limits[1]
        for place in (drawn.x, drawn.y):
            assert (place[:, slot] >= radius).all() and (place[:, slot] + radius < world.SIDE).all()


def test_digits_are_scikit_learns() -> None:
    from sklearn.datasets import load_digits

    reader = Digits("digits", {"train": 160, "validation": 400, "test": 1200})
    rows = {name: reader.rows(name) for name in reader.sizes}
    assert {*Counter(rows["train"]["label"]).values()} == {16} and reader.classes[8] == "eight"
    ids = [image for part in rows.values() for image in part["image_id"]]
    assert len(ids) == len(set(ids)) == 1760, "no digit is in two splits"
    source = {image.tobytes(): int(label) for image, label in zip(*(load_digits()[key] for key in ("images", "target")))}
    data = reader.split("test")
    for row in (0, 500, 1199):
        picture = np.asarray(data[row]["image"], dtype=float)
        assert picture.shape == (64, 64, 3) and (picture == picture[..., :1]).all()
        cells = picture[..., 0].reshape(8, 8, 8, 8)[:, 3:5, :, 3:5].mean((1, 3))  # a cell's middle has its own value, nearly
        nearest = min(source, key=lambda raw: np.abs(255 - np.frombuffer(raw).reshape(8, 8) * 255 / 16 - cells).sum())
        assert source[nearest] == data[row]["label"]


def test_more_digits_than_there_are() -> None:
    with pytest.raises(UserError, match="digits/test: 1797 digits there are, 2000 asked for"):
        Digits("digits", {"train": 1000, "test": 1000}).rows("test")


@pytest.mark.parametrize("name", NAMES)
def test_sixteen_shots_and_no_text(name: str) -> None:
    task = tasks.load(name)
    data = task.split("train")
    assert {*Counter(data.labels.tolist()).values()} == {SHOTS} and set(data.texts) == {""}
    assert task.backbones == ("clip",) and task.group == "" and task.recipe.epochs >= 5
    batch = next(iter(task.batches("train", 0, shuffle=True)))
    assert batch.pixels.shape == (task.recipe.batch_size, 3, 64, 64) and batch.labels.equal(data.labels[batch.ids])


def test_a_class_is_told_by_its_name() -> None:
    """Here by a backbone that gives each text a direction of its own."""
    head = prototypes(["a red circle", "a large red circle"])
    assert head.ids.equal(torch.from_numpy(tokenize(["a red circle", "a large red circle"])[0]))
    read: list[Tensor] = []
    backbone = SimpleNamespace(text_features=lambda ids, mask: read.append(mask) or torch.eye(2), logit_scale=torch.tensor(3.0))
    pooled = torch.tensor([[0.6, 0.8]])
    torch.testing.assert_close(head(backbone, Features(pooled, pooled, pooled)), 3 * pooled)
    assert read[0].sum(1).diff().item() == 1
    head.log_scale.data.fill_(1.0)
    torch.testing.assert_close(head(backbone, Features(pooled, pooled, pooled)), 3 * torch.e * pooled)


def test_heads_by_read_out() -> None:
    own = mini()
    probe, prototypes = (tasks.load("digits").head(own, readout) for readout in ("linear", "task"))
    assert isinstance(probe, Probe) and probe.weight.shape == (10, own.vision_width)
    assert isinstance(prototypes, Prototypes) and [p.shape for p in prototypes.parameters()] == [(1,)]
    tokens = torch.randn(2, 5, own.vision_width)
    torch.testing.assert_close(probe(own, Features(tokens[:, 1], tokens, tokens)), tokens[:, 0] @ probe.weight.T + probe.bias)


@pytest.fixture(scope="module")
def task() -> BaseToNew:
    reader = WorldClasses("world-classes", {"train": 40, "validation": 20, "test": 80})
    return dataclasses.replace(tasks.load("world-classes"), reader=reader)


def test_a_picture_competes_among_its_own_kind_of_classes(task: BaseToNew) -> None:
    base = torch.tensor(task.reader.base)
    labels = torch.tensor([0, 1])
    assert base[labels].tolist() == [True, False]
    found = task.among(torch.zeros(2, 40), labels)
    assert found[0].eq(NO_CHOICE).equal(~base) and found[1].eq(NO_CHOICE).equal(base)


def outputs(task: BaseToNew, split: str, right: dict[bool, int]) -> list[Tensor]:
    """Logits that are right in the first so many rows of the base (True) and of the new classes; wrong ones name another row's class."""
    labels, base = task.split(split).labels, torch.tensor(task.reader.base)
    logits = torch.zeros(len(labels), 40)
    for side in (True, False):
        for count, row in enumerate((base[labels] == side).nonzero()[:, 0].tolist()):
            choices = (base == side).nonzero()[:, 0]
            logits[row, labels[row] if count < right[side] else choices[choices != labels[row]][0]] = 1
    return list(task.among(logits, labels).split(30))


def test_the_headline_is_the_harmonic_mean(task: BaseToNew) -> None:
    metrics, correct, clusters = task.score("test", outputs(task, "test", {True: 30, False: 10}))
    assert metrics == pytest.approx({"base": 75, "new": 25, "h_mean": 37.5}) and sum(correct) == 40 and len(clusters) == 80
    assert task.score("test", outputs(task, "test", {True: 40, False: 0}))[0]["h_mean"] == 0
    metrics = task.score("validation", outputs(task, "validation", {True: 5, False: 0}))[0]
    assert metrics == pytest.approx({"base": 25, "h_mean": 25}), "no new class is seen before the test"
    broken = [torch.full((80, 40), torch.nan)]
    assert task.score("test", broken)[0]["h_mean"] == 0


def test_floors_are_chance(task: BaseToNew) -> None:
    assert task.floors() == {"majority": 5.0, "blind": 5.0}
    assert tasks.load("digits").floors() == {"majority": pytest.approx(10, abs=0.5), "blind": pytest.approx(10, abs=0.5)}


def test_stored_pictures_give_the_same(task: BaseToNew, tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    own = mini()
    head = task.head(own)
    own.requires_grad_(False)
    stored = Stored.of(own)
    plain, cached = ([task.predict(own, head, b) for b in task.batches("test", 0, stored=s)] for s in (None, stored))
    torch.testing.assert_close(torch.cat(cached), torch.cat(plain), atol=1e-4, rtol=1e-5)


def test_one_class_is_refused() -> None:
    class One(Digits):
        classes = ("zero",)

    task = dataclasses.replace(tasks.load("digits"), reader=One("digits", {"train": 10}))
    with pytest.raises(UserError, match="^digits has 1 class: there is nothing to choose from$"):
        task.head(mini())
