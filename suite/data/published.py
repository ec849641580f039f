"""The papers' datasets in the files their authors publish: what is missing is told with what to do, the rest is checked and read lazily."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from suite.data.checks import checked
from suite.data.fetch import FOLDER
from suite.data.reader import Reader
from suite.errors import UserError

if TYPE_CHECKING:
    from datasets import Features


PARTS = {"train": "train", "validation": "val", "test": "test"}
"""Split -> what most releases call it."""


@dataclass(eq=False)
class Published(Reader):
    """A dataset below `folder` of PETLBENCH_MIRROR or of .cache/data, unpacked as `how` says.

    Beside Reader's columns a split has `id`, different in each row; picture columns hold paths, decoded when a row is asked for.
    sizes: split -> the published number of rows. licence: of what has to be fetched. more: further columns, name -> `datasets` feature.
    """

    folder: ClassVar[str]
    licence: ClassVar[str]
    how: ClassVar[str]
    pictured: ClassVar[bool] = True  # has every row its pictures? Where not, the path of one that is lacking is None

    def rows(self, split: str) -> dict[str, list[Any]]:
        """The columns of a split as lists, `id` among them; pictures as paths, which need not exist, or None (see `pictured`)."""
        raise NotImplementedError

    def more(self) -> dict[str, Any]:
        return {}

    def file(self, path: str) -> Path:
        """A file of the dataset. Raises UserError, with `how`, where it is not there."""
        found = self.home() / path
        if not found.is_file():
            raise UserError(f"{self.name}: {self.folder}/{path} is missing. {self.how} (licence: {self.licence})")
        return found

    def home(self) -> Path:
        """The dataset's folder. Raises UserError, with `how`, where there is none."""
        mirror = os.environ.get("PETLBENCH_MIRROR")
        for place in ([Path(mirror)] if mirror else []) + [FOLDER]:
            if (place / self.folder).is_dir():
                return place / self.folder
        raise UserError(f"{self.name} is neither below PETLBENCH_MIRROR nor below {FOLDER}. {self.how} (licence: {self.licence})")

    def content_hash(self) -> str:
        """sha256 over name, version, sizes and every cell; pictures by name and number of bytes, for there are up to 20 GB of them."""
        digest = hashlib.sha256(json.dumps([self.name, self.version, list(self.classes), self.sizes]).encode())
        for split in self.sizes:
            columns = self._encoded(split)
            for column, cells in sorted(columns.items()):
                told = [cell and _told(cell["path"], self.home()) for cell in cells] if column in self.pictures else cells
                digest.update(json.dumps([split, column, told]).encode())
        return digest.hexdigest()

    def _encoded(self, name: str) -> dict[str, list[Any]]:
        wanted, where = self.sizes[name], f"{self.name}/{name}"
        with damage_told(where):
            rows = checked(where, self.rows(name), self.pictures if self.pictured else (), self.texts)
            names = {folder: _names(folder) for column in self.pictures for folder in {path.parent for path in rows[column] if path}}
        if (count := len(rows["id"])) != wanted:
            raise UserError(f"{where}: found {count:,} rows, expected {wanted:,}")
        twice = [key for key, times in Counter(rows["id"]).items() if times > 1]
        if twice:
            raise UserError(f"{where}: {len(twice):,} ids are there more than once, first {twice[0]}")
        for column in self.pictures:
            _all_there(where, rows[column], rows["id"], names)
        return rows | {column: [path and {"bytes": None, "path": str(path)} for path in rows[column]] for column in self.pictures}

    def _features(self) -> Features:
        from datasets import Features, Value

        return Features(super()._features() | {"id": Value("string")} | self.more())


@contextmanager
def damage_told(where: str) -> Iterator[None]:
    """Turns what a damaged file makes a reader raise into a UserError."""
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise UserError(f"{where} is damaged: {type(error).__name__}: {' '.join(str(error).split())[:200]}") from None


def lines(file: Path) -> list[Any]:
    """The rows of a file of JSON lines."""
    return [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n") if line.strip()]  # `splitlines` cuts inside texts too


def _names(folder: Path) -> set[str]:
    """Of a folder's files; none where there is no folder."""
    return {entry.name for entry in os.scandir(folder)} if folder.is_dir() else set()


def _all_there(where: str, paths: list[Path | None], ids: list[str], names: dict[Path, set[str]]) -> None:
    """Raises UserError for the first picture that is not there. names: the files of each folder, listed once."""
    lost = [(path, key) for path, key in zip(paths, ids) if path and path.name not in names[path.parent]]
    if lost:
        raise UserError(f"{where}: the picture {lost[0][0]} of row {lost[0][1]} is missing ({len(lost):,} such rows)")


def _told(path: str, home: Path) -> list[Any]:
    """Name below the dataset's folder, and bytes. Raises UserError for an empty file and for one that lies elsewhere."""
    file = Path(path)
    if not file.is_relative_to(home):
        raise UserError(f"{file} is not below {home}")
    if not (size := file.stat().st_size):
        raise UserError(f"{file} is empty")
    return [file.relative_to(home).as_posix(), size]
