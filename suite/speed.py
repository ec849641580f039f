"""Milliseconds and memory at the papers' size, with random weights in bfloat16, on the device at hand: what MACs come to."""

from __future__ import annotations

import gc
import re
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from psutil import virtual_memory
from pydantic import ValidationError

from suite import tasks
from suite.assemble import Trainee, assemble, device_for, move
from suite.binding import costed
from suite.cost import example, machine, median_interval, peak, rows, times, training_step
from suite.errors import UserError
from suite.grid import NOTED, versions
from suite.inventory import Item
from suite.plans import plan_of
from suite.plugins import configured, discover
from suite.record import Interval, Strict
from suite.store import write_atomic

FOLDER = Path("results/paper")
DTYPE = torch.bfloat16
THREADS = 1
"""Of a CPU."""
Found = TypeVar("Found")
ROOM = 0.9
"""Of the free memory, what weights may take before anything is tried."""


class Device(Strict):
    """Where it was measured. driver: None on a CPU. threads: of a CPU."""

    name: str
    driver: str | None
    threads: int | None
    versions: dict[str, str]


class Row(Strict):
    """A method on a backbone. forward: batch size -> milliseconds of a forward pass; step: of a training step (forward, backward, update)
    on `step_batch` examples, with its peak memory in bytes beyond what was there before it. macs: of one example.

    lacks: what could not be measured, and why, by batch size or `step`; a row of nothing else where the model has no room at all.
    """

    backbone: str
    method: str
    trainable: int = 0
    macs: int = 0
    extra_macs: int = 0
    forward: dict[str, Interval] = {}
    step: Interval | None = None
    step_batch: int = 0
    peak_memory: int | None = None
    lacks: dict[str, str] = {}

    def per_second(self, batch: int) -> float | None:
        """Throughput: examples a second."""
        found = self.forward.get(str(batch))
        return None if found is None else 1e3 * batch / found.median


class Speeds(Strict):
    """The content of a file of FOLDER."""

    device: Device
    dtype: str
    rows: list[Row] = []

    def row(self, backbone: str, method: str) -> Row | None:
        """None where it is not there."""
        return next((row for row in self.rows if (row.backbone, row.method) == (backbone, method)), None)


def here(preset: str = "paper") -> Device:
    """The GPU, or the CPU with its threads."""
    cuda = device_for(preset) == "cuda"
    return Device(name=machine(preset), driver=_driver() if cuda else None, threads=None if cuda else THREADS, versions=versions(NOTED))


def _driver() -> str | None:
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return said.stdout.splitlines()[0].strip() or None


def path_of(device: Device, folder: Path = FOLDER) -> Path:
    """results/paper/cost-<device>.json."""
    return folder / f"cost-{re.sub('[^a-z0-9]+', '-', device.name.lower()).strip('-')}.json"


def read(path: Path) -> Speeds:
    """Raises UserError where it is missing or damaged."""
    try:
        return Speeds.model_validate_json(path.read_bytes())
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except ValidationError as error:
        raise UserError(f"{path} is damaged: {error.errors()[0]['msg']}") from error


def measure_all(items: Sequence[Item], batches: Sequence[int], steps: bool, folder: Path = FOLDER) -> Iterator[tuple[Item, Row | str]]:
    """Measure what the device's file does not have yet of what is asked for, or could not be measured; each row is stored as soon as it is
    there, and given; of an item that makes no sense the reason.

    Raises UserError where the file is of other versions or another driver: one file is one measurement.
    """
    torch.set_num_threads(THREADS)
    device = here(items[0].preset) if items else here()
    path = path_of(device, folder)
    known = read(path) if path.is_file() else Speeds(device=device, dtype=str(DTYPE).removeprefix("torch."))
    if known.device != device:
        raise UserError(f"{path} was measured with other versions or another driver: put it aside to measure anew")
    for item in items:
        before = known.row(item.backbone, item.method)
        left = [count for count in batches if before is None or str(count) not in before.forward]
        stepping = steps and (before is None or before.step is None)
        if not left and not stepping:
            continue
        found = measure(item, left, stepping)
        if isinstance(found, Row):
            known = known.model_copy(update={"rows": [row for row in known.rows if row is not before] + [_joined(before, found)]})
            write_atomic(path, (known.model_dump_json(indent=1) + "\n").encode())
        yield item, found


def _joined(before: Row | None, found: Row) -> Row:
    if before is None:
        return found
    lacks = {what: lack for what, lack in before.lacks.items() if what not in found.forward and (what != "step" or found.step is None)}
    kept = before if found.step is None else found
    steps = {name: getattr(kept, name) for name in ("step", "step_batch", "peak_memory")}
    return found.model_copy(update={"forward": before.forward | found.forward, "lacks": lacks | found.lacks, **steps})


def measure(item: Item, batches: Sequence[int], steps: bool) -> Row | str:
    """The reason where the method does not apply."""
    from suite.work import sizes

    sized_up = sizes(item)
    if isinstance(sized_up, str):
        return sized_up
    row = Row(backbone=item.backbone, method=item.method, trainable=sized_up.trainable_params, macs=sized_up.macs,
              extra_macs=sized_up.extra_macs)  # fmt: skip
    _tidy()
    if lack := no_room(sized_up.total_params * DTYPE.itemsize, device_for(item.preset)):
        return row.model_copy(update={"lacks": dict.fromkeys([*map(str, batches), *(["step"] if steps else [])], lack)})
    model = _built(item)
    forward, lacks = _forward(model, batches)
    found, lack = _tried(lambda: _step(model)) if steps else ({}, None)
    return row.model_copy(update={"forward": forward, "lacks": lacks | ({"step": lack} if lack else {}), **(found or {})})


def _tidy() -> None:
    """Give back what the model before had."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _built(item: Item) -> Trainee:
    method = configured(discover().get(item.method), item.backbone, item.task)
    plan, _ = plan_of(method, item.backbone, item.preset, None)
    task = costed(tasks.load(item.task))
    with default_dtype(DTYPE):
        model = assemble(method, item.backbone, task, 0, preset=item.preset, plan=plan, pretrained=False,
                         device=device_for(item.preset))  # fmt: skip
    return model.to(DTYPE)


def _forward(model: Trainee, batches: Sequence[int]) -> tuple[dict[str, Interval], dict[str, str]]:
    """Milliseconds by batch size, and what is lacking."""
    model.eval()
    found, lacks = {}, {}
    for count in batches:
        interval, lack = _tried(lambda count=count: _pass(model, count))
        found |= {str(count): interval} if interval else {}
        lacks |= {str(count): lack} if lack else {}
    return found, lacks


def _pass(model: Trainee, count: int) -> Interval:
    batch = move(rows(_input(model), count), model.device)
    with torch.inference_mode(), torch.autocast(model.device.type, DTYPE):
        return median_interval(times(lambda: model.predict(batch), model.device))


def _step(model: Trainee) -> dict[str, Any]:
    """On as many examples as the task trains with at once."""
    batch = _input(model)
    step = training_step(model, batch)
    with torch.autocast(model.device.type, DTYPE):
        found = times(step, model.device)
        return {"step": median_interval(found), "step_batch": _length(batch), "peak_memory": peak(step, model.device)}


def _input(model: Trainee) -> Any:
    """A training batch at the papers' lengths, where there are such."""
    return example(model.task, model.backbone.papers_input())


def _length(batch: Any) -> int:
    return len((batch[0] if isinstance(batch, tuple) else batch).input_ids)


def _tried(run: Callable[[], Found]) -> tuple[Found | None, str | None]:
    """What it gives, or why there was too little memory for it; other errors are errors."""
    try:
        return run(), None
    except RuntimeError as error:  # torch.OutOfMemoryError is one
        told = " ".join(str(error).split())
        if not isinstance(error, torch.OutOfMemoryError) and "allocate memory" not in told:
            raise
    _tidy()
    return None, f"out of memory: {told[:160]}"


def no_room(needed: int, device: str) -> str | None:
    """Why weights of so many bytes are not even tried."""
    free = torch.cuda.mem_get_info()[0] if device == "cuda" else virtual_memory().available
    if needed <= ROOM * free:
        return None
    return f"its weights take {needed / 2**30:.1f} GiB, {free / 2**30:.1f} GiB are free"


def room() -> int | None:
    """Bytes of the GPU here; None where there is none."""
    return torch.cuda.get_device_properties(0).total_memory if torch.cuda.is_available() else None


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """New parameters are of this type."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
