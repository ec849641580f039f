"""Scenes and their pictures: one domain one content, everything in its place, later objects in front."""

from __future__ import annotations

import itertools
from dataclasses import fields

import numpy as np
import pytest

from suite.data.world import _RGB, COLOURS, COLUMNS, ROWS, SHAPES, SIDE, SIZES, SLOTS, VERSION, Scenes, render, scenes

TINT = 22


@pytest.fixture(scope="module")
def drawn() -> Scenes:
    return scenes("test-world", 600, (1, 6))


def same(one: Scenes, two: Scenes) -> bool:
    return all(np.array_equal(getattr(one, f.name), getattr(two, f.name)) for f in fields(Scenes))


def used(drawn: Scenes) -> np.ndarray:
    """(N, SLOTS) bool: the slots that hold an object."""
    return np.arange(SLOTS) < drawn.count[:, None]


def put(count: int = 1, **values: object) -> Scenes:
    """One plain scene: large green circles in the middle of the picture, with these arrays changed."""
    scene = scenes("test-world/plain", 1, (count, count))
    settings = {"shape": 0, "colour": 1, "size": 1, "row": 1, "column": 1, "x": 32, "y": 32, "radius": 10, "variant": 0, "tint": 0} | values
    for name, value in settings.items():
        getattr(scene, name)[0, :count] = value
    scene.background[0] = (0, 255, 255, 255, 255, 255, 255)
    return scene


def test_a_domain_always_gives_the_same_scenes_and_pictures(drawn: Scenes) -> None:
    again = scenes("test-world", 600, (1, 6))
    assert same(drawn, again)
    assert np.array_equal(render(drawn.take(np.arange(20))), render(again.take(np.arange(20))))


def test_other_domains_and_the_library_do_not_disturb_a_domain(drawn: Scenes) -> None:
    np.random.seed(1)
    scenes("something-else", 7)
    np.random.random(5)
    assert same(drawn, scenes("test-world", 600, (1, 6)))


@pytest.mark.parametrize("other", ["test-world2", "test-world/", "Test-world"])
def test_another_domain_shares_no_scene(drawn: Scenes, other: str) -> None:
    assert not set(drawn.digests()) & set(scenes(other, 600, (1, 6)).digests())


@pytest.mark.parametrize("objects", [(1, 1), (2, 4), (1, 6)])
def test_counts_fill_the_closed_range(objects: tuple[int, int]) -> None:
    count = scenes("test-world/count", 400, objects).count
    assert set(count.tolist()) == set(range(objects[0], objects[1] + 1))


def test_every_value_of_every_attribute_appears_about_equally_often(drawn: Scenes) -> None:
    for name, values in (("shape", SHAPES), ("colour", COLOURS), ("size", SIZES), ("row", ROWS), ("column", COLUMNS)):
        share = np.bincount(getattr(drawn, name)[used(drawn)], minlength=len(values)) / used(drawn).sum()
        assert len(share) == len(values) and np.abs(share * len(values) - 1).max() < 0.2, name


def test_objects_lie_inside_the_picture_and_no_two_share_a_cell(drawn: Scenes) -> None:
    for centre in (drawn.x, drawn.y):
        assert (centre - drawn.radius >= 0).all() and (centre + drawn.radius < SIDE).all()
    for i in range(len(drawn)):
        cells = [(o.row, o.column) for o in drawn.objects(i)]
        assert len(set(cells)) == len(cells) == drawn.count[i]


def test_row_and_column_names_agree_with_the_centre(drawn: Scenes) -> None:
    names = {"top": (0, 64 / 3), "middle": (64 / 3, 128 / 3), "bottom": (128 / 3, 64),
             "left": (0, 64 / 3), "center": (64 / 3, 128 / 3), "right": (128 / 3, 64)}
    for i in range(len(drawn)):
        for o in drawn.objects(i):
            assert names[ROWS[o.row]][0] <= o.y <= names[ROWS[o.row]][1]
            assert names[COLUMNS[o.column]][0] <= o.x <= names[COLUMNS[o.column]][1]


def test_large_objects_are_larger(drawn: Scenes) -> None:
    assert drawn.radius[drawn.size == SIZES.index("large")].min() > drawn.radius[drawn.size == SIZES.index("small")].max() + 2


def test_pictures_are_bytes_and_do_not_depend_on_their_neighbours(drawn: Scenes) -> None:
    pictures = render(drawn.take(np.arange(30)))
    assert pictures.shape == (30, SIDE, SIDE, 3) and pictures.dtype == np.uint8
    assert np.array_equal(render(drawn.take(np.array([17])))[0], pictures[17])
    assert render(drawn.take(np.arange(0))).shape == (0, SIDE, SIDE, 3)


def test_the_centre_of_an_uncovered_object_has_its_colour(drawn: Scenes) -> None:
    pictures, seen = render(drawn).astype(int), 0
    for i in range(len(drawn)):
        objs = drawn.objects(i)
        for k, o in enumerate(objs):
            if any(np.hypot(o.x - p.x, o.y - p.y) < drawn.radius[i, j] + 2 for j, p in enumerate(objs) if j > k):
                continue
            pixel, seen = pictures[i, o.y, o.x], seen + 1
            assert np.abs(pixel - _RGB[o.colour]).max() <= TINT, (i, o)
            assert np.abs(pixel - _RGB).sum(1).argmin() == o.colour, (i, o)
    assert seen > 1000


def test_later_objects_cover_earlier_ones() -> None:
    for front, back in itertools.permutations((COLOURS.index("red"), COLOURS.index("blue"))):
        scene = put(2, x=np.array([30, 34]), colour=np.array([back, front]))
        assert np.array_equal(render(scene)[0, 32, 32], _RGB[front])
        assert np.array_equal(render(scene)[0, 32, 21], _RGB[back])


def test_an_object_stays_within_its_radius() -> None:
    y, x = np.mgrid[:SIDE, :SIDE]
    for shape in range(len(SHAPES)):
        for variant in range(8):
            changed = (render(put(shape=shape, variant=variant, radius=10))[0] != 255).any(-1)
            reach = max(abs(x[changed] - 32).max(), abs(y[changed] - 32).max())
            assert 7 <= reach <= 12, (SHAPES[shape], variant)


@pytest.mark.parametrize("radius", [4, 6, 9, 11])
def test_all_shapes_differ(radius: int) -> None:
    masks = {(s, v): (render(put(shape=s, variant=v, radius=radius))[0, ..., 0] < 128) for s in range(len(SHAPES)) for v in range(8)}
    for (one, a), (two, b) in itertools.combinations(masks.items(), 2):
        if one[0] != two[0]:
            assert (a ^ b).sum() >= 0.1 * min(a.sum(), b.sum()), (one, two)


def test_backgrounds_are_pale_and_varied(drawn: Scenes) -> None:
    empty = drawn.take(np.arange(200))
    empty.count[:] = 0
    pictures = render(empty)
    assert pictures.min() >= 185
    assert len({p.tobytes() for p in pictures}) == 200
    assert 0.2 < np.mean([p.std((0, 1)).max() > 1 for p in pictures]) < 0.9


def test_digests_follow_what_is_drawn_and_nothing_else() -> None:
    plain = put(2, x=np.array([20, 44])).digests()
    for name in ("shape", "colour", "x", "y", "radius", "variant"):
        changed = put(2, x=np.array([20, 44]))
        getattr(changed, name)[0, 1] += 1
        assert changed.digests() != plain, name
        unused = put(2, x=np.array([20, 44]))
        getattr(unused, name)[0, 2:] += 1
        assert unused.digests() == plain, name
    background, order = put(2, x=np.array([20, 44])), put(2, x=np.array([44, 20]))
    background.background[0, 1] -= 1
    assert len({*plain, *background.digests(), *order.digests()}) == 3


def test_the_generator_is_the_one_the_shipped_weights_know() -> None:
    """Another content under the same name needs another VERSION, new weights and new pins."""
    assert VERSION == 1
    assert scenes("test-world/pinned", 2, (1, 3)).digests() == ["afad128a973d6098cdf5", "1b169e908528ed4cea03"]
