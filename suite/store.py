"""Reads, validates and writes records and costs: one JSON file each, whole or not there. Imports no torch."""

from __future__ import annotations

import errno
import hashlib
import io
import itertools
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from pydantic import BaseModel, ValidationError

from suite.errors import UserError
from suite.record import Cost, Record

Model = TypeVar("Model", Record, Cost)
Examples = Mapping[str, np.ndarray]
RESULTS = Path("results")
NEEDED = 64 * 2**20
"""Bytes that must be free before a run starts: a few times what a whole board takes."""


def canonical(value: Any) -> bytes:
    """The one JSON text of a value: sorted keys, no spaces, no NaN. What is hashed."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False).encode()


def digest(value: Any) -> str:
    """sha256 of `canonical(value)`, hexadecimal."""
    return hashlib.sha256(canonical(value)).hexdigest()


def write_atomic(path: Path, content: bytes) -> None:
    """Write a file so that a reader finds the old content or the new, whatever is killed when.

    Raises UserError where the disk is full or the folder cannot be written.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            os.fchmod(file.fileno(), 0o644)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        if temporary and os.path.exists(temporary):
            os.unlink(temporary)
        raise _cannot_write(path, error) from error


def _cannot_write(path: Path, error: OSError) -> UserError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return UserError(f"the disk is full: cannot write {path}; finished cells are kept")
    return UserError(f"cannot write {path}: {error.strerror or error}")


def write_json(path: Path, model: BaseModel) -> None:
    """Write a record or cost with the sha256 of its content. Raises UserError like `write_atomic`."""
    content = model.model_dump(mode="json")
    text = json.dumps({"record": content, "sha256": digest(content)}, indent=1, sort_keys=True, allow_nan=False)
    write_atomic(path, text.encode() + b"\n")


def read_json(path: Path, kind: type[Model]) -> Model:
    """Read what `write_json` wrote. Raises UserError naming the file where it is truncated, tampered with or of another schema."""
    try:
        stored = json.loads(path.read_bytes())
        content, stated = stored["record"], stored["sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is damaged: no readable record ({type(error).__name__})") from error
    if digest(content) != stated:
        raise UserError(f"{path} is damaged: its content has sha256 {digest(content)[:12]}…, it states {str(stated)[:12]}…")
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(f"{path} does not fit the schema: {'.'.join(map(str, first['loc'])) or 'record'}: {first['msg']}") from error


def pack(examples: Examples) -> bytes:
    """Per-example arrays as the bytes of an .npz file; the same arrays give the same bytes."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **{name: np.asarray(examples[name]) for name in sorted(examples)})
    return buffer.getvalue()


def unpack(content: bytes) -> dict[str, np.ndarray]:
    """The arrays that `pack` packed. Raises what numpy and zipfile raise where these are not its bytes."""
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


class Store:
    """The results folder: `runs/<key>.json` with `runs/<key>.npz`, and `costs/<key>.json`."""

    def __init__(self, root: Path = RESULTS):
        self.root, self.runs, self.costs = root, root / "runs", root / "costs"

    def check_writable(self) -> None:
        """Raises UserError where a run could not keep its results."""
        for folder in (self.runs, self.costs):
            probe = folder / ".probe"
            write_atomic(probe, b"probe")
            probe.unlink()
        if (free := shutil.disk_usage(self.runs).free) < NEEDED:
            raise UserError(f"{self.runs} has {free / 2**20:.0f} MiB free, a run needs {NEEDED / 2**20:.0f} MiB")

    def save(self, record: Record, examples: Examples | None = None) -> Record:
        """Write a record, its per-example arrays first; returns it with their hash. Raises UserError like `write_atomic`."""
        if examples:
            packed = pack(examples)
            write_atomic(self.runs / f"{record.key}.npz", packed)
            record = record.model_copy(update={"examples": hashlib.sha256(packed).hexdigest()})
        write_json(self.runs / f"{record.key}.json", record)
        return record

    def save_cost(self, cost: Cost) -> None:
        """Write a cost. Raises UserError like `write_atomic`."""
        write_json(self.costs / f"{cost.key}.json", cost)

    def record(self, key: str) -> Record | None:
        """The record of a key, None where there is none; raises UserError where it or its per-example file is damaged."""
        path = self.runs / f"{key}.json"
        if not path.exists():
            return None
        record = read_json(path, Record)
        if record.key != key:
            raise UserError(f"{path} is damaged: it holds the record of key {record.key[:12]}…")
        if record.examples:
            self._verified(record)
        return record

    def cost(self, key: str) -> Cost | None:
        """The cost of a key, None where there is none; raises UserError where it is damaged."""
        path = self.costs / f"{key}.json"
        return read_json(path, Cost) if path.exists() else None

    def examples(self, record: Record) -> dict[str, np.ndarray]:
        """The per-example arrays of a record; raises UserError where they are not what the record states."""
        return unpack(self._verified(record))

    def _verified(self, record: Record) -> bytes:
        path = self.runs / f"{record.key}.npz"
        if not path.is_file():
            raise UserError(f"{path} is missing: the record of {record.cell} needs it")
        content = path.read_bytes()
        if (found := hashlib.sha256(content).hexdigest()) != record.examples:
            raise UserError(f"{path} is damaged: sha256 {found[:12]}…, its record states {str(record.examples)[:12]}…")
        return content

    def sweep(self) -> None:
        """Remove what killed runs left half written; only for who holds the lock."""
        for folder in (self.runs, self.costs):
            for path in folder.glob(".*.*.????????"):  # as `write_atomic` names them
                path.unlink(missing_ok=True)

    def set_aside(self, key: str, folder: Path) -> None:
        """Move what is stored under a key to a folder, beside what lies there, so that it is made anew and nothing is lost.

        Raises UserError where that cannot be done.
        """
        for path in (place / f"{key}.{end}" for place in (self.runs, self.costs) for end in ("json", "npz")):
            if path.exists():
                try:
                    folder.mkdir(parents=True, exist_ok=True)
                    free = (folder / f"{key}.{count}{path.suffix}" for count in itertools.count(1))
                    shutil.move(path, next(target for target in free if not target.exists()))
                except OSError as error:
                    raise UserError(f"cannot move {path} to {folder}: {error.strerror or error}") from error
