"""What a long run says: a bar with the time left on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from time import monotonic
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn


class Reporter:
    """Counts jobs of known sizes. With a terminal and without `quiet` a bar, else one line a job."""

    def __init__(self, what: str, sizes: list[float], quiet: bool = False):
        self.what, self.total, self.work = what, len(sizes), sum(sizes)
        self.done, self.worked, self.start = 0, 0.0, monotonic()
        console = Console(stderr=True)
        self._bar = None if quiet or not console.is_terminal else Progress(
            TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[state]}"), TimeElapsedColumn(), console=console)
        self._task = self._bar.add_task(what, total=self.work, state=f"0/{self.total}") if self._bar else None

    def __enter__(self) -> Reporter:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._bar:
            self._bar.stop()

    def step(self, size: float, text: str) -> None:
        """One job of this size is done."""
        self.done += 1
        self.worked += size
        state = f"{self.done}/{self.total}" + (f", {duration(self.left())} left" if self.done < self.total else "")
        if self._bar and self._task is not None:
            self._bar.update(self._task, completed=self.worked, state=state)
        else:
            self.say(f"{self.what} {state}: {text}")

    def left(self) -> float:
        """Seconds until the rest is done, at the speed so far."""
        return (monotonic() - self.start) * (self.work - self.worked) / self.worked if self.worked else 0.0

    def say(self, line: str) -> None:
        """A line that stays."""
        if self._bar:
            self._bar.console.print(line, markup=False, highlight=False)
        else:
            say(line)


def say(line: str) -> None:
    """One line to the standard error stream, at once."""
    print(line, file=sys.stderr, flush=True)


def duration(seconds: float) -> str:
    """`45 s`, `12 min`, `1 h 05 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
