"""CLIP's image classification sets as tasks, by CoOp's few-shot protocol (Zhou et al. 2022, arXiv:2109.01134, section 4.1).

`<set>`: 16 pictures of each class, all classes. `<set>-new`: of the base classes alone, from base to new classes as in CoCoOp
(arXiv:2203.05557). Both are tested on the whole test split. Which pictures are shown is part of the data: one draw for all seeds of a
cell, where the papers draw anew for each seed. Pictures are not augmented, which CoOp does by random crops and flips.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from statistics import harmonic_mean
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import nn

from suite.core import Backbone, Batch
from suite.data import aircraft, coop, imagenet, seen
from suite.data.coop import Labelled, few_shot
from suite.errors import UserError
from suite.recipe import Recipe
from suite.tasks.base import SEARCH_PARTS
from suite.tasks.prototypes import SHOTS, BaseToNew, FewShot, Probe, Prototypes
from suite.tasks.real import Real

if TYPE_CHECKING:
    from datasets import Dataset

HELD = 4
"""Validation pictures of a class, at most."""
DRAW = 0
"""Seed of the draw."""
NEW = "-new"


@dataclass(eq=False)
class RealFewShot(Real, FewShot):
    """One picture a row and no text. The prompts are CoOp's hand-crafted ones with the classes' names.

    Training has SHOTS pictures of each class, validation HELD at most, as in CoOp. ImageNet has no validation split: where CoOp's code
    validates on the test pictures, here further ones of the training split do. Only labels and paths of the others are read.
    """

    reader: Labelled

    @property
    def choices(self) -> tuple[int, ...]:
        """How many classes a picture is put among; the classes in the first of these are trained on."""
        return (self.reader.count,)

    @cached_property
    def sizes(self) -> dict[str, int]:
        """Rows of each split and of the search parts, counted in the data: a class may have fewer pictures than are drawn."""
        rows = len(self.shots["train"]["label"])
        found = {"train": rows, "validation": len(self.shots["validation"]["label"]), "test": self.reader.sizes["test"]}
        return found | dict(zip(SEARCH_PARTS, (rows - rows // 5, rows // 5)))

    def about(self, split: str) -> int:
        """As if every class had enough pictures."""
        shots = {"train": SHOTS, "validation": HELD}
        return shots[split] * self.choices[0] if split in shots else self.reader.sizes[split]

    def columns(self, name: str) -> dict[str, list[Any]]:
        return super().columns(name) if name == "test" else self.shots[name]

    @cached_property
    def shots(self) -> dict[str, dict[str, list[Any]]]:
        """The columns of `train` and `validation`. Raises UserError where the data is not there."""
        whole = self.reader.split("train")
        labels = whole["label"][:]
        train = few_shot(labels, SHOTS, DRAW)
        if "validation" in self.reader.sizes:
            rest = self.reader.split("validation")
            held = few_shot(rest["label"][:], HELD, DRAW)
        else:  # a larger draw holds the smaller one
            rest, held = whole, sorted(set(few_shot(labels, SHOTS + HELD, DRAW)) - set(train))
        return {"train": self._trained(whole, train), "validation": self._trained(rest, held)}

    def _trained(self, split: Dataset, rows: Sequence[int]) -> dict[str, list[Any]]:
        """These rows' columns, of classes that are trained on; pictures stay paths."""
        found = split.with_format("arrow")[rows].to_pydict()
        kept = [row for row, label in enumerate(found["label"]) if label < self.choices[0]]
        return {name: [cells[row] for row in kept] for name, cells in found.items()}

    def head(self, backbone: Backbone, readout: str = "task") -> nn.Module:
        """Prototypes, or a linear probe where `readout` is "linear".

        Unbound, or for a backbone on the meta device, the prompts are blank and, with what the method puts into them, as long as the
        papers', which pad them: costs need no data. Raises UserError where names or tokenizer are not there, or a prompt finds no room.
        """
        if readout == "linear":
            return Probe(backbone.vision_width, self.reader.count)
        if self.view is None or next(backbone.parameters()).is_meta:
            ids = torch.zeros(self.reader.count, self._room(backbone, 1), dtype=torch.long)
            return Prototypes(ids, torch.ones_like(ids, dtype=torch.bool))
        texts = [self.reader.prompt.format(name) for name in self.reader.classes]
        ids, there = map(torch.from_numpy, seen.tokens(self.view, texts))
        self._room(backbone, int(there.sum(1).max()))
        return Prototypes(ids, there)

    def _room(self, backbone: Backbone, needed: int) -> int:
        """Tokens of a prompt, at most, beside those that the attached method puts into it. Raises UserError where fewer than `needed`."""
        (site,) = [site for site in backbone.sites("sequence") if site.stream == "text"]
        x = torch.zeros(1, 1, site.width, device=next(backbone.parameters()).device)
        with torch.no_grad():
            inserted = site.target.before(0, x, torch.ones_like(x[..., 0], dtype=torch.int))[0].shape[1] - 1
        length = (self.view or backbone.view).length
        if inserted + needed > length:
            raise UserError(f"{self.name}: a prompt of {needed} tokens and the {inserted} of the method's own are more than {length}")
        return length - inserted

    def blank(self, size: tuple[int, int, int]) -> Batch:
        return self.plain(size, labels=torch.zeros(self.recipe.rows, dtype=torch.long))

    def floors(self) -> dict[str, float]:
        """Chance (percent): shots are the same number of each class, and nothing is known without the picture."""
        chance = harmonic_mean([100 / classes for classes in self.choices])
        return {"majority": chance, "blind": chance}


@dataclass(eq=False)
class RealBaseToNew(RealFewShot, BaseToNew):
    """Trained on shots of the base classes, those of `RealFewShot`; see BaseToNew."""

    metric: ClassVar[str] = BaseToNew.metric

    @property
    def name(self) -> str:
        return self.reader.name + NEW

    @property
    def choices(self) -> tuple[int, ...]:
        """The base classes, which are the first, and the new ones."""
        base = sum(self.reader.base)
        return base, self.reader.count - base


READERS: dict[str, Callable[[], Labelled]] = {
    "imagenet": lambda: imagenet.ImageNet("imagenet", dict(imagenet.SIZES)),
    "aircraft": lambda: aircraft.Aircraft("aircraft", dict(aircraft.SIZES)),
    **{name: partial(coop.coop, name) for name in coop.SETS},
}


def _task(kind: type[RealFewShot], name: str) -> RealFewShot:
    """APT's own settings for CLIP are not published. Epochs and batch are CoOp's for ImageNet; it trains the other sets for 200 epochs."""
    return kind(READERS[name](), Recipe(epochs=50, batch_size=32, shared_lr=None), dataset=name, backbones=("clip",))


TASKS = {
    **{name: partial(_task, RealFewShot, name) for name in READERS},
    **{name + NEW: partial(_task, RealBaseToNew, name) for name in READERS},
}
