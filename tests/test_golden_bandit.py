"""The bandit against the recorded searches of DAS: the recorded actions and losses are fed in, the gates compared."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from vectors import blocks, part

from methods.das import DAS
from suite.bandit import Bandit

TOLERANCE = 1e-6
"""The official gates are float32; README section 9 quotes up to 2.2e-7."""
NAMES = [pair for pair in blocks() if pair[1].startswith("bandit_") and pair != ("das", "bandit_llava")]


class Recorded(Bandit):
    """Draws what the trace holds, in its order."""

    def __init__(self, arms: int, draws: list[list[int]], start: np.ndarray):
        super().__init__(arms, np.random.default_rng(0))
        self.preferences[:] = start
        self.draws = iter(draws)

    def draw(self, k: int = 1) -> list[int]:
        subset = sorted(next(self.draws))
        assert len(subset) == k
        return subset


@pytest.mark.parametrize(("file", "block"), NAMES)
def test_golden_bandit_updates(file: str, block: str) -> None:
    trace, cfg = part(file, block, "trace"), part(file, block, "cfg")
    bandit = Recorded(int(cfg["n"]), [], part(file, block, "in")["gate0"])
    for before, p, subsets, losses, after in zip(
        *(trace[f"update_{name}"] for name in ("gate_before", "prob", "selects", "losses", "gate_after")), strict=True
    ):
        np.testing.assert_allclose(bandit.preferences, before, atol=TOLERANCE)
        np.testing.assert_allclose(bandit.probabilities(), p, atol=TOLERANCE)
        bandit.update(subsets.tolist(), np.exp(-losses.astype(float)).tolist())
        np.testing.assert_allclose(bandit.preferences, after, atol=TOLERANCE)


@pytest.mark.parametrize(("file", "block"), NAMES)
def test_golden_bandit_rejects_repeated_subsets(file: str, block: str) -> None:
    trace, cfg = part(file, block, "trace"), part(file, block, "cfg")
    count, k = int(cfg["das_step"]), int(cfg["skip_num"])
    for draws, n, subsets in zip(trace["update_raw_draws"], trace["update_n_draws"], trace["update_selects"], strict=True):
        bandit = Recorded(int(cfg["n"]), draws[:n].tolist(), np.zeros(int(cfg["n"])))
        assert bandit.distinct(count, k) == np.sort(subsets, axis=-1).tolist()
        assert next(bandit.draws, None) is None


@pytest.mark.parametrize(("file", "block"), NAMES)
def test_golden_search_follows_the_recorded_schedule(file: str, block: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """DAS.search makes the official updates at the official steps and ends with the official gates."""
    trace, cfg = part(file, block, "trace"), {name: int(value) for name, value in part(file, block, "cfg").items()}
    method = DAS(subsets=cfg["das_step"], turn=cfg["das_turn"], updates=1)
    method._arms, method._skips, method._warmup, method._rate, method._routed = cfg["n"], cfg["skip_num"], cfg["warmup_epoch"], 1.0, False
    trial = Trial(trace, cfg)
    start = part(file, block, "in")["gate0"]
    monkeypatch.setattr("methods.das.Bandit", lambda arms, *_: Recorded(arms, trial.draws(), start))
    plan = method.search(trial)
    assert trial.updates == list(zip(trace["update_epoch"].tolist(), trace["update_step"].tolist(), strict=True))
    out = part(file, block, "out")
    np.testing.assert_allclose(trial.trace["preferences"], out["gate_epoch_end"][-1], atol=TOLERANCE)
    gates = np.asarray(trial.trace["preferences"])
    np.testing.assert_allclose(np.sort(gates[plan["skipped"]]), np.sort(gates[out["final_select"][-1]]), atol=TOLERANCE)


class Trial:
    """core.Trial that replays a trace."""

    official = False  # a new batch marks an update

    def __init__(self, trace: dict[str, np.ndarray], cfg: dict[str, int]):
        self.recorded, self.steps_per_epoch, self.epochs = trace, cfg["steps_per_epoch"], cfg["das_epoch"]
        self.trace: dict[str, Any] = {}
        self.rng = np.random.default_rng(0)
        self.steps, self.updates, self.losses = 0, [], iter(trace["update_losses"].ravel().tolist())

    def draws(self) -> list[list[int]]:
        """All draws of the search in order: one per step, and those of an update behind its step."""
        t, out, update = self.recorded, [], 0
        for epoch, step, subset in zip(t["train_epoch"].tolist(), t["train_step"].tolist(), t["train_select"].tolist(), strict=True):
            out.append(subset)
            if update < len(t["update_epoch"]) and (t["update_epoch"][update], t["update_step"][update]) == (epoch, step):
                out += t["update_raw_draws"][update][: t["update_n_draws"][update]].tolist()
                update += 1
        return out

    def train_step(self, choice: Any) -> float:
        assert choice == sorted(self.recorded["train_select"][self.steps].tolist())
        self.steps += 1
        return 0.0

    def new_batch(self) -> None:
        last = self.steps - 1
        self.updates.append((int(self.recorded["train_epoch"][last]), int(self.recorded["train_step"][last])))

    def reward_loss(self, choice: Any) -> float:
        return next(self.losses)
