"""Peak memory of a command with all its child processes; at most 4 GiB are wanted for the whole run.

    python benchmarks/memory.py petlbench run

Sampled: proportional set size (what is shared counts once) and resident size (what is shared counts in every process).
Give it something to do: finished cells are not run again.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from time import perf_counter, sleep

from common import report

PERIOD = 0.25
DEFAULT = ["petlbench", "run"]


def tree(root: int) -> list[int]:
    """The process and all below it, from /proc."""
    below: dict[int, list[int]] = {}
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            below.setdefault(int(file.read_text().rpartition(")")[2].split()[1]), []).append(int(file.parent.name))
        except OSError:
            continue
    found = [root]
    for process in found:
        found += below.get(process, [])
    return found


def used(process: int) -> tuple[int, int]:
    """(proportional, resident) bytes; zero for a process that has ended."""
    try:
        text = Path(f"/proc/{process}/smaps_rollup").read_text()
    except OSError:
        return 0, 0
    pss, rss = (re.search(rf"^{name}:\s+(\d+) kB", text, re.MULTILINE) for name in ("Pss", "Rss"))
    return (1024 * int(pss[1]), 1024 * int(rss[1])) if pss and rss else (0, 0)


def main() -> None:
    command = sys.argv[1:] or DEFAULT
    start, peaks, most = perf_counter(), [0, 0], 0
    process = subprocess.Popen(command)
    while process.poll() is None:
        sizes = [used(one) for one in tree(process.pid)]
        peaks = [max(peak, sum(size[kind] for size in sizes)) for kind, peak in enumerate(peaks)]
        most = max(most, len(sizes))
        sleep(PERIOD)
    gib = [peak / 2**30 for peak in peaks]
    report("memory", [{"command": " ".join(command), "peak_gib": gib[0], "peak_gib_shared_counted_often": gib[1], "processes": most,
                       "seconds": perf_counter() - start, "exit": process.returncode}])


if __name__ == "__main__":
    main()
