"""Generated datasets whose rows are of several kinds, for scores kind by kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from suite.data.world_reader import World

if TYPE_CHECKING:
    from datasets import Features


@dataclass(eq=False)
class WorldOfKinds(World):
    """A row's `kind` is one of `kinds`."""

    kinds: ClassVar[tuple[str, ...]]

    def _features(self) -> Features:
        from datasets import Features, Value

        return Features({**super()._features(), "kind": Value("string")})
