"""What DAS's search has to beat: skipping as many layers, drawn at random."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from methods.das import DAS
from suite.core import Plan, Trial


@dataclass
class DASRandom(DAS):
    """Layers drawn for each seed, the same on every task, so that the mean over seeds estimates that over all choices. The rest is DAS."""

    name: ClassVar[str] = "das_random"
    title: ClassVar[str] = "DAS, random layers"
    source: ClassVar[str] = "petlbench's control"
    claims: ClassVar[tuple[dict[str, Any], ...]] = ()

    def search(self, trial: Trial) -> Plan:
        """Draws, without a step of training."""
        return {"skipped": sorted(trial.rng.choice(self._arms, self._skips, replace=False).tolist())}
