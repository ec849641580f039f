"""The one interface to every dataset: each split is a Hugging Face `Dataset` with the same columns, a version and a content hash."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from suite.data.checks import checked

if TYPE_CHECKING:
    from datasets import Dataset, Features


@dataclass(eq=False)
class Reader:
    """A dataset. Splits are made in memory at the first call: generated scenes take less than reading them back.

    Columns of a split: one encoded picture per name in `pictures` (`datasets.Image`); `image_id`, equal where the pictures are equal;
    `text`; and, where the subclass names `classes`, `label` (`datasets.ClassLabel`). Several captions of a picture are several rows.
    sizes: split -> number of rows.
    """

    name: str
    sizes: dict[str, int]
    version: ClassVar[str]
    pictures: ClassVar[tuple[str, ...]] = ("image",)
    texts: ClassVar[bool] = True  # do rows have one?
    _splits: dict[str, Dataset] = field(default_factory=dict, init=False, repr=False)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the labels in order; empty where rows have none."""
        return ()

    def rows(self, split: str) -> dict[str, list[Any]]:
        """The columns of a split as lists; pictures as encoded bytes."""
        raise NotImplementedError

    def split(self, name: str) -> Dataset:
        """The rows of a split. Raises KeyError for a split without a size, UserError where the data is not what it should be."""
        if name not in self._splits:
            import datasets  # 0.8 s: only who reads data pays for it

            self.sizes[name]
            self._splits[name] = datasets.Dataset.from_dict(self._encoded(name), features=self._features())
        return self._splits[name]

    def content_hash(self) -> str:
        """sha256 over name, version, classes and every cell of every split; the same on every machine."""
        head = [self.name, self.version, list(self.classes), self.sizes]
        digest = hashlib.sha256(json.dumps(head).encode())
        for name in self.sizes:
            for column, cells in sorted(self._encoded(name).items()):
                digest.update(json.dumps([name, column, len(cells)]).encode())
                digest.update(_sha256(c["bytes"] if isinstance(c, dict) else json.dumps(c).encode() for c in cells))
        return digest.hexdigest()

    def _encoded(self, name: str) -> dict[str, list[Any]]:
        if name in self._splits:
            return raw_columns(self._splits[name])
        rows = checked(f"{self.name}/{name}", self.rows(name), self.pictures, self.texts)
        return rows | {p: [{"bytes": data, "path": None} for data in rows[p]] for p in self.pictures}

    def _features(self) -> Features:
        from datasets import ClassLabel, Features, Image, Value

        columns = {p: Image() for p in self.pictures} | {"image_id": Value("string"), "text": Value("string")}
        return Features(columns | ({"label": ClassLabel(names=list(self.classes))} if self.classes else {}))


def raw_columns(dataset: Dataset) -> dict[str, list[Any]]:
    """The cells of a split as stored: pictures stay encoded."""
    return dataset.data.to_pydict()


def portable_pixmap(pictures: np.ndarray) -> list[bytes]:
    """(N, H, W, 3) uint8 as PPM files: lossless, and nothing to compress or undo."""
    head = b"P6 %d %d 255\n" % (pictures.shape[2], pictures.shape[1])
    return [head + picture.tobytes() for picture in pictures]


def ranked(items: Iterable[str], salt: str) -> list[str]:
    """The distinct items in a fixed random order, the same with every library version: a longer draw keeps the shorter one."""
    return sorted(set(items), key=lambda item: hashlib.sha256(f"{salt}/{item}".encode()).digest())


def _sha256(parts: Iterable[bytes]) -> bytes:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(hashlib.sha256(part).digest())
    return digest.digest()
