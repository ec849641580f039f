"""What a cell of the papers' size needs: reckoned on the meta device, held against what a step of the mini size really takes."""

from __future__ import annotations

import io
from pathlib import Path

import fakes
import pytest
import torch
from rich.console import Console

from suite import needs, speed, tasks, work
from suite.assemble import assemble
from suite.binding import Means
from suite.cost import example, measure
from suite.errors import UserError
from suite.grid import CellTask
from suite.inventory import Item
from suite.needs import Need
from suite.plugins import discover
from suite.record import Cell
from suite.report.needed import print_needs
from suite.settings import Settings

APT = Item("vilt", "apt", "vqa2", "paper")


@pytest.fixture(scope="module")
def apt() -> Need:
    found = needs.need((APT, Means(micro_batch=32), None))
    assert isinstance(found, Need)
    return found


def test_what_apt_on_vilt_needs(apt: Need) -> None:
    """About 647,500 questions of train and most of val, in batches of 256, ten times."""
    assert (apt.trainable, apt.lr, apt.batch_size, apt.epochs, apt.precision) == (1_916_940, 5e-4, 256, 10, "fp16")
    assert apt.updates == 10 * -(-tasks.load("vqa2").about("train") // 256) == 25_300
    assert 0.3 < apt.hours < 3


def test_memory_grows_by_the_example_and_shrinks_by_the_precision(apt: Need) -> None:
    more = needs.need((APT, Means(micro_batch=64), None))
    assert abs(more.memory - apt.memory - 32 * apt.example) < 64 and more.hours == pytest.approx(apt.hours, rel=1e-3)
    whole = needs.need((APT, Means("fp32", 32), None))
    assert abs(whole.example - 2 * apt.example) <= 1
    assert apt.fitting(apt.memory) == 32 and apt.fitting(apt.memory - 1) == 31
    assert apt.fitting(2**50) == 256 and apt.fitting(0) == 0


def test_a_search_takes_longer_and_full_tuning_more_memory(apt: Need) -> None:
    das, full = (needs.need((APT._replace(method=name), Means(micro_batch=32), None)) for name in ("das", "full"))
    assert das.updates == 13 * apt.updates // 10 and full.memory - apt.memory > 12 * 100e6
    short = needs.need((APT._replace(method="das"), Means(), 1))
    assert short.epochs == 1 and short.updates == 2 * apt.updates // 10


def test_reckoned_memory_is_that_of_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mini ViLT with LoRA and full tuning, 32 questions: resident peak of a training step, which has no weights in it."""
    task = tasks.load("world-vqa")
    for name in ("lora", "full"):
        method = discover().get(name)()
        model = assemble(method, "vilt", task, 0, preset="mini", plan=None, pretrained=False, device="meta")
        batch = example(task, None)
        trained = sum(p.numel() for p in model.trained().values())
        reckoned = needs.kept_bytes(model, batch) + needs.ADAM * trained
        took = measure(method, "vilt", task, preset="mini").peak_memory
        if took is None:
            pytest.skip("no peak of resident memory here")
        assert 0.5 < reckoned / took < 2, (name, reckoned, took)


def test_reasons_and_what_cannot_be_asked() -> None:
    assert "pictures reach this backbone" in needs.need((Item("bert", "lora", "vqa2", "paper"), Means(), None))
    with pytest.raises(UserError, match="a dry run is for cells of the paper profile"):
        needs.asked(Settings())
    with pytest.raises(UserError, match="did you mean 'vqa2'"):
        needs.asked(Settings(profile="paper", tasks=["vqa"]))
    found = needs.asked(Settings(profile="paper", backbones=["bert"], methods=["dvp"], micro_batch=8))
    assert [(item.task, means.micro_batch) for item, means, _ in found] == [("vqa2", 8), ("gqa", 8), ("snli-ve", 8)]


def test_files_are_told_there_or_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PETLBENCH_MIRROR", str(tmp_path))
    monkeypatch.setattr(needs, "try_to_load_from_cache", lambda name, file: None)
    (tmp_path / "gqa").mkdir()
    (tmp_path / "bert-base-uncased").mkdir()
    lacks = dict(needs.files("bert", tasks.load("gqa")))
    assert list(lacks) == ["data gqa", "checkpoint bert-base-uncased", "checkpoint openai/clip-vit-base-patch16",
                           "tokenizer bert-base-uncased"]  # fmt: skip
    assert [name for name, lack in lacks.items() if lack] == ["checkpoint openai/clip-vit-base-patch16"]
    assert "test-dev" not in str(lacks) and "Unpack" in dict(needs.files("bert", tasks.load("vqa2")))["data vqa2"]
    assert [name for name, _ in needs.files("meter", tasks.load("vqa2"))][1:] == [
        "checkpoint meter_clip16_288_roberta_pretrain.ckpt", "tokenizer roberta-base"]  # fmt: skip


def test_it_is_told_in_a_terminal(apt: Need) -> None:
    console = Console(file=io.StringIO(), width=200)
    found = [(APT, apt), (APT._replace(method="dvp"), "no visual prompts"), (APT._replace(method="dvp_first"), "no visual prompts")]
    print_needs(found, {("vilt", "vqa2"): [("data vqa2", "unpack it"), ("tokenizer t", None)]}, 3, 80 * 2**30, "9 TFLOP/s", console)
    shown = console.file.getvalue()
    assert "data vqa2: missing: unpack it" in shown and "tokenizer t: there" in shown and "not run: dvp, dvp_first: no visual" in shown
    (row,) = [line.split() for line in shown.splitlines() if line.startswith("apt")]
    assert row[:7] == ["apt", "1,916,940", "0.0005", "256", "x", "10", "32"] and row[-1] == "256"
    assert "3 seeds each" in shown and "at 9 TFLOP/s" in shown


def test_too_little_gpu_memory_says_what_would_fit(apt: Need, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*cell: object, **how: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(work, "run_cell", full)
    job = fakes.job("apt", cell=Cell(method="apt", backbone="vilt", task="vqa2", seed=0, profile="paper"), preset="paper",
                    means=Means(micro_batch=32))  # fmt: skip
    for room, advice in ((apt.memory, "`micro_batch: 16` in params.yaml"), (2**20, "not one example fits")):
        monkeypatch.setattr(speed, "room", lambda room=room: room)
        with pytest.raises(UserError, match="too little GPU memory: .* where 32 examples at once take about 3 GiB; " + advice):
            work.cell(CellTask(job, fakes.HERE))
