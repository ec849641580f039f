"""CLIP's image sets at the papers' size: shots, prompts, base and new classes, a training on small pictures, costs without data."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from clips import at_paper_size, mini
from mirrored import photograph, put_tokenizer, view
from PIL import Image

from suite import cost
from suite.assemble import assemble
from suite.backbones.clip import CLIP
from suite.core import Features
from suite.data.coop import SETS, Coop
from suite.data.imagenet import ImageNet
from suite.data.text import CLS, SEP, tokenizer
from suite.errors import UserError
from suite.plugins import discover
from suite.recipe import Recipe
from suite.tasks.prototypes import NO_CHOICE
from suite.tasks.prototypes import Prototypes
from suite.tasks.real_classes import TASKS, RealFewShot
from suite.train import evaluate_on, fit, outputs_on

NAMES = ["Crop", "Forest", "Grass", "Highway", "Industry", "Pasture", "Permanent_Crop", "Houses", "River", "Lake"]
SHORT = {3: 5}
"""Class with fewer training pictures than shots, and how many."""
PARTS = {"train": 18, "val": 5, "test": 3}
LENGTH = 32
"""Tokens of a text: the positions of the mini backbone."""
RECIPE = Recipe(epochs=3, batch_size=32, shared_lr=None, warmup=0.0)


def coloured(path: Path, label: int, number: int) -> None:
    """A picture of the class's own colour, with noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    colour = np.array([40 + 170 * (label % 2), 40 + 42 * (label // 2), 200 - 30 * (label % 5)])
    noise = np.random.default_rng(number).integers(-25, 25, (64, 72, 3))
    Image.fromarray((colour + noise).clip(0, 255).astype(np.uint8)).save(path)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mirror with EuroSAT's ten classes and three of ImageNet, and the tokenizer."""
    folder = tmp_path_factory.mktemp("mirror")
    put_tokenizer(folder)
    split: dict[str, list[list[Any]]] = {part: [] for part in PARTS}
    for part, count in PARTS.items():
        for label, name in enumerate(NAMES):
            for number in range(SHORT.get(label, count) if part == "train" else count):
                split[part].append([f"{name}/{part}_{number}.png", label, name])
                coloured(folder / "eurosat/2750" / name / f"{part}_{number}.png", label, number + 100 * len(part))
    (folder / "eurosat/split_zhou_EuroSAT.json").write_text(json.dumps(split))
    (folder / "imagenet").mkdir()
    (folder / "imagenet/classnames.txt").write_text("n0 tench\nn1 sea lion\nn2 missile\n")
    for label in range(3):
        for part, count in (("train", 23), ("val", 2)):
            for number in range(count):
                photograph(folder / f"imagenet/images/{part}/n{label}/n{label}_{number}.JPEG", number=number)
    return folder


@pytest.fixture(autouse=True)
def mirror(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PETLBENCH_MIRROR", str(home))
    monkeypatch.setattr(ImageNet, "count", 3)


def eurosat(name: str = "eurosat") -> RealFewShot:
    """The small one, bound to a view of the mini backbone."""
    sizes = {"train": 9 * PARTS["train"] + SHORT[3], "validation": 10 * PARTS["val"], "test": 10 * PARTS["test"]}
    return dataclasses.replace(TASKS[name](), reader=Coop("eurosat", sizes)).bound(view(length=LENGTH), RECIPE)


def small_imagenet(name: str) -> RealFewShot:
    return dataclasses.replace(TASKS[name](), reader=ImageNet("imagenet", {"train": 69, "test": 6})).bound(view(length=LENGTH), RECIPE)


def test_every_set_is_a_task_twice() -> None:
    sets = ["imagenet", "aircraft", *SETS]
    assert list(TASKS) == [*sets, *(f"{name}-new" for name in sets)] and len(TASKS) == 22
    for name in TASKS:
        task = TASKS[name]()
        assert task.name == name and task.dataset == name.removesuffix("-new")
        assert task.presets == ("paper",) and task.backbones == ("clip",) and task.group == ""
        assert task.recipe == Recipe(epochs=50, batch_size=32, shared_lr=None)
        assert task.metric == ("h_mean" if name.endswith("-new") else "accuracy")


def test_sizes_and_floors_that_are_known_without_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PETLBENCH_MIRROR", str(tmp_path))
    pets, pets_new = TASKS["oxford-pets"](), TASKS["oxford-pets-new"]()
    assert [pets.about(split) for split in ("train", "validation", "test")] == [37 * 16, 37 * 4, 3_669] and pets.sequences() == 37 * 16
    assert [pets_new.about(split) for split in ("train", "validation", "test")] == [19 * 16, 19 * 4, 3_669]
    assert pets.floors() == dict.fromkeys(("majority", "blind"), pytest.approx(100 / 37))
    assert pets_new.floors() == dict.fromkeys(("majority", "blind"), pytest.approx(2 / (0.19 + 0.18)))
    with pytest.raises(UserError, match="oxford-pets is neither below"):
        pets.sizes


def test_sixteen_shots_of_each_class_four_to_validate_and_the_whole_test() -> None:
    task = eurosat()
    counted = {split: Counter(task.split(split).labels.tolist()) for split in ("train", "validation", "test")}
    shots = {"train": 16, "validation": 4, "test": 3}
    assert counted == {split: dict.fromkeys(range(10), count) | (SHORT if split == "train" else {}) for split, count in shots.items()}
    assert task.sizes == {"train": 149, "validation": 40, "test": 30, "search-train": 120, "search-reward": 29}
    for split, size in task.sizes.items():
        data = task.split(split)
        assert len(data) == size and set(data.texts) == {""} and len(data.images) == size
        for row in (0, size - 1):
            path = Path(data.images.paths[data.image_of[row, 0]])
            assert path.parent.name == NAMES[data.labels[row]] and str(path).endswith(data.clusters[row])
            assert path.name.startswith({"validation": "val", "test": "test"}.get(split, "train"))


def test_base_classes_alone_are_trained_on_and_their_shots_are_the_same() -> None:
    whole, task = eurosat(), eurosat("eurosat-new")
    for split, shots in (("train", 16), ("validation", 4)):
        mine = task.split(split)
        assert Counter(mine.labels.tolist()) == {label: SHORT.get(label, 16) if split == "train" else shots for label in range(5)}
        assert [cluster for cluster, label in zip(whole.split(split).clusters, whole.split(split).labels) if label < 5] == mine.clusters
    assert task.sizes == {"train": 69, "validation": 20, "test": 30, "search-train": 56, "search-reward": 13}
    assert task.split("test").clusters == whole.split("test").clusters and tuple(task.reader.base) == (True,) * 5 + (False,) * 5


def test_the_draw_is_fixed() -> None:
    assert eurosat().split("train").clusters == eurosat().split("train").clusters
    seen = {name: sorted(cluster for cluster in eurosat().split("train").clusters if name in cluster) for name in ("Forest", "River")}
    numbers = {name: {int(cluster.split("_")[1][:-4]) for cluster in clusters} for name, clusters in seen.items()}
    assert all(len(found) == 16 for found in numbers.values()) and numbers["Forest"] != numbers["River"], "not the first sixteen of each"


def test_imagenet_validates_on_training_pictures_that_are_not_trained_on() -> None:
    task = small_imagenet("imagenet")
    rows = {split: task.split(split) for split in ("train", "validation", "test")}
    assert {split: len(data) for split, data in rows.items()} == {"train": 48, "validation": 12, "test": 6}
    assert Counter(rows["validation"].labels.tolist()) == {0: 4, 1: 4, 2: 4}
    assert not {*rows["train"].clusters} & {*rows["validation"].clusters}
    assert all("/train/" in cluster for split in ("train", "validation") for cluster in rows[split].clusters)
    new = small_imagenet("imagenet-new")
    assert {*new.split("validation").labels.tolist()} == {*new.split("train").labels.tolist()} == {0, 1}
    assert new.split("test").labels.tolist() == [0, 0, 1, 1, 2, 2]


def test_no_picture_is_opened_before_a_batch_needs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr(Image, "open", lambda path: opened.append(str(path)) or Image.new("RGB", (70, 64)))
    task = small_imagenet("imagenet-new")
    assert task.sizes["train"] == 32 and task.data_hash() == small_imagenet("imagenet").data_hash()
    assert len(task.split("train")) == 32 and opened == []
    next(iter(task.batches("test", 0)))
    assert len(opened) == 6 and all("/val/" in path for path in opened)


def test_a_row_without_text_is_two_special_tokens() -> None:
    task = eurosat()
    batch = next(iter(task.batches("validation", 0)))
    assert batch.input_ids.tolist() == [[CLS, SEP]] * 40 and batch.text_mask.all()
    assert batch.pixels.shape == (40, 3, 64, 64) and batch.labels.equal(task.split("validation").labels[batch.ids])


def test_prompts_are_coops_with_the_names_of_the_classes() -> None:
    task, own = eurosat(), mini()
    head = task.head(own)
    told = [tokenizer().decode(ids[there].tolist()).replace(" ##", "").replace(" .", ".") for ids, there in zip(head.ids, head.there)]
    assert told[0] == "a centered satellite photo of crop." and told[6] == "a centered satellite photo of permanent crop."
    assert head.there.sum(1).unique().numel() > 1, "texts of different lengths"
    assert [p.shape for p in head.parameters()] == [(1,)] and list(head.state_dict()) == ["log_scale"]
    pooled = torch.nn.functional.normalize(torch.randn(2, own.width), dim=1)
    with torch.no_grad():
        alone = torch.cat([own.text_features(ids[there][None]) for ids, there in zip(head.ids, head.there)])
        found = head(own, Features(pooled, pooled, pooled))
        torch.testing.assert_close(found, own.logit_scale * pooled @ alone.T, atol=1e-4, rtol=1e-4)
        head.log_scale.fill_(1.0)
        torch.testing.assert_close(head(own, Features(pooled, pooled, pooled)), torch.e * found, atol=1e-4, rtol=1e-4)


def test_a_prompt_and_what_is_put_into_it_fit_together() -> None:
    task, own = eurosat(), mini()
    longest = int(task.head(own).there.sum(1).max())
    discover().get("coop")(length=LENGTH - longest).attach(own)
    assert task.head(own).ids.shape == (10, longest) and task.bound(None, RECIPE).head(own).ids.shape == (10, 77 - LENGTH + longest)
    with pytest.raises(UserError, match=f"a prompt of {longest} tokens and the {LENGTH - longest} of the method's own are more than 31$"):
        task.bound(view(length=LENGTH - 1), RECIPE).head(own)


def test_names_are_asked_for_where_weights_are_real(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bound = eurosat()
    monkeypatch.setenv("PETLBENCH_MIRROR", str(tmp_path))
    with pytest.raises(UserError, match="eurosat is neither below PETLBENCH_MIRROR"):
        bound.head(mini())
    for task in (TASKS["eurosat"](), TASKS["eurosat"]().bound(CLIP.view, RECIPE)):
        blank = task.head(at_paper_size())
        assert isinstance(blank, Prototypes) and blank.ids.shape == blank.there.shape == (10, 77)
    probe = TASKS["imagenet-new"]().head(at_paper_size(), "linear")
    assert probe.weight.shape == (3, 768)


@pytest.mark.parametrize("name", ["linear_probe", "coop", "lora"])
def test_a_method_learns_the_shots(name: str) -> None:
    task = eurosat()
    model = assemble(discover().get(name)(), "clip", task, 0, preset="mini", plan=None)
    protocol = fit(model, dataclasses.replace(RECIPE, epochs=6), 0, {"linear_probe": 1e-2, "coop": 2e-2, "lora": 5e-3}[name])
    losses = [point["loss"] for point in protocol.curve]
    assert losses[-1] < 0.5 * losses[0]
    metrics, correct, clusters = evaluate_on(model, "test")
    assert metrics == {"accuracy": pytest.approx(100 * sum(correct) / 30)} and len(clusters) == 30
    if name == "linear_probe":
        assert metrics["accuracy"] > 60, "ten colours"


def test_new_classes_are_met_in_the_test_alone() -> None:
    task = eurosat("eurosat-new")
    model = assemble(discover().get("coop")(), "clip", task, 0, preset="mini", plan=None)
    shown: list[int] = []
    loss = task.loss
    task.loss = lambda backbone, head, batch: shown.extend(batch.labels.tolist()) or loss(backbone, head, batch)
    fit(model, dataclasses.replace(RECIPE, epochs=1), 0, 1e-3)
    assert len(shown) == 69 and set(shown) == set(range(5))
    outputs = outputs_on(model, "test")
    logits, labels = torch.cat(outputs), task.split("test").labels
    assert logits.shape == (30, 10) and (logits == NO_CHOICE).sum(1).tolist() == [5] * 30
    assert all((row[:5] == NO_CHOICE).all() == bool(label >= 5) for row, label in zip(logits, labels))
    metrics, correct, _ = task.score("test", outputs)
    assert metrics["base"] == pytest.approx(100 * sum(correct[:15]) / 15) and metrics["new"] == pytest.approx(100 * sum(correct[15:]) / 15)
    assert set(metrics) == {"base", "new", "h_mean"} and set(evaluate_on(model, "validation")[0]) == {"base", "h_mean"}


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No data, and the published number of ImageNet's classes."""
    monkeypatch.setenv("PETLBENCH_MIRROR", str(tmp_path))
    monkeypatch.setattr(ImageNet, "count", 1_000)


@pytest.mark.parametrize("name", ["eurosat", "imagenet-new"])
def test_costs_need_no_data(nowhere: None, name: str) -> None:
    found = {method: cost.measure(discover().get(method)(), "clip", TASKS[name](), preset="paper", memory=False)
             for method in ("zero_shot", "linear_probe", "coop", "apt")}  # fmt: skip
    classes = TASKS[name]().reader.count
    picture, vision, text = found["linear_probe"].macs, 12 * (4 * 768**2 + 8 * 768**2), 12 * 12 * 512**2
    assert 197 * vision < picture < 1.1 * 197 * vision
    assert 77 * classes * text < found["zero_shot"].macs - picture < 1.1 * 77 * classes * text
    assert found["coop"].macs == found["zero_shot"].macs < found["apt"].macs, "learned context takes the place of padding"
    assert found["linear_probe"].trainable_all == 769 * classes and found["coop"].trainable_all == 4 * 512 + 1
    assert [found[method].trainable for method in ("zero_shot", "linear_probe", "coop")] == [0, 0, 4 * 512]


@pytest.mark.parametrize("name", ["eurosat", "eurosat-new"])
def test_a_blank_step_needs_no_data(nowhere: None, name: str) -> None:
    task = TASKS[name]().bound(CLIP.view, dataclasses.replace(RECIPE, micro_batch=2))
    model = assemble(discover().get("coop")(), "clip", task, 0, preset="paper", plan=None, pretrained=False, device="meta")
    batch = cost.example(task, model.backbone.papers_input())
    assert batch.pixels.shape == (2, 3, 224, 224) and batch.labels.tolist() == [0, 0] and batch.input_ids.shape == (2, 77)
    model.loss(batch).backward()
    assert all(p.grad is not None for p in model.trained().values())


def test_shallow_prompts_find_no_room(nowhere: None) -> None:
    with pytest.raises(UserError, match="dtd: a prompt of 1 tokens and the 200 of the method's own are more than 77"):
        cost.measure(discover().get("prompt_shallow")(), "clip", TASKS["dtd"](), preset="paper", memory=False)
