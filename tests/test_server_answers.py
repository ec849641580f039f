"""Predictions for test-dev, as its evaluation server takes them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from records import record

from suite import answers
from suite.record import Cell
from suite.results import Results


def test_a_file_for_each_cell_that_has_them(tmp_path: Path) -> None:
    kept = {"question_ids": np.array([7, 262148000]), "answers": np.array(["2", "no é"])}
    cells = [Cell(method="apt", backbone="vilt", task=task, seed=1, profile="paper") for task in ("vqa2", "nlvr2")]
    records = [record(cell, 50.0, key=cell.task) for cell in cells]
    results = Results(records, [], {"vqa2": kept, "nlvr2": {"correct": np.array([True])}}, cells, {})
    assert answers.write(results, tmp_path / "out") == [tmp_path / "out/vqa2-vilt-apt-1.json"]
    assert json.loads((tmp_path / "out/vqa2-vilt-apt-1.json").read_text()) == [
        {"question_id": 7, "answer": "2"}, {"question_id": 262148000, "answer": "no é"}]  # fmt: skip
    assert answers.write(Results([], [], {}, [], {}), tmp_path / "out") == []
