"""Records on disk: whole or not there, and never silently wrong."""

from __future__ import annotations

import json
import os
from pathlib import Path

import fakes
import numpy as np
import pytest

from suite import store
from suite.errors import UserError
from suite.record import Record
from suite.store import Store, digest, pack, read_json, write_atomic, write_json

ARRAYS = {"correct": np.array([True, False]), "cluster": np.array(["a", "b"]), "ids": np.arange(2)}


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Store, Record]:
    """A store with one record and its per-example file."""
    place = Store(tmp_path / "results")
    record = fakes.job("a").record("ok", metrics={"accuracy": 2 / 3}, plan={"skipped": [1, 2], "p": 0.1})
    return place, place.save(record, ARRAYS)


def test_what_was_written_is_read(saved: tuple[Store, Record]) -> None:
    place, record = saved
    assert place.record("a-0") == record and record.examples
    assert all(np.array_equal(value, ARRAYS[name]) for name, value in place.examples(record).items())
    assert place.record("other") is None and place.cost("other") is None


def test_equal_arrays_give_equal_bytes() -> None:
    assert pack(ARRAYS) == pack(dict(reversed(ARRAYS.items())))
    assert pack(ARRAYS) != pack(ARRAYS | {"correct": np.array([True, True])})
    assert digest({"b": 1, "a": 0.5}) == digest({"a": 0.5, "b": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        digest(float("nan"))


@pytest.mark.parametrize("length", [0, 1, 200, -2])
def test_a_truncated_record_is_named(saved: tuple[Store, Record], length: int) -> None:
    path = saved[0].runs / "a-0.json"
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(UserError, match=r"runs/a-0\.json is damaged: no readable record"):
        saved[0].record("a-0")


def test_a_tampered_record_is_named(saved: tuple[Store, Record]) -> None:
    path = saved[0].runs / "a-0.json"
    path.write_text(path.read_text().replace("0.666", "0.766"))
    with pytest.raises(UserError, match=r"runs/a-0\.json is damaged: its content has sha256 \w{12}…, it states \w{12}…"):
        saved[0].record("a-0")


def test_a_record_of_another_schema_is_named(saved: tuple[Store, Record]) -> None:
    path = saved[0].runs / "a-0.json"
    content = json.loads(path.read_text())["record"] | {"colour": "red"}
    path.write_text(json.dumps({"record": content, "sha256": digest(content)}))
    with pytest.raises(UserError, match=r"a-0\.json does not fit the schema: colour: Extra inputs"):
        read_json(path, Record)


def test_a_record_under_another_key_is_named(saved: tuple[Store, Record]) -> None:
    os.rename(saved[0].runs / "a-0.json", saved[0].runs / "b-0.json")
    with pytest.raises(UserError, match="holds the record of key a-0"):
        saved[0].record("b-0")


def test_a_damaged_or_missing_per_example_file_is_named(saved: tuple[Store, Record]) -> None:
    place, record = saved
    path = place.runs / "a-0.npz"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    for read in (lambda: place.record("a-0"), lambda: place.examples(record)):
        with pytest.raises(UserError, match=r"a-0\.npz is damaged: sha256 \w{12}…, its record states"):
            read()
    path.unlink()
    with pytest.raises(UserError, match=r"a-0\.npz is missing: the record of mini/b/t/a/0 needs it"):
        place.record("a-0")


def test_set_aside_keeps_the_files(saved: tuple[Store, Record]) -> None:
    place, folder = saved[0], saved[0].root / "aside" / "damaged"
    place.set_aside("a-0", folder)
    assert place.record("a-0") is None
    place.save(saved[1])
    place.set_aside("a-0", folder)
    assert sorted(path.name for path in folder.iterdir()) == ["a-0.1.json", "a-0.1.npz", "a-0.2.json"], "nothing is overwritten"
    place.save(saved[1])
    with pytest.raises(UserError, match=r"cannot move .*runs/a-0\.json to .*file"):
        (place.root / "file").write_text("")
        place.set_aside("a-0", place.root / "file")


def test_sweep_removes_what_killed_writes_left(saved: tuple[Store, Record], monkeypatch: pytest.MonkeyPatch) -> None:
    place = saved[0]
    place.costs.mkdir()
    for name in (place.runs / "b-0.json", place.runs / "b-0.npz", place.costs / "c.json"):
        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", lambda *names: (_ for _ in ()).throw(SystemExit))  # as if killed: nothing is tidied up
            with pytest.raises(SystemExit):
                write_atomic(name, b"half")
    (place.runs / ".gitignore").write_text("")
    assert len(list(place.runs.iterdir())) == 5
    place.sweep()
    assert sorted(path.name for path in place.runs.iterdir()) == [".gitignore", "a-0.json", "a-0.npz"]
    assert list(place.costs.iterdir()) == []


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    path = tmp_path / "file.json"
    write_atomic(path, b"old")

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, step, full)
    with pytest.raises(UserError, match=r"the disk is full: cannot write .*file\.json"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_a_store_that_cannot_be_written_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write .*file/runs"):
        Store(tmp_path / "file").check_writable()
    place = Store(tmp_path / "results")
    place.check_writable()
    assert list(place.runs.iterdir()) == []
    monkeypatch.setattr(store, "NEEDED", 2**62)
    with pytest.raises(UserError, match="MiB free, a run needs"):
        place.check_writable()


def test_every_number_survives_the_file(tmp_path: Path) -> None:
    values = {"accuracy": 0.1 + 0.2, "b": 1e-300, "c": 1e22, "d": 100.0}
    record = fakes.job("a").record("ok", metrics=values)
    write_json(tmp_path / "r.json", record)
    assert read_json(tmp_path / "r.json", Record).metrics == values
