"""DreamBooth at the papers' size: words, splits, a training with the mini backbone, what small encoders say, costs without data."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusions import mini
from mirrored import WORDS as VOCABULARY
from mirrored import put_tokenizer, view
from PIL import Image
from test_dreambooth import LIVE, OBJECTS, SUBJECTS, text
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPModel, PreTrainedTokenizerFast, ViTConfig, ViTModel

from suite import cost
from suite.assemble import assemble
from suite.core import Batch
from suite.data import seen
from suite.data.dreambooth import DreamBooth
from suite.data.text import CLS, PATH, SEP, tokenizer
from suite.errors import UserError
from suite.plugins import discover
from suite.recipe import Recipe
from suite.tasks import real_subject
from suite.tasks.real_subject import CLIP_B32, DINO_S16, TASKS, WORDS, Encoders, RealSubjects
from suite.train import evaluate_on, fit, flags, outputs_on

RECIPE = Recipe(epochs=2, batch_size=5, shared_lr=None)
SIZES = {"train": 15, "test": 24}


def shake(module: nn.Module) -> None:
    """So that pictures are told apart by random weights."""
    torch.manual_seed(1)
    for parameter in module.parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=0.2)


def put_encoders(home: Path) -> None:
    """CLIP and DINO in small, as the hub has them."""
    small = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    words = {"vocab_size": VOCABULARY, "max_position_embeddings": 40, "bos_token_id": CLS, "eos_token_id": SEP}
    clip = CLIPModel(CLIPConfig(text_config=small | words, vision_config=small | {"image_size": 32, "patch_size": 8}, projection_dim=24))
    dino = ViTModel(ViTConfig(**small, image_size=48, patch_size=16), add_pooling_layer=False)
    for model, name in ((clip, CLIP_B32), (dino, DINO_S16)):
        shake(model)
        model.save_pretrained(home / name)
    PreTrainedTokenizerFast(tokenizer_file=str(PATH), pad_token="[PAD]", eos_token="[SEP]").save_pretrained(home / CLIP_B32)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three subjects, each of a colour of its own, tokenizers and encoders."""
    folder = tmp_path_factory.mktemp("mirror")
    put_tokenizer(folder)
    put_encoders(folder)
    for number, (name, (_, count)) in enumerate(SUBJECTS.items()):
        for k in range(count):
            colour = np.eye(3)[number] * 200 + np.random.default_rng([number, k]).integers(0, 50, (64, 80, 3))
            place = folder / f"dreambooth/dataset/{name}/{k:02d}.jpg"
            place.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(colour.astype(np.uint8)).save(place)
    (folder / "dreambooth/dataset/prompts_and_classes.txt").write_text(text())
    return folder


@pytest.fixture(autouse=True)
def mirror(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PETLBENCH_MIRROR", str(home))


def unbound() -> RealSubjects:
    return dataclasses.replace(TASKS["dreambooth"](), reader=DreamBooth("dreambooth", dict(SIZES)), subjects=3, steps=2)


def small() -> RealSubjects:
    """Bound to a view of the mini backbone."""
    return unbound().bound(view(length=32, side=32, padded=True), RECIPE)


def test_published_sizes_are_known_without_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PETLBENCH_MIRROR", str(tmp_path))
    task = TASKS["dreambooth"]()
    assert task.sizes == {"train": 158, "validation": 120, "test": 2_880, "search-train": 127, "search-reward": 31}
    assert (task.name, task.dataset, task.metric, task.presets, task.backbones) == ("dreambooth",) * 2 + (
        "dino", ("paper",), ("stable_diffusion",))  # fmt: skip
    assert (task.steps, task.guidance, task.recipe.epochs, task.evaluation_batch) == (50, 7.5, 200, 8)
    assert task.passes("validation") == 120 * 50 * 2 and task.sequences() == 158


def test_each_subject_has_a_rare_word_of_its_own() -> None:
    assert len(set(WORDS)) == len(WORDS) == 30 and WORDS[0] == "sks"
    task = small()
    assert task.split("train").texts[::5] == ["a sks backpack", "a ohwx stuffed animal", "a hns dog"]
    assert all(WORDS[label] in told.split() for told, label in zip(task.split("test").texts, task.split("test").labels))


def test_one_prompt_of_each_subject_is_validation_and_no_part_of_test() -> None:
    task = small()
    found = {split: Counter(zip(task.split(split).texts, task.split(split).labels.tolist())) for split in ("validation", "test")}
    assert not found["validation"].keys() & found["test"].keys() and set(found["validation"].values()) == set(found["test"].values()) == {4}
    assert all(Counter(label for _, label in prompts) == {0: 1, 1: 1, 2: 1} for prompts in found.values())
    asked = {told for prompts in found.values() for told, _ in prompts}
    assert asked == {prompt.format(WORDS[k], noun) for k, (noun, _) in enumerate(SUBJECTS.values())
                     for prompt in (LIVE if noun == "dog" else OBJECTS)}  # fmt: skip
    assert task.split("validation").texts == small().split("validation").texts
    assert {split: len(task.split(split)) for split in ("train", "validation", "test")} == {
        "train": 15, "validation": 12, "test": 12}  # fmt: skip


def test_training_batches_have_pictures_and_prompts_have_none() -> None:
    task = small()
    train = list(task.batches("train", 0, shuffle=True))
    assert [b.pixels.shape for b in train] == [(5, 3, 32, 32)] * 3 and sorted(i for b in train for i in b.ids.tolist()) == list(range(15))
    for row, colour in zip(train[0].ids.tolist(), train[0].pixels.mean((2, 3))):
        assert colour.argmax() == task.split("train").labels[row]
    test = list(task.batches("test", 0))
    assert [len(b.input_ids) for b in test] == [8, 4] and all(b.pixels is None for b in test)
    assert all(b.input_ids.shape[1] == b.text_mask.shape[1] == 32 and b.text_mask.all() for b in train + test), "padding is read"
    assert tokenizer().decode(test[0].input_ids[0].tolist()).replace(" ##", "") == task.split("test").texts[test[0].ids[0]].lower()


def test_the_mini_backbone_learns_and_is_judged() -> None:
    task = small()
    model = assemble(discover().get("lora")(), "stable_diffusion", task, 0, preset="mini", plan=None)
    before = {name: p.detach().clone() for name, p in model.trained().items()}
    protocol = fit(model, dataclasses.replace(RECIPE, epochs=8), 0, 1e-2)
    assert all(not p.equal(before[name]) for name, p in model.trained().items()) and list(model.head.parameters()) == []
    assert np.mean([point["loss"] for point in protocol.curve[-3:]]) < protocol.curve[0]["loss"]
    assert set(evaluate_on(model, "validation")[0]) == {"dino", "clip_i", "clip_t", "subject"}
    outputs = outputs_on(model, "test")
    assert [part.shape for part in outputs] == [(8, 3, 32, 32), (4, 3, 32, 32)] and all(part.dtype is torch.float16 for part in outputs)
    metrics, correct, clusters = task.score("test", outputs)
    assert metrics["subject"] == pytest.approx(100 * sum(correct) / 12) and len(clusters) == 12 and clusters[0] == "subject 0"
    assert set(flags(task, metrics)) <= {"below the blind floor", "below the majority floor"}


def photographs(task: RealSubjects, labels: list[int]) -> Tensor:
    """Of each of these subjects its second photograph."""
    train = task.split("train")
    rows = [(train.labels == label).nonzero()[1, 0] for label in labels]
    return seen.pictures(task.view, [train.images.open(int(train.image_of[row, 0])) for row in rows])[0]


def test_photographs_of_the_right_subject_are_right() -> None:
    task = small()
    labels = task.split("test").labels.tolist()
    right, correct, clusters = task.judged("test", photographs(task, labels))
    assert all(correct) and right["subject"] == 100 and clusters == [f"subject {label}" for label in labels]
    wrong, others, _ = task.judged("test", photographs(task, [(label + 1) % 3 for label in labels]))
    assert not any(others) and wrong["subject"] == 0
    assert wrong["dino"] < right["dino"] and wrong["clip_i"] < right["clip_i"] and wrong["dino"] < task.floors()["blind"] < right["dino"]


def test_scores_are_mean_cosines(home: Path) -> None:
    """Computed once more, by the libraries' own forward."""
    task = small()
    rows, train = task.columns("test"), task.split("train")
    samples = photographs(task, [2] * 12)
    found = task.judged("test", samples)[0]
    clip, dino = CLIPModel.from_pretrained(home / CLIP_B32), ViTModel.from_pretrained(home / DINO_S16, add_pooling_layer=False)
    mean, std = (torch.tensor(values)[:, None, None] for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    clip_mean, clip_std = (torch.tensor(values)[:, None, None] for values in (
        (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)))  # fmt: skip

    def sized(pixels: Tensor, side: int) -> Tensor:
        return (torch.nn.functional.interpolate(pixels, (side, side), mode="bicubic", antialias=True).clamp(-1, 1) + 1) / 2

    def by_clip(pixels: Tensor) -> Tensor:
        vision = clip.vision_model((sized(pixels, 32) - clip_mean) / clip_std).pooler_output
        return torch.nn.functional.normalize(clip.visual_projection(vision), dim=1)

    def by_dino(pixels: Tensor) -> Tensor:
        states = dino((sized(pixels, 48) - mean) / std).last_hidden_state
        return torch.nn.functional.normalize(states[:, 0], dim=1)

    real = seen.pictures(view(side=32), [train.images.open(int(row)) for row in train.image_of[:, 0]])[0]
    plain = [told.replace(f"{WORDS[label]} ", "") for told, label in zip(task.split("test").texts, rows["label"])]
    ids = tokenizer().encode_batch(plain)
    with torch.no_grad():
        pairs = {"dino": by_dino(samples) @ by_dino(real).T, "clip_i": by_clip(samples) @ by_clip(real).T}
        texts = [clip.text_projection(clip.text_model(torch.tensor([one.ids])).last_hidden_state[:, -1]) for one in ids]
        told = torch.nn.functional.normalize(torch.cat(texts), dim=1)
        wanted = {"clip_t": (by_clip(samples) * told).sum(1).mean()}
    for name, cosines in pairs.items():
        wanted[name] = torch.stack([row[train.labels == label].mean() for row, label in zip(cosines, rows["label"])]).mean()
    for name, value in wanted.items():
        assert found[name] == pytest.approx(100 * value.item(), abs=0.05), name


def test_a_sample_that_is_not_finite_is_wrong() -> None:
    task = small()
    samples = photographs(task, task.split("test").labels.tolist())
    whole = task.judged("test", samples)[0]
    samples[5] = torch.nan
    metrics, correct, _ = task.judged("test", samples)
    assert [row for row, right in enumerate(correct) if not right] == [5] and metrics["subject"] == pytest.approx(100 * 11 / 12)
    assert all(metrics[name] == pytest.approx(whole[name] * 11 / 12, rel=0.05) for name in ("dino", "clip_i"))


def test_floors_need_no_view() -> None:
    """They depend on photographs and encoders alone."""
    features = unbound()._known()["dino"]
    every = (features @ features.T).mean().item()
    assert unbound().floors() == dict.fromkeys(("majority", "blind"), pytest.approx(100 * every, rel=1e-4))


def test_what_is_kept_to_look_at() -> None:
    task = small()
    labels = task.split("test").labels.tolist()
    kept = task.kept("test", list(photographs(task, labels).split(8)))
    assert kept["samples"].shape == kept["learned"].shape == (12, 64, 64, 3) and kept["samples"].dtype == kept["learned"].dtype == np.uint8
    assert kept["prompts"].tolist() == task.split("test").texts
    for pictures in (kept["samples"], kept["learned"]):
        assert pictures.mean((1, 2)).argmax(1).tolist() == labels


def test_encoders_are_asked_for_before_anything_is_trained(home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert unbound().data_hash() == unbound().data_hash() != DreamBooth("dreambooth", dict(SIZES)).content_hash()
    (tmp_path / "dreambooth").symlink_to(home / "dreambooth")
    monkeypatch.setenv("PETLBENCH_MIRROR", str(tmp_path))
    for name in (CLIP_B32, DINO_S16):
        with pytest.raises(UserError, match=f"^checkpoint {name} is neither reachable nor below PETLBENCH_MIRROR: ") as error:
            unbound().data_hash()
        assert "\n" not in str(error.value)
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).symlink_to(home / name)
    assert len(unbound().data_hash()) == 64
    (tmp_path / CLIP_B32).unlink()
    (tmp_path / CLIP_B32).symlink_to(home / DINO_S16)
    with pytest.raises(UserError, match="CLIPModel in checkpoint|is damaged or of another model"):
        Encoders()


@pytest.mark.parametrize("name", ["lora", "apt"])
def test_costs_need_no_data(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PETLBENCH_MIRROR", str(tmp_path))
    found = cost.measure(discover().get(name)(), "stable_diffusion", TASKS["dreambooth"](), preset="paper", memory=False)
    assert 0.98 * 401.6e9 < found.macs - found.extra_macs < 1.02 * 401.6e9 and 0 < found.extra_macs < 0.2 * found.macs
    assert 0 < found.trainable == found.trainable_all < 0.1 * found.total
    blank = TASKS["dreambooth"]().blank((77, 512, 512))
    assert isinstance(blank, Batch) and blank.input_ids.shape == (10, 77) and blank.pixels.shape == (10, 3, 512, 512)


def test_samples_depend_on_prompt_and_row_alone() -> None:
    task, backbone = small(), mini()
    one = task.samples("test", [task.predict(backbone, None, b) for b in task.batches("test", 0)])
    task.evaluation_batch = 5
    two = task.samples("test", [task.predict(backbone, None, b) for b in task.batches("test", 1)])
    torch.testing.assert_close(one, two, atol=2e-3, rtol=0)
    assert len({picture.numpy().tobytes() for picture in one}) == 12
    assert real_subject.encoders() is real_subject.encoders()
