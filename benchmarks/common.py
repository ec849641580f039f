"""What the benchmark scripts share: runs in worker processes, one table on the screen, one JSON file in benchmarks/results."""

from __future__ import annotations

import json
import os
import platform
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"
sys.path.insert(0, str(ROOT))


def runs(work: str, items: list[Any], workers: int = os.cpu_count() or 1) -> list[tuple[Any, Any]]:
    """Each item with what the worker processes made of it, as they finish. work: as for `suite.pool.run`. Stops where one failed."""
    from suite import pool

    with tempfile.TemporaryDirectory() as logs:
        outcomes = list(pool.run(work, items, workers, Path(logs)))
    if failed := [outcome.error for outcome in outcomes if outcome.error]:
        raise SystemExit(f"{len(failed)} runs failed, first: {failed[0]}")
    return [(outcome.job, outcome.value) for outcome in outcomes]


def report(name: str, rows: list[dict[str, Any]]) -> None:
    """Print the rows and write them with the machine's name."""
    from suite.cost import machine

    columns = list(rows[0])
    cells = [columns, *([_text(row[column]) for column in columns] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    for line in cells:
        print("  ".join(cell.rjust(width) for cell, width in zip(line, widths)))
    RESULTS.mkdir(exist_ok=True)
    content = {"machine": machine("mini"), "cores": os.cpu_count(), "python": platform.python_version(), "rows": rows}
    (RESULTS / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n")


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
