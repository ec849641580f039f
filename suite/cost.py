"""What a method costs: parameters, multiply-accumulates, latency, memory of a training step."""

from __future__ import annotations

import ctypes
import dataclasses
import gc
import platform
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from scipy.stats import binom

from suite import backbones, macs
from suite.assemble import Trainee, assemble, derive, device_for, move, optimizer
from suite.core import Backbone, Method, Plan, Task, seed_everything
from suite.record import Cost, Interval, Latency

BATCHES = (1, 32)
SECONDS = 0.2
"""Time for the runs of one batch size, once warm."""
RUNS = (9, 200)
"""At least and at most so many runs; 6 are the least that a 95 % interval of the median needs."""


class Bare(Method):
    """Nothing attached: the backbone with its head, which extra MACs are counted against.

    Not the method `head`: that one is a plug-in, whose file may change or be broken without any other method's key changing.
    """

    name, title = "bare", "Backbone and head"

    def attach(self, backbone: Backbone, plan: Plan | None = None) -> None:
        """Nothing."""


def measure(method: Method, backbone_name: str, task: Task, *, preset: str, plan: Plan | None = None, memory: bool = True,
            key: str = "", profile: str = "mini", bare: int | None = None) -> Cost:
    """All costs but latency, on one batch of validation data, padded as training pads it. Weights are random: no cost depends on them.

    MACs are of one example as it is timed (one text with pictures of its own; a pair in retrieval), on the meta device.
    Single-threaded on a CPU. Memory: None where `_inputs` says that it is not measured. bare: `bare_macs`, where they are known.
    """
    batch, measured = _inputs(backbone_name, task, preset)
    model = _built(method, backbone_name, task, preset, "meta", plan)
    total, sizes = _forward_macs(model, batch), parameters(model)
    bare = bare_macs(backbone_name, task, preset) if bare is None else bare
    merged = _forward_macs(model, batch) if method.merge(model.backbone) else None
    with _one_thread():
        most = training_peak(_built(method, backbone_name, task, preset, device_for(preset), plan), batch) if memory and measured else None
    return Cost(key=key, method=method.name, backbone=backbone_name, task=task.name, profile=profile, plan=plan, **sizes, macs=total,
                extra_macs=total - bare, macs_merged=merged, peak_memory=most, machine=machine(preset))


def bare_macs(backbone_name: str, task: Task, preset: str) -> int:
    """MACs of one example as `measure` counts them, of the backbone with its head alone."""
    return _forward_macs(_built(Bare(), backbone_name, task, preset, "meta"), _inputs(backbone_name, task, preset)[0])


def _forward_macs(model: Trainee, batch: Any) -> int:
    one = rows(batch, 1)
    return macs.counted(lambda: model.predict(one))


def _built(method: Method, backbone_name: str, task: Task, preset: str, device: str, plan: Plan | None = None) -> Trainee:
    """In evaluation mode, with random weights."""
    return assemble(method, backbone_name, task, 0, preset=preset, plan=plan, pretrained=False, device=device).eval()


def latency_of(method: Method, backbone_name: str, task: Task, *, preset: str, plan: Plan | None = None) -> Latency | None:
    """See `timing`, on the batch of `measure`; to be called where nothing else runs. None where `_inputs` says so."""
    batch, measured = _inputs(backbone_name, task, preset)
    if not measured:
        return None
    with _one_thread():
        model = assemble(method, backbone_name, task, 0, preset=preset, plan=plan, pretrained=False, device=device_for(preset))
        return timing(model, batch)


def _inputs(backbone_name: str, task: Task, preset: str) -> tuple[Any, bool]:
    """A batch, and whether latency and memory are measured on it.

    Where the backbone has a `papers_input`, it is of that size, and they are measured on a GPU only: on a CPU they take minutes a method
    and more memory than most have.
    """
    size = _papers_input(backbone_name, preset)
    return example(task, size), size is None or device_for(preset) == "cuda"


@cache
def _papers_input(backbone_name: str, preset: str) -> tuple[int, int, int] | None:
    return backbones.load(backbone_name).build(preset, pretrained=False, device="meta").papers_input()


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def parameters(model: Trainee) -> dict[str, int]:
    """`trainable`, `trainable_all` and `total` of record.Cost; the pre-training heads count nowhere."""
    return {
        "trainable": sum(p.numel() for p in model.method.trainable(model.backbone)),
        "trainable_all": sum(p.numel() for p in model.trained().values()),
        "total": sum(p.numel() for name, p in model.named_parameters() if not name.startswith("backbone.heads.")),
    }


def papers_own(backbone: Backbone, trainable: int) -> int:
    """A method's own parameters as papers.md section 6 counts them: LaVIN's hold what is always trained there."""
    shared = backbone.always_trained() if getattr(backbone, "counts_always_trained", False) else []
    return trainable + sum(p.numel() for p in shared)


def example(task: Task, size: tuple[int, int, int] | None) -> Any:
    """A training batch, always the same one: blank where the task makes such, else of validation data. size: see `sized`."""
    if size and (blank := task.blank(size)) is not None:
        return blank
    batch = next(iter(task.batches("validation", derive("cost", 0), shuffle=True)))
    return sized(batch, *size) if size else batch


def sized(batch: Any, text: int, height: int, width: int) -> Any:
    """The batch with as many examples and pictures, but texts of `text` tokens and blank pictures of height x width."""
    if isinstance(batch, tuple):
        return type(batch)(*(sized(part, text, height, width) for part in batch))
    ids = batch.input_ids.new_zeros(len(batch.input_ids), text)
    pixels = batch.pixels.new_zeros(1, 3, height, width).expand(len(batch.pixels), -1, -1, -1)
    return dataclasses.replace(batch, input_ids=ids, text_mask=torch.ones_like(ids), pixels=pixels)


def rows(batch: Any, count: int) -> Any:
    """The first `count` examples, over again where there are fewer; each with a picture of its own. The padding stays."""
    if isinstance(batch, tuple):
        return type(batch)(*(rows(part, count) for part in batch))
    chosen = torch.arange(count) % len(batch.input_ids)
    picture = chosen if batch.image_index is None else batch.image_index[chosen]
    return dataclasses.replace(batch, input_ids=batch.input_ids[chosen], text_mask=batch.text_mask[chosen], pixels=batch.pixels[picture],
                               image_index=None, labels=None, ids=None)


def timing(model: Trainee, batch: Any) -> Latency:
    """Milliseconds of one forward pass with its head, unmerged and, where the method can be folded, merged. Merges the model."""
    inputs = {str(count): move(rows(batch, count), model.device) for count in BATCHES}

    def all_sizes() -> dict[str, Interval]:
        return {count: median_interval(times(lambda part=part: model.predict(part), model.device)) for count, part in inputs.items()}

    model.eval()
    with torch.inference_mode():
        unmerged = all_sizes()
    with torch.no_grad():
        merged = model.method.merge(model.backbone)
    with torch.inference_mode():
        return Latency(unmerged=unmerged, merged=all_sizes() if merged else None)


def times(run: Callable[[], Any], device: torch.device) -> list[float]:
    """Milliseconds of each run, after runs that are not counted."""
    clock = _cuda_clock if device.type == "cuda" else _clock
    for _ in range(3):
        clock(run)
    times: list[float] = []
    while len(times) < RUNS[0] or (sum(times) < 1e3 * SECONDS and len(times) < RUNS[1]):
        times.append(clock(run))
    return times


def _clock(run: Callable[[], Any]) -> float:
    start = perf_counter()
    run()
    return 1e3 * (perf_counter() - start)


def _cuda_clock(run: Callable[[], Any]) -> float:
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    run()
    end.record()
    end.synchronize()
    return start.elapsed_time(end)


def median_interval(values: list[float]) -> Interval:
    """Median and its 95 % interval from order statistics (binomial), which asks nothing of the distribution.

    Raises ValueError for fewer than 6 values, where there is no such interval.
    """
    ordered = sorted(values)
    count = len(ordered)
    rank = int(binom.ppf(0.025, count, 0.5))
    if rank < 1:
        raise ValueError(f"{count} values are too few for a 95 % interval of the median")
    middle = (ordered[(count - 1) // 2] + ordered[count // 2]) / 2
    return Interval(median=middle, low=ordered[rank - 1], high=ordered[count - rank])


def training_peak(model: Trainee, batch: Any) -> int | None:
    """`peak` of a training step, after one that loads kernels and code pages."""
    step = training_step(model, batch)
    step()
    return peak(step, model.device)


def training_step(model: Trainee, batch: Any) -> Callable[[], None]:
    """Forward, backward and update of a new optimiser, to be called."""
    model.train()
    seed_everything(0)
    batch = move(batch, model.device)

    def step() -> None:
        update = optimizer(model, model.task.recipe, 1e-4)
        model.loss(batch).backward()
        update.step()
        model.zero_grad()

    return step


def peak(step: Callable[[], None], device: torch.device) -> int | None:
    """Bytes that a step needs at its peak beyond what was there before it.

    GPU: of torch's allocator. Linux: of resident memory, with the peak counter reset and the free heap given back before. None elsewhere.
    """
    gc.collect()
    if device.type == "cuda":
        return _cuda_peak(step)
    return _resident_peak(step) if sys.platform == "linux" else None


def _cuda_peak(step: Callable[[], None]) -> int:
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    step()
    return torch.cuda.max_memory_allocated() - before


def _resident_peak(step: Callable[[], None]) -> int | None:
    try:
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
    except (OSError, AttributeError):
        return None
    before = _status("VmRSS")
    step()
    return max(0, _status("VmHWM") - before)


def _status(name: str) -> int:
    match = re.search(rf"^{name}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert match is not None
    return 1024 * int(match[1])


def machine(preset: str) -> str:
    """Model name of the GPU or CPU that backbones of this size run on."""
    if device_for(preset) == "cuda":
        return torch.cuda.get_device_name()
    if Path("/proc/cpuinfo").exists() and (match := re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)):
        return match[1].strip()
    return platform.processor() or platform.machine()
