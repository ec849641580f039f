"""Cells a minute with two worker processes against one, of whole cells as the board has them, start of the workers included.

At least 1.8 times as many are wanted on two free cores.
"""

from __future__ import annotations

from time import perf_counter

from common import ROOT, report, runs

CELLS = 8


def main() -> None:
    from suite import grid
    from suite.settings import load

    settings = load(ROOT / "params.yaml", backbones=["vilt"], methods=["apt"], tasks=["world-vqa"], seeds=list(range(CELLS)))
    origin = grid.Origin.here("mini")
    work = [grid.CellTask(job, origin) for job in grid.cells(settings)]
    rows = []
    for workers in (1, 2):
        start = perf_counter()
        runs("suite.work:cell", work, workers)
        rows.append({"workers": workers, "cells": CELLS, "cells_per_minute": 60 * CELLS / (perf_counter() - start)})
    for row in rows:
        row["against_one"] = row["cells_per_minute"] / rows[0]["cells_per_minute"]
    report("scaling", rows)


if __name__ == "__main__":
    main()
