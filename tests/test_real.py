"""What the papers' tasks share: texts and photographs as a view has them, augmentation, batches, and what is told of damaged files."""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from built import assert_close
from mirrored import WORDS, colourful, put_tokenizer, snli_ve, view
from PIL import Image, ImageOps

from suite.core import Batch
from suite.data import augment, seen
from suite.data.augment import GREY, OPERATIONS, rand_augment
from suite.errors import UserError
from suite.recipe import Recipe
from suite.tasks import real
from suite.tasks.base import SEARCH_PARTS
from suite.tasks.real import ahead
from suite.tasks.real_vqa import RealVqa

TEXTS = ("a dog", "two people walk past a very long red train", "rain", "he sits", "the sky is red", "a man and a dog", "cats", "no one")
SIZES = ((100, 64), (64, 100), (300, 66), (64, 64))


@pytest.fixture(autouse=True)
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PETLBENCH_MIRROR", str(tmp_path))
    seen.tokenizer.cache_clear()
    put_tokenizer(tmp_path)


def task(home: Path, recipe: Recipe = Recipe(1, 4), **changes: object) -> RealVqa:
    """Eight rows about four photographs of different sizes in each split."""
    rows = [(text, row // 2) for row, text in enumerate(TEXTS)]
    return snli_ve(home, dict.fromkeys(("train", "validation", "test"), rows), SIZES).bound(view(**changes), recipe)


def opened(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("RGB")


@pytest.mark.parametrize(("size", "wanted"), [
    ((640, 480), (512, 384)), ((480, 640), (384, 512)), ((384, 384), (384, 384)), ((427, 640), (384, 576)), ((500, 375), (512, 384)),
    ((100, 1000), (64, 608)), ((2000, 20), (608, 32)), ((64, 48), (512, 384)),
])  # fmt: skip
def test_whole_pictures_are_scaled_as_vilt_scales_them(size: tuple[int, int], wanted: tuple[int, int]) -> None:
    """The shorter side becomes 384, the longer one at most 639; both are cut to multiples of 32."""
    assert seen.whole(size, 384) == wanted


def test_a_square_is_the_middle_of_the_scaled_picture() -> None:
    wide = Image.new("RGB", (300, 100), (0, 255, 0))
    wide.paste((255, 0, 0), (0, 0, 90, 100))
    wide.paste((0, 0, 255), (210, 0, 300, 100))
    for image, side in ((wide, 64), (wide.transpose(Image.Transpose.ROTATE_90), 32)):
        found = seen.picture(view(side=side), image)
        assert found.shape == (3, side, side) and found.mean((1, 2)).tolist() == [-1, 1, -1]
    image = colourful((90, 64))
    scaled = image.resize((45, 32), Image.Resampling.BICUBIC).crop((6, 0, 38, 32))
    assert_close(seen.picture(view(side=32), image), pixels(scaled))


def pixels(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1) / 127.5 - 1


@pytest.mark.parametrize("fit", ["square", "shorter"])
def test_pixels_are_from_minus_one_to_one_whatever_the_file(fit: str, tmp_path: Path) -> None:
    for mode, colour, wanted in (("RGB", (255, 0, 255), (1, -1, 1)), ("L", 255, (1, 1, 1)), ("RGBA", (0, 255, 0, 0), (-1, 1, -1)),
                                 ("CMYK", (0, 0, 0, 255), (-1, -1, -1)), ("P", 0, (-1, -1, -1)), ("1", 1, (1, 1, 1))):  # fmt: skip
        path = tmp_path / f"x.{'tiff' if mode == 'CMYK' else 'png'}"
        Image.new(mode, (80, 64), colour).save(path)
        found = seen.picture(view(fit=fit), real.Photographs([str(path)]).open(0))
        assert found.dtype is torch.float32 and found.shape == (3, 64, 64)
        assert found.flatten(1).unique(dim=1).flatten().tolist() == list(wanted), mode


def test_smaller_pictures_stand_in_the_upper_left_corner() -> None:
    images = [colourful(size, number) for number, size in enumerate(SIZES)]
    found, sizes = seen.pictures(view(fit="shorter"), images)
    assert sizes.tolist() == [[64, 96], [96, 64], [32, 96], [64, 64]] and found.shape == (4, 3, 96, 96)
    for image, place, (height, width) in zip(images, found, sizes.tolist(), strict=True):
        assert_close(place[:, :height, :width], pixels(image.resize((width, height), Image.Resampling.BICUBIC)))
        assert not place[:, height:].any() and not place[:, :, width:].any()
    assert seen.pictures(view(), images)[1] is None


def test_texts_are_cut_to_the_views_length_and_padded_where_it_says_so() -> None:
    found, there = seen.tokens(view(length=6), TEXTS)
    assert found.shape == there.shape == (8, 6) and found.dtype == np.int64 and (found[~there] == 0).all()
    whole, all_there = seen.tokens(view(length=40), TEXTS)
    assert np.array_equal(whole[0, :2], found[0, :2]) and 12 < whole.shape[1] < 40 and all_there.sum() > there.sum()
    assert seen.tokens(view(length=40, padded=True), TEXTS)[0].shape == (8, 40)
    ended = seen.tokens(view(length=40, ending=" it"), ["rain"])[0]
    assert np.array_equal(ended, seen.tokens(view(length=40), ["rain it"])[0])


@pytest.mark.parametrize("number", range(len(OPERATIONS)))
def test_every_operation_does_something(number: int) -> None:
    """To either side; the first one is the identity."""
    image = colourful((100, 80))
    for part in (0.3, -0.3):
        found = OPERATIONS[number](image, part)
        assert found.size == image.size and found.mode == "RGB"
        assert (np.asarray(found) == np.asarray(image)).all() == (number == 0)


def test_what_operations_do() -> None:
    """Against Pillow's own, by the ranges of AutoAugment's search space."""
    image = colourful((100, 80))
    grid = np.asarray(image)
    moved = [np.asarray(OPERATIONS[-2](image, part)) for part in (0.3, -0.3)]
    assert (moved[0][:, -13:] == GREY).all() and (moved[1][:, :13] == GREY).all()
    assert any((moved[0][:, :80] == grid[:, by : 80 + by]).all() for by in (13, 14)), "45 % of the width at most, so 13.5 % of it"
    assert np.array_equal(np.asarray(OPERATIONS[3](image, -0.3)), np.asarray(image.rotate(-9, fillcolor=GREY)))
    assert np.array_equal(np.asarray(OPERATIONS[5](image, 0.3)), grid & 0xFE) and np.asarray(OPERATIONS[4](image, 0.3)).max() < 180
    grey, bright = (np.asarray(OPERATIONS[index](image, 0.3)).astype(int) for index in (6, 8))
    assert (np.abs(bright - np.minimum(grid * 1.27, 255)) <= 1).all() and np.ptp(grey, 2).mean() > np.ptp(grid.astype(int), 2).mean()
    assert np.array_equal(np.asarray(OPERATIONS[2](image, 0.3)), np.asarray(ImageOps.equalize(image)))


def test_augmentation_is_of_its_generator_alone() -> None:
    image = colourful((90, 70))
    drawn = [np.asarray(rand_augment(image, np.random.default_rng(seed))) for seed in range(40)]
    again = [np.asarray(rand_augment(image, np.random.default_rng(seed))) for seed in range(40)]
    assert all(map(np.array_equal, drawn, again)) and {one.shape for one in drawn} == {(70, 90, 3)}
    assert len({one.tobytes() for one in drawn}) > 30 and sum(np.array_equal(one, np.asarray(image)) for one in drawn) < 4


def test_two_operations_are_drawn_at_level_nine(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = []
    monkeypatch.setattr(augment, "OPERATIONS", (lambda image, part: parts.append(part) or image,))
    for seed in range(20):
        rand_augment(colourful((64, 64)), np.random.default_rng(seed))
    assert len(parts) == 40 and set(parts) == {0.3, -0.3}


def same(left: Batch, right: Batch) -> bool:
    """Are all tensors equal?"""
    pairs = [(getattr(left, f.name), getattr(right, f.name)) for f in dataclasses.fields(Batch)]
    return all(torch.equal(a, b) if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor) else a is b or a == b for a, b in pairs)


def read(own: RealVqa, shuffle: bool = True, epoch: int = 0, seed: int = 5) -> list[Batch]:
    return list(own.batches("train", seed, epoch, shuffle))


@pytest.mark.parametrize("fit", ["square", "shorter"])
def test_batches_are_the_same_however_threads_run(fit: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = task(tmp_path, Recipe(1, 2), fit=fit, augment=True)
    usual = read(own)
    plain, pause = real.Photographs.open, iter(np.random.default_rng(0).random(99) / 30)
    monkeypatch.setattr(real.Photographs, "open", lambda self, row: time.sleep(next(pause)) or plain(self, row))
    delayed = read(own)
    monkeypatch.setattr(real, "THREADS", 1)
    monkeypatch.setattr(real, "AHEAD", 1)
    single = read(own)
    assert len(usual) == 4 and all(same(a, b) and same(a, c) for a, b, c in zip(usual, delayed, single, strict=True))


def test_augmentation_is_drawn_anew_in_every_batch_epoch_and_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own, drawn = task(tmp_path, augment=True), []
    monkeypatch.setattr(seen, "rand_augment", lambda image, rng: drawn.append(rng.random()) or image)
    for epoch, seed in ((0, 5), (1, 5), (0, 6)):
        read(own, epoch=epoch, seed=seed)
    assert len(set(drawn)) == len(drawn) == 24
    read(own, epoch=1)
    assert set(drawn[24:]) == set(drawn[8:16])


def by_row(batches: list[Batch]) -> dict[int, torch.Tensor]:
    return {row: pixels for batch in batches for row, pixels in zip(batch.ids.tolist(), batch.pixels)}


def test_only_what_is_trained_on_is_augmented(tmp_path: Path) -> None:
    own, plain = task(tmp_path, augment=True), task(tmp_path)
    still = by_row(read(plain))
    assert all(torch.equal(still[row], pixels) for row, pixels in by_row(read(own, shuffle=False)).items())
    first, again, later = (by_row(read(own, epoch=epoch)) for epoch in (0, 0, 1))
    assert all(torch.equal(first[row], again[row]) for row in range(8))
    for other in (still, later):
        assert sum(torch.equal(first[row], other[row]) for row in range(8)) < 3


def test_every_row_comes_once_with_its_own_text_picture_and_label(tmp_path: Path) -> None:
    own = task(tmp_path, Recipe(1, 6, micro_batch=3))
    for shuffle, counts in ((True, [3, 3, 2]), (False, [3, 3, 2])):
        batches = read(own, shuffle)
        assert [len(batch.ids) for batch in batches] == counts and sorted(i for batch in batches for i in batch.ids.tolist()) == [*range(8)]
        for batch in batches:
            for ids, mask, picture, label, row in zip(batch.input_ids, batch.text_mask, batch.pixels, batch.labels, batch.ids.tolist()):
                assert ids[mask.bool()].tolist() == seen.tokens(own.view, [TEXTS[row]])[0][0].tolist() and label == row % 3
                image = opened(tmp_path / f"snli_ve/flickr30k-images/train{row // 2}.jpg")
                assert torch.equal(picture, seen.picture(own.view, image))
    orders = [[batch.ids.tolist() for batch in read(own, epoch=epoch, seed=seed)] for epoch, seed in ((0, 5), (1, 5), (0, 6), (0, 5))]
    assert orders[0] == orders[3] and orders[0] != orders[1] != orders[2] != orders[0]


def test_evaluation_goes_from_short_to_long_with_no_more_padding_than_needed(tmp_path: Path) -> None:
    batches = read(task(tmp_path), shuffle=False)
    lengths = [batch.text_mask.sum(1) for batch in batches]
    assert torch.cat(lengths).diff().min() >= 0 and [batch.input_ids.shape[1] for batch in batches] == [int(n.max()) for n in lengths]
    assert {batch.input_ids.shape[1] for batch in read(task(tmp_path, padded=True), shuffle=False)} == {12}


def test_search_parts_have_no_picture_in_common(tmp_path: Path) -> None:
    rows = {"train": [(f"text {row}", row // 2) for row in range(8)] + [("alone", 4), ("too", 5)]}
    own = snli_ve(tmp_path, rows, SIZES).bound(view(), Recipe(1, 4))
    learnt, reward = map(own.split, SEARCH_PARTS)
    assert (len(learnt), len(reward)) == (8, 2) and not {*learnt.clusters} & {*reward.clusters}
    assert sorted(learnt.texts + reward.texts) == sorted(own.split("train").texts)
    for batch in own.batches("search-reward", 0):
        for row, picture in zip(batch.ids.tolist(), batch.pixels):
            assert torch.equal(picture, seen.picture(own.view, opened(tmp_path / "snli_ve/flickr30k-images" / reward.clusters[row])))


def test_bound_copies_have_splits_of_their_own_and_one_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = task(tmp_path)
    other = own.bound(view(length=5), Recipe(1, 2))
    assert own.split("test").tokens.shape[1] == 12 and other.split("test").tokens.shape[1] == 5 and own.split("test") is own.split("test")
    asked = []
    monkeypatch.setattr(own.reader, "content_hash", lambda: asked.append(1) or "hash")
    assert own.data_hash() == own.data_hash() == "hash" and len(asked) == 1 and own.sequences() == 8


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: b"no picture", lambda data: data[:3]])
def test_a_damaged_picture_is_told_and_never_replaced(damage: Callable[[bytes], bytes], shuffle: bool, tmp_path: Path) -> None:
    own = task(tmp_path)
    path = tmp_path / "snli_ve/flickr30k-images/train2.jpg"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError) as error:
        read(own, shuffle)
    assert str(error.value).startswith(f"the picture {path} is damaged: ") and "\n" not in str(error.value)


def test_a_damaged_chunk_of_a_png_is_told(tmp_path: Path) -> None:
    """Pillow has a SyntaxError for it."""
    path = tmp_path / "noise.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (200, 200, 3), dtype=np.uint8)).save(path)
    first, second, rest = path.read_bytes().split(b"IDAT", 2)
    path.write_bytes(b"IDAT".join([first, second]) + b"\x11\x06\xea3" + rest)
    with pytest.raises(UserError, match="noise.png is damaged: broken PNG file"):
        real.Photographs([str(path)]).open(0)


@pytest.mark.parametrize(("name", "words", "told"), [
    ("none/here", WORDS, "is neither reachable nor below PETLBENCH_MIRROR"), ("cut", WORDS, "is damaged"), ("bare", WORDS, "is damaged"),
    ("tok", 30_522, f"has {WORDS} words, not 30,522: it does not match the checkpoint"),
])  # fmt: skip
def test_a_tokenizer_that_does_not_fit_is_told_in_a_line(name: str, words: int, told: str, tmp_path: Path) -> None:
    for folder, text in (("cut", (tmp_path / "tok/tokenizer.json").read_text()[:-100]), ("bare", "{}")):
        put_tokenizer(tmp_path, folder)
        (tmp_path / folder / "tokenizer.json").write_text(text)
    with pytest.raises(UserError) as error:
        task(tmp_path, tokenizer=name, words=words).split("test")
    assert str(error.value).startswith(f"tokenizer {name} ") and told in str(error.value) and "\n" not in str(error.value)


def test_no_more_is_made_ahead_than_said(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    found = ahead(lambda start: made.append(start) or -start, itertools.count())
    assert [next(found), next(found)] == [0, -1]
    found.close()
    assert max(made) <= real.AHEAD and list(ahead(str, range(9))) == list("012345678") and list(ahead(str, range(2))) == ["0", "1"]


def test_an_error_comes_in_its_turn() -> None:
    def make(start: int) -> int:
        if start == 2:
            raise UserError("two")
        return start

    found = ahead(make, range(9))
    assert [next(found), next(found)] == [0, 1]
    with pytest.raises(UserError, match="two"):
        next(found)
