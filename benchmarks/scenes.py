"""Scenes drawn and rendered a second on one core; at least 3,000 are wanted."""

from __future__ import annotations

from time import perf_counter

from common import report

COUNT, REPEATS = 4000, 5


def main() -> None:
    from suite.data.world import render, scenes

    rows = []
    for objects in ((1, 1), (1, 3), (6, 6)):
        render(scenes("benchmark/warm", 100, objects))
        times = []
        for repeat in range(REPEATS):
            start = perf_counter()
            render(scenes(f"benchmark/{repeat}", COUNT, objects))
            times.append(perf_counter() - start)
        rows.append({"objects": f"{objects[0]}-{objects[1]}", "scenes_per_second": COUNT / sorted(times)[REPEATS // 2]})
    report("scenes", rows)


if __name__ == "__main__":
    main()
