"""What DVP's search has to beat: the prompt at the first layer, and at layers drawn at random."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from methods.dvp import DVP
from suite.core import Backbone, Plan, Trial


@dataclass
class DVPFirst(DVP):
    """At the first layer, without a search."""

    name: ClassVar[str] = "dvp_first"
    title: ClassVar[str] = "DVP, first layer"
    source: ClassVar[str] = "petlbench's control"
    claims: ClassVar[tuple[dict[str, Any], ...]] = ()
    search: ClassVar[None] = None

    def attach(self, backbone: Backbone, plan: Plan | None = None) -> None:
        super().attach(backbone, {"layer": 0})


@dataclass
class DVPRandom(DVP):
    """Another layer for each seed, so that the mean over seeds estimates that over all layers."""

    name: ClassVar[str] = "dvp_random"
    title: ClassVar[str] = "DVP, random layer"
    source: ClassVar[str] = "petlbench's control"
    claims: ClassVar[tuple[dict[str, Any], ...]] = ()

    def search(self, trial: Trial) -> Plan:
        """Draws, without a step of training."""
        return {"layer": int(trial.rng.integers(self._arms))}
