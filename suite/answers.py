"""Predictions for splits whose answers are not published, as files that their evaluation server takes: VQA2.0's test-dev on EvalAI."""

from __future__ import annotations

import json
from pathlib import Path

from suite.results import Results
from suite.store import write_atomic

FOLDER = Path("results/answers")


def write(results: Results, folder: Path = FOLDER) -> list[Path]:
    """A file for each record that has such predictions, `<task>-<backbone>-<method>-<seed>.json`: a list of `question_id` and `answer`.
    Raises UserError like `write_atomic`."""
    written = []
    for record in results.records:
        found = results.examples.get(record.key, {})
        if "answers" in found:
            rows = [{"question_id": int(q), "answer": str(a)} for q, a in zip(found["question_ids"], found["answers"], strict=True)]
            cell = record.cell
            written.append(folder / f"{cell.task}-{cell.backbone}-{cell.method}-{cell.seed}.json")
            write_atomic(written[-1], json.dumps(rows).encode())
    return written
