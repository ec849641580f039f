"""Scores kind by kind, for datasets whose rows are of several kinds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from torch import Tensor

from suite.data.world_kinds import WorldOfKinds
from suite.tasks.classify import Classification


@dataclass(eq=False)
class ByKind(Classification):
    """Before the class that says what a row is: further metrics `<of>_<kind>`, accuracies on the rows of each kind that a split has."""

    reader: WorldOfKinds
    of: ClassVar[str]

    def score(self, split: str, outputs: list[Tensor]) -> tuple[dict[str, float], list[bool], list[str]]:
        """See Classification."""
        metrics, correct, clusters = super().score(split, outputs)
        right, kinds = np.array(correct), np.array(self.reader.split(split)["kind"][:])
        metrics |= {f"{self.of}_{kind}": 100 * right[kinds == kind].mean().item() for kind in self.reader.kinds if kind in kinds}
        return metrics, correct, clusters
