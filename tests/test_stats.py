"""Intervals, tests and verdicts against simulation, statsmodels and hand-made cases."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from records import examples
from statsmodels.stats.multitest import multipletests

from suite.stats import Noise, Runs, against_best, average, difference, holm, interval, outcome, paired_tests, pareto, pooled

UNKNOWN = Noise(0.0, 0)


def test_interval_of_three_seeds_uses_students_t() -> None:
    mean, half, n = interval([70.0, 71.0, 72.0])
    assert (mean, n) == (71.0, 3)
    assert half == pytest.approx(4.302653 / 3**0.5, abs=1e-5)


def test_interval_of_one_seed_is_none_and_of_nothing_an_error() -> None:
    assert interval([5.0]) == (5.0, None, 1)
    with pytest.raises(ValueError, match="at least one"):
        interval([])


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_interval_covers_the_truth_95_times_in_100(seeds: int) -> None:
    draws = np.random.default_rng(seeds).normal(50, 2, (4_000, seeds))
    hit = np.mean([abs(e.mean - 50) <= e.half for e in map(interval, draws)])
    assert 0.93 <= hit <= 0.97


def test_pooled_deviation_weighs_by_degrees_of_freedom() -> None:
    assert pooled([[1.0, 3.0], [5.0, 5.0, 5.0], [9.0]]) == (pytest.approx((2 / 3) ** 0.5), 3)
    assert pooled([[1.0], []]) == UNKNOWN


def paired_test(a: Runs, b: Runs, *args: object, **options: object) -> float:
    return paired_tests(a, [b], *args, **options)[0]


@cache
def layout(images: int, each: int) -> dict[str, np.ndarray]:
    return examples(np.random.default_rng(0), 0.5, images, each)


def clustered(rng: np.random.Generator, rate: float, seeds: int, shift: float, images: int = 120, each: int = 4) -> Runs:
    """Seeds move whole runs by `shift` points; the examples of an image share their fate half of the time."""
    runs = []
    for _ in range(seeds):
        p = rate + rng.normal(0, shift / 100)
        hit, shared = rng.random((images, each)) < p, rng.random((images, 1)) < p
        mixed = np.where(rng.random((images, 1)) < 0.5, shared, hit)
        runs.append({**layout(images, each), "correct": mixed.ravel()})
    return Runs.of([100 * r["correct"].mean() for r in runs], runs)


@pytest.mark.parametrize("shift", [0.0, 2.0])
def test_paired_test_keeps_its_size_between_equal_methods(shift: float) -> None:
    """With seeds that shift whole runs, too: the seed deviation of the column goes in."""
    rng, hits, rounds = np.random.default_rng(1), 0, 300
    for _ in range(rounds):
        column = [clustered(rng, 0.7, 3, shift, images=60) for _ in range(6)]
        noise = pooled(r.values for r in column)
        hits += paired_test(column[0], column[1], noise, permutations=399) <= 0.05
    assert 0.005 <= hits / rounds <= 0.08


def test_ignoring_the_seeds_would_be_fooled() -> None:
    """Why the deviation goes in: without it, equal methods with a seed shift of 2 points differ far too often."""
    rng = np.random.default_rng(2)
    ps = [paired_test(clustered(rng, 0.7, 3, 3.0), clustered(rng, 0.7, 3, 3.0), permutations=399) for _ in range(200)]
    assert np.mean(np.array(ps) <= 0.05) > 0.1


def test_difference_interval_covers_the_truth() -> None:
    rng, hits, rounds = np.random.default_rng(3), 0, 600
    for _ in range(rounds):
        a, b = clustered(rng, 0.75, 3, 1.5), clustered(rng, 0.7, 3, 1.5)
        low, high = difference(a, b, Noise(pooled([a.values, b.values]).sd, 4)).bounds()
        hits += low <= 5.0 <= high
    assert 0.93 <= hits / rounds <= 0.99


def test_paired_test_is_seeded_never_zero_and_finds_a_real_gap() -> None:
    rng = np.random.default_rng(4)
    a, b = clustered(rng, 0.9, 3, 0.5), clustered(rng, 0.6, 3, 0.5)
    assert paired_test(a, b, seed=5) == paired_test(a, b, seed=5) == 1e-4
    assert paired_test(a, a) == 1.0


def test_clusters_count_as_one() -> None:
    """The same hits in 12 images tell less than in 120 images of one question."""
    rng = np.random.default_rng(6)
    base = examples(rng, 0.5, 120, 1)
    better = base | {"correct": base["correct"] | (np.arange(120) < 30)}
    lumped = {"cluster": np.array([f"{i // 10}" for i in range(120)])}
    alone = paired_test(Runs.of([60.0], [better]), Runs.of([50.0], [base]))
    assert paired_test(Runs.of([60.0], [better | lumped]), Runs.of([50.0], [base | lumped])) > 10 * alone


def test_without_examples_the_seeds_decide() -> None:
    a, b = Runs.of([80.0, 81.0, 82.0]), Runs.of([70.0, 71.0, 72.0])
    assert paired_test(a, b, Noise(1.0, 20)) < 1e-6
    assert paired_test(a, b) == 1.0, "no noise known: nothing can be told apart"


def test_different_examples_are_an_error() -> None:
    rng = np.random.default_rng(7)
    a, b = examples(rng, 0.5, 10), examples(rng, 0.5, 11)
    with pytest.raises(ValueError, match="different examples"):
        Runs.of([1.0, 2.0], [a, b])
    with pytest.raises(ValueError, match="different examples"):
        paired_test(Runs.of([1.0], [a]), Runs.of([1.0], [b]))


def test_holm_is_statsmodels_holm() -> None:
    ps = np.random.default_rng(8).random(12) ** 4
    assert holm(ps) == pytest.approx(list(multipletests(ps, method="holm")[1]))
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []


def test_a_method_as_good_as_any_keeps_its_mark() -> None:
    """All ten are equal: the first loses its mark in at most 5 of 100 boards."""
    rng, lost, rounds = np.random.default_rng(9), 0, 60
    for _ in range(rounds):
        column = {str(i): clustered(rng, 0.7, 3, 1.0, images=60, each=2) for i in range(10)}
        lost += against_best(column, pooled(r.values for r in column.values()), permutations=999)["0"] < 0.05
    assert lost / rounds <= 0.05


def test_against_best_marks_the_clearly_worse_only() -> None:
    rng = np.random.default_rng(10)
    column = {"good": clustered(rng, 0.8, 3, 0.5), "same": clustered(rng, 0.8, 3, 0.5), "bad": clustered(rng, 0.6, 3, 0.5)}
    ps = against_best(column, pooled(r.values for r in column.values()))
    assert ps["bad"] < 0.05 <= min(ps["good"], ps["same"])
    assert max(ps["good"], ps["same"]) == 1.0
    assert against_best({}, UNKNOWN) == {}


@pytest.mark.parametrize(
    ("points", "front"),
    [
        ([(0, 50), (1, 60), (2, 55)], [0, 1]),
        ([(-3, 55), (0, 50), (1, 60), (0, 60)], [0, 3]),
        ([(1, 60), (1, 60), (1, 59)], [0, 1]),
        ([(2, 70), (-1, 70)], [1]),
        ([], []),
    ],
)
def test_pareto_with_ties_zeros_and_negatives(points: list[tuple[float, float]], front: list[int]) -> None:
    assert pareto(points) == front


@pytest.mark.parametrize(
    ("relation", "bounds", "margin", "verdict"),
    [
        (">", (0.5, 2), 0, "reproduced"), (">", (-1, 2), 0, "inconclusive"), (">", (-3, -1), 0, "lower"), (">", (0, 0), 0, "lower"),
        (">=", (-1, 2), 2, "reproduced"), (">=", (-3, 2), 2, "inconclusive"), (">=", (-1, -0.5), 2, "lower"),
        (">=", (0, 0), 0, "reproduced"),
        ("<", (-2, -1), 0, "reproduced"), ("<", (1, 2), 0, "higher"), ("<", (0, 0), 0, "higher"), ("<=", (-2, 1), 2, "reproduced"),
        (">=", (float("-inf"), float("inf")), 2, "inconclusive"),
    ],
)  # fmt: skip
def test_outcome(relation: str, bounds: tuple[float, float], margin: float, verdict: str) -> None:
    assert outcome(relation, *bounds, margin) == verdict


def test_average_of_differences_shrinks_and_is_unknown_where_one_is() -> None:
    a, b = Runs.of([80.0, 81.0, 82.0]), Runs.of([70.0, 71.0, 72.0])
    one = difference(a, b, Noise(1.0, 20))
    four = average([one] * 4)
    assert four.points == 10.0
    assert four.se == pytest.approx(one.se / 2)
    assert average([one, one], [3, 1]).se == pytest.approx(one.se * np.sqrt(10) / 4)
    assert average([one, difference(b, b, Noise(1.0, 20))], [3, 1]).points == pytest.approx(7.5)
    assert average([one, difference(a, b, UNKNOWN)]).bounds() == (-np.inf, np.inf)


def test_a_control_brings_its_own_noise() -> None:
    """Only what it deviates beyond the others counts once more; with one seed nobody knows how much that is."""
    a, calm, wild = Runs.of([80.0, 81.0, 82.0]), Runs.of([70.0, 71.0, 72.0]), Runs.of([61.0, 71.0, 81.0])
    noise = Noise(1.0, 20)
    assert difference(a, calm, noise, control=True) == difference(a, calm, noise)
    assert difference(a, wild, noise, control=True).se ** 2 == pytest.approx(difference(a, wild, noise).se ** 2 + (10.0**2 - 1) / 3)
    assert difference(a, Runs.of([71.0]), noise, control=True).bounds() == (-np.inf, np.inf)


def test_a_metric_that_does_not_count_right_examples_is_tested_by_its_own_mean() -> None:
    """Both have as many right, but the harmonic mean of two kinds of rows tells them apart."""
    rng = np.random.default_rng(0)
    a, b = clustered(rng, 0.7, 3, 0.0), clustered(rng, 0.7, 3, 0.0)
    noise = Noise(0.5, 20)
    level, apart = paired_test(a, b, noise), paired_test(replace(a, values=(90.0, 90.5, 89.5)), b, noise)
    assert a.counts and level > 0.05 and apart == difference(replace(a, values=(90.0, 90.5, 89.5)), b, noise).p < 0.01
