"""Image classification sets of CLIP's adaptation papers, in the splits of CoOp (Zhou et al. 2022, arXiv:2109.01134, section 4.1)."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

from suite.data.published import PARTS, Published, damage_told
from suite.data.reader import ranked
from suite.errors import UserError
from suite.names import unknown


@dataclass(frozen=True)
class ImageSet:
    """A set with a split file. folder: of the dataset. split, pictures: a file and a folder in it. classes: their published number.

    sizes: published numbers of training, validation and test pictures. prompt: CoOp's hand-crafted one, {} for the class.
    origin: the picture folder, and the archive and address that it is from.
    """

    folder: str
    split: str
    pictures: str
    classes: int
    sizes: tuple[int, int, int]
    prompt: str
    licence: str
    origin: str


SETS = {
    "caltech101": ImageSet(
        "caltech-101", "split_zhou_Caltech101.json", "101_ObjectCategories", 100, (4_128, 1_649, 2_465), "a photo of a {}.",
        "CC-BY-4.0", "101_ObjectCategories of data.caltech.edu/records/mzrjq-6wc02"),
    "oxford-pets": ImageSet(
        "oxford_pets", "split_zhou_OxfordPets.json", "images", 37, (2_944, 736, 3_669), "a photo of a {}, a type of pet.",
        "CC-BY-SA-4.0", "images, from images.tar.gz of www.robots.ox.ac.uk/~vgg/data/pets"),
    "stanford-cars": ImageSet(
        "stanford_cars", "split_zhou_StanfordCars.json", "", 196, (6_509, 1_635, 8_041), "a photo of a {}.",
        "for non-commercial research", "cars_train and cars_test, from archives of these names at ai.stanford.edu/~jkrause/car196"),
    "flowers102": ImageSet(
        "oxford_flowers", "split_zhou_OxfordFlowers.json", "jpg", 102, (4_093, 1_633, 2_463), "a photo of a {}, a type of flower.",
        "for non-commercial research", "jpg, from 102flowers.tgz of www.robots.ox.ac.uk/~vgg/data/flowers/102"),
    "food101": ImageSet(
        "food-101", "split_zhou_Food101.json", "images", 101, (50_500, 20_200, 30_300), "a photo of {}, a type of food.",
        "pictures of Foodspotting's users, for scientific fair use",
        "images, from food-101.tar.gz of data.vision.ee.ethz.ch/cvl/datasets_extra/food-101"),
    "sun397": ImageSet(
        "sun397", "split_zhou_SUN397.json", "SUN397", 397, (15_880, 3_970, 19_850), "a photo of a {}.",
        "not known, see its page", "SUN397, from SUN397.tar.gz of vision.princeton.edu/projects/2010/SUN"),
    "dtd": ImageSet(
        "dtd", "split_zhou_DescribableTextures.json", "images", 47, (2_820, 1_128, 1_692), "{} texture.",
        "for research", "images, from dtd-r1.0.1.tar.gz of www.robots.ox.ac.uk/~vgg/data/dtd"),
    "eurosat": ImageSet(
        "eurosat", "split_zhou_EuroSAT.json", "2750", 10, (13_500, 5_400, 8_100), "a centered satellite photo of {}.",
        "MIT", "2750, from EuroSAT.zip of madm.dfki.de/files/sentinel"),
    "ucf101": ImageSet(
        "ucf101", "split_zhou_UCF101.json", "UCF-101-midframes", 101, (7_639, 1_898, 3_783), "a photo of a person doing {}.",
        "not known, see www.crcv.ucf.edu/data/UCF101.php", "UCF-101-midframes, from UCF-101-midframes.zip, which it links to as well"),
}  # fmt: skip

SIZES = {name: dict(zip(PARTS, found.sizes)) for name, found in SETS.items()}


@dataclass(eq=False)
class Labelled(Published):
    """Pictures of one class each, whose names are the prompts: rows have no text. `id` and `image_id` are a picture's path in the dataset.

    count: the published number of classes. prompt: CoOp's hand-crafted one, {} for the class.
    """

    version: ClassVar[str] = "1.0"
    texts: ClassVar[bool] = False
    count: ClassVar[int]
    prompt: ClassVar[str]

    def names(self) -> list[str]:
        """Of the classes in the order of their labels, as published."""
        raise NotImplementedError

    def items(self, split: str) -> list[tuple[str, int]]:
        """Path in the dataset and label of each picture."""
        raise NotImplementedError

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Their names, underscores as spaces. Raises UserError where they are not as many as published."""
        with damage_told(self.name):
            found = tuple(name.replace("_", " ") for name in self.names())
        if len(found) != self.count:
            raise UserError(f"{self.name}: found {len(found):,} classes, expected {self.count:,}")
        return found

    @property
    def base(self) -> tuple[bool, ...]:
        """Is a class one of those that are trained on?"""
        return base_new(range(self.count))

    def rows(self, split: str) -> dict[str, list[Any]]:
        self.classes  # counted first: their error says more
        found = self.items(split)
        paths, labels = [path for path, _ in found], [label for _, label in found]
        home, empty = self.home(), [""] * len(found)
        return {"image": [home / path for path in paths], "id": paths, "image_id": paths, "text": empty, "label": labels}


@dataclass(eq=False)
class Coop(Labelled):
    """One of SETS, by its name there. The split file has a list of [path in the picture folder, label, class name] for each of PARTS."""

    def __post_init__(self) -> None:
        if self.name not in SETS:
            raise unknown("image set", self.name, SETS)
        found = SETS[self.name]
        self.folder, self.licence, self.count, self.prompt = found.folder, found.licence, found.classes, found.prompt
        self.how = (f"Put {found.split}, which DATASETS.md of github.com/KaiyangZhou/CoOp links to, below {found.folder},"
                    f" with the pictures: {found.origin}")  # fmt: skip

    def names(self) -> list[str]:
        named: dict[int, str] = {}
        for part in self._parts.values():
            for _, label, name in part:
                if named.setdefault(label, name) != name:
                    raise ValueError(f"label {label} is {named[label]!r} and {name!r}")
        if set(named) != set(range(len(named))):
            raise ValueError(f"the labels of the {len(named)} classes are not 0 to {len(named) - 1}")
        return distinct([named[label] for label in range(len(named))])

    def items(self, split: str) -> list[tuple[str, int]]:
        pictures = SETS[self.name].pictures
        return [(f"{pictures}/{path}" if pictures else path, label) for path, label, _ in self._parts[split]]

    @cached_property
    def _parts(self) -> dict[str, list[tuple[str, int, str]]]:
        found = json.loads(self.file(SETS[self.name].split).read_text(encoding="utf-8"))
        return {split: [_item(row) for row in found[part]] for split, part in PARTS.items()}


def coop(name: str) -> Coop:
    """The set of this name with its published sizes. Raises UserError for a name that SETS has not."""
    return Coop(name, dict(SIZES.get(name, {})))


def few_shot(labels: Sequence[int], shots: int, seed: int) -> list[int]:
    """Ascending row numbers of `shots` rows of each class; of a class with fewer, all. Another seed is another draw.

    A larger draw of one seed holds the smaller ones. CoOp has 1, 2, 4, 8 and 16 shots for training, and for validation 4 at most.
    Raises UserError for less than one shot.
    """
    if shots < 1:
        raise UserError(f"{shots} shots: at least one picture of each class is needed")
    drawn: defaultdict[int, list[int]] = defaultdict(list)
    for row in map(int, ranked(map(str, range(len(labels))), f"few-shot/{seed}")):
        drawn[labels[row]].append(row)
    return sorted(row for rows in drawn.values() for row in rows[:shots])


def base_new(classes: Sequence[Any]) -> tuple[bool, ...]:
    """Is a class a base one? The first half is, rounded up; the others are new (CoCoOp, Zhou et al. 2022, arXiv:2203.05557)."""
    half = math.ceil(len(classes) / 2)
    return tuple(label < half for label in range(len(classes)))


def distinct(names: list[str]) -> list[str]:
    """The names as they are. Raises ValueError where two classes have the same."""
    if len(set(names)) < len(names):
        raise ValueError(f"two classes are called {next(name for name in names if names.count(name) > 1)!r}")
    return names


def _item(row: Any) -> tuple[str, int, str]:
    path, label, name = row
    if not (isinstance(path, str) and type(label) is int and isinstance(name, str)):
        raise TypeError(f"{row!r:.80} is not a path, a label and a class name")
    return path, label, name
