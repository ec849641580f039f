"""The k-armed bandit that DAS (layers to skip) and DVP (where to insert) share; golden README sections 6 and 7."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

REJECTIONS = 1000
"""Repeated draws in a row after which the remaining subsets are drawn evenly; sharp preferences would draw for ever."""


class Bandit:
    """Preferences g (n,) float64, start 0; an arm's probability is sigmoid(g_i), or its share of softmax(g).

    rate: step size of `update`. rng: draws. A subset is a sorted list of arms.
    """

    def __init__(self, arms: int, rng: np.random.Generator, probability: Literal["sigmoid", "softmax"] = "sigmoid", rate: float = 1.0):
        self.preferences = np.zeros(arms)
        self.rewards: list[list[float]] = [[] for _ in range(arms)]
        self.rng, self.probability, self.rate = rng, probability, rate

    def probabilities(self) -> np.ndarray:
        """p (n,); sums to 1 for softmax only."""
        g = self.preferences
        if self.probability == "sigmoid":
            return 0.5 * (1 + np.tanh(g / 2))
        e = np.exp(g - g.max())
        return e / e.sum()

    def draw(self, k: int = 1) -> list[int]:
        """k different arms, each next one proportional to p among those left."""
        p = self.probabilities()
        return sorted(int(arm) for arm in self.rng.choice(len(p), size=k, replace=False, p=p / p.sum()))

    def distinct(self, count: int, k: int = 1) -> list[list[int]]:
        """`count` different subsets of k arms, a repeated one drawn again; all there are, if there are fewer."""
        wanted, found, rejected = min(count, math.comb(len(self.preferences), k)), [], 0
        while len(found) < wanted:
            subset = self.draw(k) if rejected < REJECTIONS else self._even(k)
            if subset in found:
                rejected += 1
            else:
                found.append(subset)
        return found

    def _even(self, k: int) -> list[int]:
        return sorted(int(arm) for arm in self.rng.choice(len(self.preferences), size=k, replace=False))

    def update(self, subsets: Sequence[Sequence[int]], rewards: Sequence[float]) -> None:
        """g_i += rate * (R_k - mean R) * p_i * (1 - p_i) for every subset k and arm i in it, p from before."""
        p = self.probabilities()
        for subset, reward in zip(subsets, rewards, strict=True):
            advantage = reward - np.mean(rewards)
            for arm in subset:
                self.rewards[arm].append(float(reward))
                self.preferences[arm] += self.rate * advantage * p[arm] * (1 - p[arm])

    def means(self) -> list[float | None]:
        """Mean reward of the subsets that held each arm; None for an arm that was in none."""
        return [sum(rewards) / len(rewards) if rewards else None for rewards in self.rewards]

    def best(self, k: int = 1) -> list[int]:
        """The k arms with the largest preferences, the lower index first among equals."""
        return sorted(int(arm) for arm in np.argsort(-self.preferences, kind="stable")[:k])
