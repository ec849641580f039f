"""The papers' datasets by name, and `petlbench fetch` on them."""

from __future__ import annotations

from pathlib import Path

import pytest

from suite.data import papers
from suite.data.published import Published


def test_each_dataset_bears_its_name_and_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PETLBENCH_MIRROR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert len(papers.DATASETS) == 18 and {"vqa2", "nlvr2", "flickr30k", "gqa", "snli-ve", "scienceqa"} < set(papers.DATASETS)
    for name, make in papers.DATASETS.items():
        data = make()
        assert isinstance(data, Published) and data.name == name and min(data.sizes.values()) > 0 and "train" in data.sizes
        assert len(data.how) > 40 and data.licence
    folders = [make().folder for make in papers.DATASETS.values()]
    assert len(set(folders)) == len(folders)
    for name, line, lacks in papers.verified("all"):
        assert lacks and line.startswith(f"{name}: {name} is neither below PETLBENCH_MIRROR") and "\n" not in line


def test_what_is_there_is_told_with_counts_and_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    class There(Published):
        def content_hash(self) -> str:
            return "abc"

    monkeypatch.setattr(papers, "DATASETS", {"here": lambda: There("here", {"train": 1_234, "test": 5})})
    assert list(papers.verified(["here"])) == [("here", "here: 1,234 train, 5 test; sha256 abc", False)]
