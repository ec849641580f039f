"""Costs of all methods on all backbones: the rows, their reasons, and the CSV."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from rich.console import Console

from suite import inventory, pool, work
from suite.errors import UserError
from suite.inventory import Item, Sizes
from suite.report.terminal import print_sizes
from suite.settings import Settings

ROWS = [Sizes("vilt", "apt", 1_916_940, 114_740_776, 22_916_640_768, 903_168_000), Sizes("vilt", "das", 5, 6, 7, -942_097_920),
        Sizes("t5", "dvp", 1, 2, 3, 0)]  # fmt: skip


def test_every_method_on_every_backbone_with_its_first_task() -> None:
    from suite import backbones
    from suite.plugins import discover

    found = inventory.items(Settings(profile="paper"))
    assert len(found) == len(set(found)) == len(backbones.names()) * len(discover().methods)
    assert Item("t5", "dora", "vqa2", "paper") in found and {item.preset for item in found} == {"paper"}
    with pytest.raises(UserError, match="unknown backbone 'vil'; did you mean 'vilt'"):
        inventory.items(Settings(backbones=["vil"]))


def test_sizes_are_those_of_the_papers() -> None:
    apt = work.sizes(Item("vilt", "apt", "world-vqa", "paper"))
    assert isinstance(apt, Sizes) and (apt.trainable_params, apt.extra_macs) == (1_916_940, 903_168_000)
    assert apt.macs - apt.extra_macs == work.sizes(Item("vilt", "head", "world-vqa", "paper")).macs
    lavin = work.sizes(Item("lavin", "lavin", "world-science", "paper"))
    assert lavin.trainable_params == 3_781_296, "papers.md section 6, with projection and modality"
    assert work.sizes(Item("bert", "lora", "world-vqa-4000", "paper")).startswith("pictures reach this backbone")
    assert "longer than the 77 positions" in work.sizes(Item("clip", "prompt_shallow", "world-classes", "paper"))


def test_reasons_are_told_once_for_each_backbone(tmp_path: Path) -> None:
    items = [Item("bert", name, "world-vqa-4000", "mini") for name in ("lora", "apt", "visual_prompt", "coop")]
    rows, lacks = inventory.counted(items, 1)
    assert [row.method for row in rows] == ["visual_prompt"] and len(lacks) == 2
    assert lacks[0].startswith("none on bert for lora, apt: pictures reach") and lacks[1].startswith("none on bert for coop: ")


def test_a_method_that_raises_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    item = Item("vilt", "mine", "world-vqa", "mini")
    broken = [pool.Outcome(item, error="ValueError: what")]
    monkeypatch.setattr(pool, "run", lambda *_: iter(broken))
    with pytest.raises(UserError, match="1 could not be counted, first vilt, mine: ValueError: what"):
        inventory.counted([item], 1)


def test_one_method_is_told_with_its_published_size() -> None:
    lines = list(inventory.told("lavin", "lavin", Settings(profile="paper"), None, None))
    assert lines[0].split() == ["as", "published", "3,781,296"] and lines[1].split() == ["trainable", "3,113,520"]


def test_csv_has_plain_integers() -> None:
    file = io.StringIO()
    inventory.write_csv(ROWS, file)
    lines = list(csv.reader(io.StringIO(file.getvalue())))
    assert lines[0] == ["backbone", "method", "trainable_params", "total_params", "macs", "extra_macs"]
    assert lines[2] == ["vilt", "das", "5", "6", "7", "-942097920"] and len(lines) == 4


def test_the_list_on_a_terminal() -> None:
    console = Console(file=io.StringIO(), width=200)
    print_sizes(ROWS, console)
    shown = console.file.getvalue()
    assert "22,916,640,768" in shown and "−942,097,920" in shown and "\n\nt5" in shown.replace(" ", "")
