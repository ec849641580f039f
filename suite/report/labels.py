"""Places text beside points so that nothing overlaps: the best free one of many places, a leader line where it is far."""

from __future__ import annotations

from collections.abc import Sequence
from math import cos, hypot, pi, sin
from typing import NamedTuple


class Box(NamedTuple):
    """A rectangle in pixels, left below right, bottom below top."""

    left: float
    bottom: float
    right: float
    top: float

    def overlap(self, other: Box) -> float:
        """Common area."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.top, other.top) - max(self.bottom, other.bottom)
        return width * height if width > 0 and height > 0 else 0.0


class Scene(NamedTuple):
    """What labels have to mind, in pixels: the points, boxes to keep clear (markers, bars, lines), the frame to stay within."""

    points: Sequence[tuple[float, float]]
    obstacles: Sequence[Box]
    frame: Box
    scale: float = 1.0


RADII = (9.0, 13.0, 20.0, 30.0, 44.0, 62.0, 84.0, 110.0, 140.0)
DIRECTIONS = 24
SWEEPS = 6


def place(scene: Scene, sizes: Sequence[tuple[float, float]]) -> list[Box]:
    """A box of the given (width, height) for each point of the scene. Deterministic: each label in turn takes the place that
    costs least, several times over."""
    candidates = [_around(p, s, scene.scale) for p, s in zip(scene.points, sizes, strict=True)]
    chosen = [options[0] for options in candidates]
    fixed = [[_fixed_price(scene, i, box) for box in options] for i, options in enumerate(candidates)]
    for _ in range(SWEEPS):
        for i, options in enumerate(candidates):
            others = [(scene.points[j], box) for j, box in enumerate(chosen) if j != i]
            prices = [fixed[i][k] + _price(scene.points[i], box, others, scene.scale) for k, box in enumerate(options)]
            chosen[i] = options[prices.index(min(prices))]
    return chosen


def _around(point: tuple[float, float], size: tuple[float, float], scale: float) -> list[Box]:
    """Boxes all around, right ones first, the nearest edge or corner at each radius."""
    boxes = []
    for radius in RADII:
        for step in range(DIRECTIONS):
            angle = 2 * pi * step / DIRECTIONS
            x, y = point[0] + cos(angle) * radius * scale, point[1] + sin(angle) * radius * scale
            left, bottom = x - size[0] * (1 - cos(angle)) / 2, y - size[1] * (1 - sin(angle)) / 2
            boxes.append(Box(left, bottom, left + size[0], bottom + size[1]))
    return boxes


def nearest(point: tuple[float, float], box: Box) -> tuple[float, float]:
    """The place of the box that lies nearest to the point: where a leader line ends."""
    return min(max(point[0], box.left), box.right), min(max(point[1], box.bottom), box.top)


def _distance(point: tuple[float, float], box: Box) -> float:
    x, y = nearest(point, box)
    return hypot(x - point[0], y - point[1])


def _fixed_price(scene: Scene, i: int, box: Box) -> float:
    """Of a place by itself, in pixels of distance: how far it is, what it covers, and whether it seems another point's name."""
    point, scale = scene.points[i], scene.scale
    far = _distance(point, box) / scale
    wide = Box(box.left - 3 * scale, box.bottom - scale, box.right + 3 * scale, box.top + scale)
    covered = sum(wide.overlap(o) for o in scene.obstacles) / scale**2
    outside = ((box.right - box.left) * (box.top - box.bottom) - box.overlap(scene.frame)) / scale**2
    rivals = sum(_distance(p, box) / scale < far + 8 for j, p in enumerate(scene.points) if j != i and p != point)
    passed = sum(_touches(_leader(point, box)[1:], Box(x - 7 * scale, y - 7 * scale, x + 7 * scale, y + 7 * scale))
                 for j, (x, y) in enumerate(scene.points) if j != i)  # fmt: skip
    return far + 0.5 * covered + 2 * outside + 25 * rivals + 60 * passed


def _price(point: tuple[float, float], box: Box, others: Sequence[tuple[tuple[float, float], Box]], scale: float) -> float:
    """Of a place beside the other labels: overlaps, and leader lines that run through text."""
    wide = Box(box.left - 4 * scale, box.bottom - 2 * scale, box.right + 4 * scale, box.top + 2 * scale)
    mine = _leader(point, box)
    crossed = sum(_touches(_leader(p, other), wide) + _touches(mine, other) for p, other in others)
    return sum(2 * wide.overlap(other) for _, other in others) / scale**2 + 10 * crossed


def _leader(point: tuple[float, float], box: Box) -> list[tuple[float, float]]:
    x, y = nearest(point, box)
    return [(point[0] + (x - point[0]) * k / 8, point[1] + (y - point[1]) * k / 8) for k in range(9)]


def _touches(line: Sequence[tuple[float, float]], box: Box) -> int:
    return sum(box.left < x < box.right and box.bottom < y < box.top for x, y in line)
