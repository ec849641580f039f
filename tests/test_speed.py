"""Speeds at full size, measured here on mini backbones: what is stored, taken up again, lacking, told and drawn."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import torch

from suite import speed
from suite.errors import UserError
from suite.inventory import Item
from suite.record import Interval
from suite.report import speeds
from suite.speed import Device, Row, Speeds

HEAD, APT = (Item("vilt", name, "world-vqa", "mini") for name in ("head", "apt"))
CARD = Device(name="A card (80 GB)", driver="1.2", threads=None, versions={"torch": "2"})


def at(median: float) -> Interval:
    return Interval(median=median, low=median - 0.1, high=median + 0.1)


def row(method: str, extra: int, ms: float, backbone: str = "vilt") -> Row:
    return Row(backbone=backbone, method=method, trainable=5, macs=1000 + extra, extra_macs=extra, forward={"1": at(ms / 10), "32": at(ms)})


BOARD = Speeds(device=CARD, dtype="bfloat16", rows=[
    row("head", 0, 10), row("prompt_deep", 400, 16), row("apt", 100, 15.9), row("das", -100, 9), row("apt", 5, 3, "clip")])  # fmt: skip


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    monkeypatch.setattr("suite.cost.SECONDS", 0.0)


def test_a_row_has_all_that_was_asked_for() -> None:
    found = speed.measure(APT, (1, 2), True)
    assert (found.backbone, found.method) == ("vilt", "apt") and set(found.forward) == {"1", "2"} and not found.lacks
    assert found.macs > found.extra_macs > 0 < found.trainable and found.step.median > found.forward["1"].median > 0
    assert found.step_batch == 32 and found.peak_memory > 2**20
    assert found.per_second(2) == pytest.approx(2e3 / found.forward["2"].median) and found.per_second(32) is None
    assert torch.get_default_dtype() == torch.float32
    assert speed.measure(Item("bert", "lora", "world-vqa-4000", "mini"), (1,), False).startswith("pictures reach this backbone")


def test_weights_and_inputs_are_of_half_precision() -> None:
    model = speed._built(APT)
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize("name", ["meter", "clip", "bert", "t5", "llama", "lavin", "stable_diffusion"])
def test_every_backbone_runs_forward_and_backward(name: str) -> None:
    from suite.grid import fitting

    method = "dvp_adapter" if name in ("bert", "t5", "llama") else "lora"
    found = speed.measure(Item(name, method, fitting(name, None).name, "mini"), (1,), True)
    assert found.forward["1"].median > 0 and found.step.median > 0 and not found.lacks


def test_rows_are_kept_and_what_is_there_is_not_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, tuple[int, ...], bool]] = []

    def measured(item: Item, batches: list[int], steps: bool) -> Row | str:
        asked.append((item.method, tuple(batches), steps))
        found = row(item.method, 0, 1).model_copy(update={"forward": {str(count): at(count) for count in batches if count < 64}})
        lacks = {str(count): "too big" for count in batches if count >= 64}
        return found.model_copy(update={"lacks": lacks, "step": at(9.0) if steps else None, "step_batch": 4 if steps else 0})

    def run(*batches: int, steps: bool = False) -> int:
        asked.clear()
        return len(list(speed.measure_all([HEAD, APT], batches, steps, tmp_path)))

    monkeypatch.setattr(speed, "measure", measured)
    assert run(1, 64) == 2 and asked == [("head", (1, 64), False), ("apt", (1, 64), False)]
    assert run(1) == 0 == len(asked)
    assert run(1, 2, 64, steps=True) == 2 and asked[0] == ("head", (2, 64), True)
    assert run(1, 2, steps=True) == 0
    (first, _) = speed.read(speed.path_of(speed.here("mini"), tmp_path)).rows
    assert set(first.forward) == {"1", "2"} and first.lacks == {"64": "too big"} and first.step == at(9.0) and first.step_batch == 4
    assert run(4) == 2
    (first, _) = speed.read(speed.path_of(speed.here("mini"), tmp_path)).rows
    assert set(first.forward) == {"1", "2", "4"} and first.step == at(9.0)
    monkeypatch.setattr(speed, "measure", lambda *asked: "makes no sense")
    assert list(speed.measure_all([HEAD], (8,), False, tmp_path)) == [(HEAD, "makes no sense")]
    path = speed.path_of(speed.here("mini"), tmp_path)
    assert [r.method for r in speed.read(path).rows] == ["head", "apt"] and speed.read(path).device.threads == 1
    other = speed.read(path).model_copy(update={"device": CARD})
    path.write_text(other.model_dump_json())
    with pytest.raises(UserError, match="measured with other versions or another driver"):
        list(speed.measure_all([HEAD], (1,), False, tmp_path))
    path.write_text("{")
    with pytest.raises(UserError, match="is damaged"):
        speed.read(path)
    with pytest.raises(UserError, match="cannot read"):
        speed.read(tmp_path / "none.json")


def test_too_little_memory_is_a_reason_and_other_errors_are_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    full = torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 9 GiB")
    with monkeypatch.context() as patch:
        patch.setattr(speed, "_pass", lambda model, count: (_ for _ in ()).throw(full) if count > 1 else at(1.0))
        found = speed.measure(HEAD, (1, 32), False)
    assert found.forward == {"1": at(1.0)} and found.lacks == {"32": "out of memory: CUDA out of memory. Tried to allocate 9 GiB"}
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        speed._tried(lambda: torch.zeros(2, 3) @ torch.zeros(2, 3))
    monkeypatch.setattr(speed, "ROOM", 0.0)
    found = speed.measure(HEAD, (1,), True)
    assert set(found.lacks) == {"1", "step"} and "GiB are free" in found.lacks["1"] and not found.forward and found.macs > 0


def test_file_names_and_drivers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert speed.path_of(CARD, tmp_path).name == "cost-a-card-80-gb.json"
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: subprocess.CompletedProcess(a, 0, "550.1\n550.1\n"))
    assert speed._driver() == "550.1"
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: (_ for _ in ()).throw(FileNotFoundError()))
    assert speed._driver() is None


def test_findings_set_time_beside_macs() -> None:
    assert speeds.findings(BOARD) == [
        "vilt, batch 1: apt differs from prompt_deep by −21.4 % in MACs and by −0.6 % in time, intervals overlap",
        "vilt, batch 32: apt differs from prompt_deep by −21.4 % in MACs and by −0.6 % in time, intervals overlap",
        "vilt, batch 1: das differs from head by −10.0 % in MACs and by −10.0 % in time, intervals overlap",
        "vilt, batch 32: das differs from head by −10.0 % in MACs and by −10.0 % in time",
    ]


def test_a_row_in_words() -> None:
    assert speeds.line(row("apt", 1, 20)) == "vilt, apt: batch 1: 2.00 ms (500.0/s); batch 32: 20.0 ms (1,600.0/s)"
    lacking = Row(backbone="llama", method="full", lacks={"1": "too big"}, step=at(3.0), step_batch=4, peak_memory=2**30)
    assert speeds.line(lacking) == "llama, full: step of 4: 3.00 ms, 1,024 MiB; 1: too big"


def test_the_plot_has_a_panel_for_each_backbone_with_something_to_compare() -> None:
    assert speeds.plot(BOARD).startswith(b"\x89PNG") and speeds._points(BOARD, "clip") == []
    assert speeds._points(BOARD, "vilt")[1] == ("prompt_deep", 4e-7, 6.0)
    assert speeds.plot(BOARD.model_copy(update={"rows": BOARD.rows[-1:]})) is None
