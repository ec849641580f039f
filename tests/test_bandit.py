"""The bandit beyond the recorded traces: bounds, frequencies, both probability functions."""

from __future__ import annotations

import numpy as np
import pytest

from suite.bandit import Bandit


def bandit(arms: int = 5, **options: object) -> Bandit:
    return Bandit(arms, np.random.default_rng(0), **options)


def test_draws_follow_the_weights() -> None:
    b = bandit(3, probability="softmax")
    b.preferences[:] = np.log([0.5, 0.3, 0.2])
    counts = np.bincount([b.draw()[0] for _ in range(4000)], minlength=3) / 4000
    np.testing.assert_allclose(counts, [0.5, 0.3, 0.2], atol=0.03)


def test_a_subset_is_sorted_and_has_no_arm_twice() -> None:
    b = bandit(4)
    assert all(subset == sorted(set(subset)) and len(subset) == 3 for subset in (b.draw(3) for _ in range(50)))


def test_all_subsets_where_fewer_exist_than_asked() -> None:
    assert sorted(bandit(3).distinct(10, 2)) == [[0, 1], [0, 2], [1, 2]]


def test_sharp_preferences_do_not_draw_for_ever() -> None:
    b = bandit(6)
    b.preferences[:] = [80.0, -80.0, -80.0, -80.0, -80.0, -80.0]
    found = b.distinct(4)
    assert len(found) == 4 and len({tuple(subset) for subset in found}) == 4


def test_sigmoid_is_finite_for_large_preferences() -> None:
    b = bandit(2)
    b.preferences[:] = [1e4, -1e4]
    np.testing.assert_array_equal(b.probabilities(), [1.0, 0.0])


@pytest.mark.parametrize("probability", ["sigmoid", "softmax"])
def test_update_uses_the_old_probabilities_and_adds_up_repeats(probability: str) -> None:
    b = bandit(4, probability=probability, rate=0.5)
    p = b.probabilities()
    b.update([[1], [1], [2]], [1.0, 2.0, 3.0])
    gain = 0.5 * p * (1 - p)
    np.testing.assert_allclose(b.preferences, [0, gain[1] * (-1.0 + 0.0), gain[2] * 1.0, 0])


def test_best_takes_the_largest() -> None:
    b = bandit(4)
    b.preferences[:] = [0.1, 0.5, 0.5, 0.4]
    assert b.best(2) == [1, 2] and b.best(1) == [1] and b.best(3) == [1, 2, 3]
