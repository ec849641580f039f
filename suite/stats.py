"""Intervals over seeds, paired tests between methods, corrections, Pareto fronts. Knows numbers only.

Values are percent; a difference is in points. Every random draw comes from a generator of its own, seeded here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf, sqrt
from typing import Literal, NamedTuple

import numpy as np
from scipy import stats

LEVEL = 0.95
PERMUTATIONS = 9_999
Examples = Mapping[str, np.ndarray]
"""What one cell did on each test example. correct: (n,) bool; cluster: (n,) the image of each; ids: (n,)."""

Outcome = Literal["reproduced", "higher", "lower", "inconclusive", "not run"]


class Estimate(NamedTuple):
    """Mean of n values and half the width of its 95 % interval (None where n = 1)."""

    mean: float
    half: float | None
    n: int


class Noise(NamedTuple):
    """Seed deviation in points, and the degrees of freedom behind it (0: unknown)."""

    sd: float
    df: int


def interval(values: Iterable[float], level: float = LEVEL) -> Estimate:
    """Student's interval of the mean: half-width t(n - 1) * s / sqrt(n), s with n - 1. Raises ValueError on no values."""
    data = np.asarray(list(values), dtype=float)
    if not data.size:
        raise ValueError("an interval needs at least one value")
    if data.size == 1:
        return Estimate(float(data[0]), None, 1)
    half = stats.t.ppf(0.5 + level / 2, data.size - 1) * data.std(ddof=1) / sqrt(data.size)
    return Estimate(float(data.mean()), float(half), data.size)


def pooled(groups: Iterable[Sequence[float]]) -> Noise:
    """Deviation within groups, weighted by their degrees of freedom; groups of one value say nothing and are left out."""
    arrays = [np.asarray(group, dtype=float) for group in groups if len(group) > 1]
    df = sum(a.size - 1 for a in arrays)
    if not df:
        return Noise(0.0, 0)
    return Noise(float(sqrt(sum(((a - a.mean()) ** 2).sum() for a in arrays) / df)), df)


@dataclass(frozen=True)
class Runs:
    """One method on one task. values: headline metric by seed; sums: (seeds, images) examples that are right, in the order of
    the images' names, or None where the per-example files are gone; sizes: (images,) examples of each image."""

    values: tuple[float, ...]
    sums: np.ndarray | None = None
    sizes: np.ndarray | None = None
    images: tuple[str, ...] = ()

    @classmethod
    def of(cls, values: Sequence[float], examples: Sequence[Examples] = ()) -> Runs:
        """Raises ValueError where the seeds were scored on different examples."""
        if len(examples) != len(values) or not values:
            return cls(tuple(values))
        first = examples[0]
        if any(not np.array_equal(first[name], e[name]) for e in examples for name in ("ids", "cluster")):
            raise ValueError("seeds were scored on different examples")
        images, index = np.unique(np.asarray(first["cluster"], dtype=str), return_inverse=True)
        sums = np.stack([np.bincount(index, weights=e["correct"].astype(float), minlength=len(images)) for e in examples])
        return cls(tuple(values), sums, np.bincount(index, minlength=len(images)).astype(float), tuple(images))

    @property
    def mean(self) -> float:
        return float(np.mean(self.values))

    @property
    def counts(self) -> bool:
        """Is the metric the percentage of examples that are right? A harmonic mean over two kinds of them, say, is not."""
        return self.sums is not None and np.allclose(self.values, 100 * self.sums.sum(axis=1) / self.sizes.sum(), rtol=0, atol=1e-6)


@dataclass(frozen=True)
class Difference:
    """a - factor * b in points. parts: (variance, degrees of freedom) of its independent sources of noise."""

    points: float
    parts: tuple[tuple[float, float], ...]

    @property
    def se(self) -> float:
        return sqrt(sum(variance for variance, _ in self.parts))

    @property
    def df(self) -> float:
        """Welch and Satterthwaite's degrees of freedom; inf where nothing limits them."""
        bottom = sum(variance**2 / df for variance, df in self.parts if variance and df)
        return sum(variance for variance, _ in self.parts) ** 2 / bottom if bottom else inf

    @property
    def p(self) -> float:
        """Two-sided p of a t-test; 1 where the noise is unknown or there is neither noise nor difference."""
        if not self.parts or (self.se == 0 and self.points == 0):
            return 1.0
        return float(2 * stats.t.sf(abs(self.points) / self.se, self.df)) if self.se else 0.0

    def bounds(self, level: float = LEVEL) -> tuple[float, float]:
        """Interval of the difference; infinite where the noise is unknown."""
        half = stats.t.ppf(0.5 + level / 2, self.df) * self.se if self.parts else inf
        return self.points - half, self.points + half


def _seed_variance(a: Runs, b: Runs, noise: Noise, factor: float) -> float:
    """Variance of the difference that other seeds would bring and that the examples do not already show, in points squared.

    Seeds move single examples at random, which the spread over images contains, and whole runs, which it does not.
    """
    total = noise.sd**2 * (1 / len(a.values) + factor**2 / len(b.values))
    if a.sums is None or b.sums is None:
        return total
    shown = sum(
        weight * runs.sums.var(axis=0, ddof=1).sum() / len(runs.sums)
        for runs, weight in ((a, 1.0), (b, factor**2))
        if len(runs.sums) > 1
    )
    return max(0.0, total - shown * (100 / a.sizes.sum()) ** 2)


def _paired(a: Runs, b: Runs, factor: float) -> np.ndarray | None:
    """(images,) difference of the right examples, averaged over seeds. Raises ValueError where the examples differ."""
    if a.sums is None or b.sums is None:
        return None
    if a.images != b.images or not np.array_equal(a.sizes, b.sizes):
        raise ValueError("methods were scored on different examples")
    return a.sums.mean(axis=0) - factor * b.sums.mean(axis=0)


def difference(a: Runs, b: Runs, noise: Noise, factor: float = 1.0, control: bool = False) -> Difference:
    """The metric of a less factor times that of b, paired by example: variance over images (clustered) plus that over seeds.

    Where the metric does not count right examples (`counts`), their share stands for it in the variance over images.
    noise: the seed deviation of both. control: b draws by seed what a has searched for, so that its own deviation may be larger; what
    it has beyond `noise` is added. With one seed it is unknown.
    """
    if control and len(b.values) < 2:
        return Difference(a.mean - factor * b.mean, ())
    parts: list[tuple[float, float]] = []
    paired = _paired(a, b, factor)
    if paired is not None and paired.size > 1:
        centred = paired - a.sizes * (paired.sum() / a.sizes.sum())
        count = paired.size
        parts.append((count / (count - 1) * float((centred**2).sum()) * (100 / a.sizes.sum()) ** 2, count - 1))
    if noise.df:
        parts.append((_seed_variance(a, b, noise, factor), noise.df))
    if control and (own := pooled([b.values])).sd > noise.sd:
        parts.append(((own.sd**2 - noise.sd**2) * factor**2 / len(b.values), own.df))
    return Difference(a.mean - factor * b.mean, tuple(parts))


def average(differences: Sequence[Difference], weights: Sequence[float] | None = None) -> Difference:
    """The (weighted) mean over tasks, whose noises are independent; of unknown noise where one of them is."""
    shares = np.ones(len(differences)) if weights is None else np.asarray(weights, dtype=float)
    shares = (shares / shares.sum()).tolist()
    parts = [(variance * share**2, df) for share, d in zip(shares, differences, strict=True) for variance, df in d.parts]
    known = all(d.parts for d in differences)
    points = sum(share * d.points for share, d in zip(shares, differences, strict=True))
    return Difference(points, tuple(parts) if known else ())


def paired_tests(
    a: Runs, others: Sequence[Runs], noise: Noise = Noise(0.0, 0), permutations: int = PERMUTATIONS, seed: int = 0
) -> list[float]:
    """Two-sided p that `a` and each of the others are equally good on a task: sign flips of the images' differences.

    Correctness is averaged over seeds first. With `noise` of 0 it speaks of these very models; with the seed deviation it speaks
    of the methods: each permutation then also gets the shift that other seeds bring (Student's t with the deviation's degrees of
    freedom). Without per-example files, and where the metric does not count right examples, it falls back on the t-test of
    `difference`. p is (1 + hits) / (1 + permutations), never 0.
    """
    if not others or not all(runs.counts for runs in (a, *others)):
        return [difference(a, b, noise).p for b in others]
    paired = [_paired(a, b, 1.0) for b in others]
    matrix = (np.stack(paired, axis=1) * 100 / a.sizes.sum()).astype(np.float32)
    rng = np.random.default_rng(seed)
    drawn = np.empty((permutations, len(others)))
    for start in range(0, permutations, 1_000):
        count = min(1_000, permutations - start)
        drawn[start : start + count] = (rng.integers(0, 2, (count, len(matrix)), dtype=np.int8) * np.float32(2) - 1) @ matrix
    if noise.df:
        shifts = np.sqrt([_seed_variance(a, b, noise, 1.0) for b in others])
        drawn += shifts * rng.standard_t(noise.df, (permutations, 1))
    hits = np.count_nonzero(np.abs(drawn) >= np.abs(matrix.sum(axis=0)) - 1e-4, axis=0)
    return [float(p) for p in (1 + hits) / (1 + permutations)]


def holm(ps: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the order given. (statsmodels gives the same, and collects garbage at every call.)"""
    order = np.argsort(ps, kind="stable")
    adjusted = np.empty(len(ps))
    adjusted[order] = np.maximum.accumulate(np.minimum(1.0, np.asarray(ps, dtype=float)[order] * np.arange(len(ps), 0, -1)))
    return adjusted.tolist()


def against_best(column: Mapping[str, Runs], noise: Noise, permutations: int = PERMUTATIONS, seed: int = 0) -> dict[str, float]:
    """Holm-adjusted p of each method against the one with the best mean (whose own is 1); tied with the best: p >= 0.05.

    Because the best is picked by the same data, the promise is that of comparisons with the best: a method that is truly as
    good as any keeps its mark in at least 95 of 100 boards.
    """
    if not column:
        return {}
    best = max(column, key=lambda name: column[name].mean)
    others = [name for name in column if name != best]
    adjusted = holm(paired_tests(column[best], [column[name] for name in others], noise, permutations, seed))
    return {best: 1.0, **dict(zip(others, adjusted, strict=True))}


def pareto(points: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of the (cost, value) points that no other beats: none costs at most as much and is worth at least as much, one
    of the two strictly. Equal points stay together; costs may be zero or negative. Ordered by cost."""

    def beaten(i: int) -> bool:
        cost, value = points[i]
        return any(c <= cost and v >= value and (c < cost or v > value) for c, v in points)

    return sorted((i for i in range(len(points)) if not beaten(i)), key=lambda i: (points[i], i))


def outcome(relation: str, low: float, high: float, margin: float = 0.0) -> Outcome:
    """Verdict of "a - factor * b is `relation` 0" from the difference's interval.

    `>` and `<`: reproduced where the interval lies on the claimed side, `lower` or `higher` where it lies on the other, else
    inconclusive. `>=` and `<=` claim "at least level": reproduced where the interval stays within `margin` of zero on the
    wrong side and is not wholly beyond zero there. Raises ValueError on another relation.
    """
    if relation not in (">", ">=", "<", "<="):
        raise ValueError(f"unknown relation {relation!r}")
    if relation.startswith("<"):
        mirrored = outcome(relation.replace("<", ">"), -high, -low, margin)
        return "higher" if mirrored == "lower" else mirrored
    strict = relation == ">"
    if (low > 0) if strict else (low >= 0 or (low > -margin and high >= 0)):
        return "reproduced"
    return "lower" if high < 0 or (strict and low == high == 0) else "inconclusive"
