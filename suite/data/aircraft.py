"""FGVC-Aircraft (Maji et al. 2013, arXiv:1306.5151), release 2013b: which of 100 variants is the aircraft? The splits are its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from suite.data.coop import PARTS, Labelled, distinct

SIZES = {"train": 3_334, "validation": 3_333, "test": 3_333}


@dataclass(eq=False)
class Aircraft(Labelled):
    """A line of `images_variant_<part>.txt` is a picture's number and its variant; `variants.txt` has the variants in order."""

    count: ClassVar[int] = 100
    prompt: ClassVar[str] = "a photo of a {}, a type of aircraft."
    folder: ClassVar[str] = "fgvc_aircraft"
    licence: ClassVar[str] = "photographs belong to their owners, for non-commercial research only"
    how: ClassVar[str] = (
        "Put what is in data of fgvc-aircraft-2013b.tar.gz (www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft) below fgvc_aircraft:"
        " the folder images, variants.txt and images_variant_train.txt, images_variant_val.txt and images_variant_test.txt"
    )

    def names(self) -> list[str]:
        return distinct(self._lines("variants.txt"))

    def items(self, split: str) -> list[tuple[str, int]]:
        label_of = {name: label for label, name in enumerate(self.names())}
        found = [line.split(" ", 1) for line in self._lines(f"images_variant_{PARTS[split]}.txt")]
        return [(f"images/{number}.jpg", label_of[variant]) for number, variant in found]

    def _lines(self, path: str) -> list[str]:
        return [line.strip() for line in self.file(path).read_text(encoding="utf-8").splitlines() if line.strip()]
