"""Generated scenes: coloured shapes on a 3 x 3 grid with jitter, occlusion and varied backgrounds, 64 x 64 pixels.

A scene belongs to a named domain ("world-vqa/test", "pretrain/0", ...); the name seeds its generator, so domains share no draws.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from functools import cache
from typing import NamedTuple

import numpy as np

VERSION = 1
SIDE = 64
SLOTS = 6
SHAPES = ("circle", "rectangle", "triangle", "star", "cross")
COLOURS = ("red", "green", "blue", "yellow", "black", "gray", "teal", "brown")
SIZES = ("small", "large")
ROWS = ("top", "middle", "bottom")
COLUMNS = ("left", "center", "right")

_RGB = np.array([(225, 30, 30), (40, 205, 45), (35, 50, 225), (240, 225, 35), (20, 20, 20), (128, 128, 128), (15, 130, 130), (150, 65, 35)])
_RADII = np.array([(4, 5, 6), (9, 10, 11)])
_VARIANTS = 8
_PATCH = 27
_PATTERNS = 48


class Object(NamedTuple):
    """One shape: indices into the name tuples, grid place, centre in pixels."""

    shape: int
    colour: int
    size: int
    row: int
    column: int
    x: int
    y: int


@dataclass
class Scenes:
    """N scenes as integer arrays; slots from `count` on are unused, later slots occlude earlier ones.

    count (N,); background (N, 7); tint (N, SLOTS, 3) added to the colour; the rest (N, SLOTS), x, y and radius in pixels.
    """

    count: np.ndarray
    shape: np.ndarray
    colour: np.ndarray
    size: np.ndarray
    row: np.ndarray
    column: np.ndarray
    x: np.ndarray
    y: np.ndarray
    radius: np.ndarray
    variant: np.ndarray
    tint: np.ndarray
    background: np.ndarray

    def __len__(self) -> int:
        return len(self.count)

    def take(self, index: np.ndarray) -> Scenes:
        """The scenes at `index`."""
        return Scenes(**{f.name: getattr(self, f.name)[index] for f in fields(self)})

    def objects(self, i: int) -> list[Object]:
        """The objects of scene `i`, in drawing order."""
        n = int(self.count[i])
        columns = (self.shape, self.colour, self.size, self.row, self.column, self.x, self.y)
        return [Object(*values) for values in zip(*(c[i, :n].tolist() for c in columns))]

    def digests(self) -> list[str]:
        """Content hash of each scene: what is drawn where, whatever the domain and the tint."""
        used = np.arange(SLOTS) < self.count[:, None]
        parts = [np.where(used, getattr(self, k), -1) for k in ("shape", "colour", "x", "y", "radius", "variant")]
        rows = np.concatenate([*parts, self.background], 1).astype("<i2")
        return [hashlib.sha256(row.tobytes()).hexdigest()[:20] for row in rows]


def scenes(domain: str, count: int, objects: tuple[int, int] = (1, 3)) -> Scenes:
    """`count` scenes of `domain` with a number of objects in the closed range `objects` (at most 6)."""
    rng = np.random.default_rng([VERSION, *hashlib.sha256(domain.encode()).digest()])
    slots = (count, SLOTS)
    number = rng.integers(objects[0], objects[1] + 1, count)
    cell = np.argsort(rng.random((count, 9)), 1)[:, :SLOTS]
    size = rng.integers(0, 2, slots)
    radius = _RADII[size, rng.integers(0, 3, slots)]
    spread = np.where(number == 1, 7, 4)[:, None]
    place = []
    for part in (cell % 3, cell // 3):
        centre = (part * 2 + 1) * SIDE / 6 + (rng.random(slots) * 2 - 1) * spread
        place.append(np.clip(np.rint(centre), radius, SIDE - 1 - radius).astype(np.int64))
    return Scenes(
        count=number, shape=rng.integers(0, len(SHAPES), slots), colour=rng.integers(0, len(COLOURS), slots), size=size,
        row=cell // 3, column=cell % 3, x=place[0], y=place[1], radius=radius, variant=rng.integers(0, _VARIANTS, slots),
        tint=rng.integers(-22, 23, (*slots, 3)), background=_backgrounds(rng, count),
    )


def render(batch: Scenes) -> np.ndarray:
    """The pictures of `batch`: (N, 64, 64, 3) uint8."""
    n, pad = len(batch), _PATCH
    canvas = np.zeros((n, SIDE + 2 * pad, SIDE + 2 * pad, 3), np.int16)
    low, high = batch.background[:, None, None, 1:4], batch.background[:, None, None, 4:7]
    weight = _patterns()[batch.background[:, 0]][..., None]
    canvas[:, pad:-pad, pad:-pad] = low + (((high - low) * weight) >> 7)
    rgb = np.clip(_RGB[batch.colour] + batch.tint, 0, 255).astype(np.int16)
    reach = np.arange(_PATCH)
    for slot in range(int(batch.count.max(initial=0))):
        at = np.flatnonzero(batch.count > slot)
        alpha = _sprites()[batch.shape[at, slot], batch.radius[at, slot], batch.variant[at, slot]][..., None]
        where = (at[:, None, None],
                 (batch.y[at, slot] + pad - _PATCH // 2)[:, None, None] + reach[:, None],
                 (batch.x[at, slot] + pad - _PATCH // 2)[:, None, None] + reach)
        under = canvas[where]
        canvas[where] = under + (((rgb[at, slot][:, None, None] - under) * alpha) >> 7)
    return canvas[:, pad:-pad, pad:-pad].astype(np.uint8)


def _backgrounds(rng: np.random.Generator, count: int) -> np.ndarray:
    """(N, 7) int16: pattern, and the two pale colours it mixes."""
    base = rng.integers(205, 256, (count, 3))
    other = np.clip(base + rng.integers(-28, 29, (count, 3)), 190, 255)
    pattern = np.where(rng.random(count) < 0.4, 0, rng.integers(0, _PATTERNS, count))
    return np.concatenate([pattern[:, None], base, other], 1).astype(np.int16)


@cache
def _patterns() -> np.ndarray:
    """(P, 64, 64) int16 mixing weights in 0..128: plain, gradients, stripes, checks, blobs and noise."""
    rng = np.random.default_rng([VERSION, 1])
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE
    bank = [np.zeros((SIDE, SIDE))]
    while len(bank) < _PATTERNS:
        angle, frequency, phase = rng.random() * 6.3, rng.integers(2, 9), rng.random() * 6.3
        along = x * np.cos(angle) + y * np.sin(angle)
        across = y * np.cos(angle) - x * np.sin(angle)
        wave, cross = np.sin(6.3 * frequency * along + phase), np.sin(6.3 * frequency * across)
        bank += [(along - along.min()) / np.ptp(along), wave > 0, wave * cross > 0, (wave + cross + 2) / 4, rng.random((SIDE, SIDE))]
    return (np.stack(bank[:_PATTERNS]) * 128).astype(np.int16)


@cache
def _sprites() -> np.ndarray:
    """(shape, radius, variant, 27, 27) int16 coverage in 0..128, antialiased by 4 x 4 samples a pixel."""
    fine = (np.arange(_PATCH * 4) + 0.5) / 4 - _PATCH / 2
    y, x = fine[:, None], fine[None, :]
    bank = np.zeros((len(SHAPES), int(_RADII.max()) + 1, _VARIANTS, _PATCH, _PATCH), np.int16)
    for radius in _RADII.ravel():
        for variant in range(_VARIANTS):
            for shape in range(len(SHAPES)):
                inside = _inside(shape, x / (radius + 0.5), y / (radius + 0.5), variant)
                bank[shape, radius, variant] = inside.reshape(_PATCH, 4, _PATCH, 4).mean((1, 3)) * 128
    return bank


def _inside(shape: int, x: np.ndarray, y: np.ndarray, variant: int) -> np.ndarray:
    """Which points of the unit disc's plane the shape covers; the variant turns it a little (rectangle: its proportions)."""
    turn = (variant - (_VARIANTS - 1) / 2) * 0.07
    x, y = x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn)
    if SHAPES[shape] == "circle":
        return x * x + y * y <= 1
    if SHAPES[shape] == "rectangle":
        narrow = 0.45 + 0.15 * (variant // 2)
        return (abs(x) <= (narrow if variant % 2 else 0.95)) & (abs(y) <= (0.95 if variant % 2 else narrow))
    if SHAPES[shape] == "triangle":
        return (y <= 0.85) & (y >= -0.95 + 1.8 * abs(x))
    if SHAPES[shape] == "cross":
        return ((abs(x) <= 0.3) & (abs(y) <= 1)) | ((abs(y) <= 0.3) & (abs(x) <= 1))
    angle = np.arctan2(x, -y) % (2 * np.pi / 5) - np.pi / 5
    return np.hypot(x, y) * (np.cos(np.pi / 5 - abs(angle)) + 1.1 * np.sin(np.pi / 5 - abs(angle))) <= 1.0
