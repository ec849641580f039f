"""Cells a minute with two worker processes against one, of whole cells as the board has them, start of the workers included.

At least 1.8 times as many are wanted on two free cores.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from time import perf_counter

from common import ROOT, report

CELLS = 8


def main() -> None:
    from suite import grid, pool
    from suite.settings import load

    settings = load(ROOT / "params.yaml", backbones=["vilt"], methods=["apt"], tasks=["world-vqa"], seeds=list(range(CELLS)))
    origin = grid.Origin.here("mini")
    work = [grid.CellTask(job, origin) for job in grid.cells(settings)]
    rows = []
    for workers in (1, 2):
        with tempfile.TemporaryDirectory() as logs:
            start = perf_counter()
            failed = [outcome.error for outcome in pool.run("suite.work:cell", work, workers, Path(logs)) if outcome.error]
            minutes = (perf_counter() - start) / 60
        if failed:
            raise SystemExit(f"{len(failed)} cells failed, first: {failed[0]}")
        rows.append({"workers": workers, "cells": CELLS, "cells_per_minute": CELLS / minutes})
    for row in rows:
        row["against_one"] = row["cells_per_minute"] / rows[0]["cells_per_minute"]
    report("scaling", rows)


if __name__ == "__main__":
    main()
