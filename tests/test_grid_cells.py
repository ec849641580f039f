"""Which cells the grid has: their keys, the reasons for not running, and the costs that go with them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import fakes
import pytest
from tiny import TinyBackbone, TinyTask

from suite import backbones, grid, plugins, tasks, tune
from suite.grid import Job
from suite.errors import UserError
from suite.settings import Settings


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, str]]:
    """`tiny(**settings)`: keys by method of a grid with a tiny backbone and task and the methods of a copied folder."""
    for package in plugins.METHOD_PACKAGES:
        shutil.copytree(Path(plugins.package_folders(package)[0]), tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    folders = {**{name: (tmp_path / name,) for name in plugins.METHOD_PACKAGES}, "suite": plugins.package_folders("suite")}
    found = plugins.discover()
    copied = plugins.Catalogue(found.methods, {name: tmp_path / file.parent.name / file.name for name, file in found.files.items()})
    monkeypatch.setattr(plugins, "package_folders", lambda package: folders[package])
    monkeypatch.setattr(grid, "discover", lambda files: copied)
    monkeypatch.setattr(backbones, "names", lambda: ["tiny"])
    monkeypatch.setattr(backbones, "load", lambda name: TinyBackbone)
    monkeypatch.setattr(tasks, "names", lambda: ["tiny"])
    monkeypatch.setattr(tasks, "load", lambda name: TinyTask())

    def keys(**settings: object) -> dict[str, str]:
        for cached in (plugins.source_hash, plugins.source_files, plugins._imported):
            cached.cache_clear()
        return {job.cell.method: job.key for job in grid.cells(Settings(**{"seeds": [0], **settings}))}

    yield keys
    for cached in (plugins.source_hash, plugins.source_files, plugins._imported):
        cached.cache_clear()


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {name for name in before if before[name] != after[name]}


def test_a_changed_method_file_changes_its_own_keys_only(tiny: Callable[..., dict[str, str]], tmp_path: Path) -> None:
    before = tiny()
    assert len(before) >= 10 and before == tiny()
    (tmp_path / "methods/apt.py").open("a").write("# changed\n")
    assert changed(before, tiny()) == {"apt"}


def test_everything_a_result_depends_on_is_in_its_key(tiny: Callable[..., dict[str, str]], monkeypatch: pytest.MonkeyPatch) -> None:
    before, every = tiny(), set(tiny())
    assert changed(before, tiny(seeds=[1])) == changed(before, tiny(epochs=2)) == changed(before, tiny(profile="paper")) == every
    monkeypatch.setattr(tune, "learning_rate", lambda backbone, task, method, **rest: 0.5 if method == "lora" else 0.25)
    tuned = tiny()
    monkeypatch.setattr(tune, "learning_rate", lambda backbone, task, method, **rest: 0.125 if method == "lora" else 0.25)
    assert changed(tuned, tiny()) == {"lora"}
    others = ((grid, "PROTOCOL", -1), (TinyTask, "data_hash", lambda task: "other"), (grid, "weights_hash", lambda backbone: "other"),
              *((grid, "version", lambda name, other=other: "0" if name == other else "1") for other in grid.LIBRARIES))
    monkeypatch.setattr(grid, "version", lambda name: "1")
    tuned = tiny()
    for owner, name, value in others:
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, value)
            assert changed(tuned, tiny()) == every, name


def test_reasons_for_not_running_come_with_the_cell(tiny: Callable[..., dict[str, str]], monkeypatch: pytest.MonkeyPatch) -> None:
    lora = plugins.discover().get("lora")
    monkeypatch.setattr(lora, "not_applicable", lambda self, backbone, task: f"{backbone.name} has no {task}")

    def unreachable(*args: object) -> str:
        raise UserError("no such data; set PETLBENCH_MIRROR")

    def refusals(**settings: object) -> dict[str, object]:
        return {job.cell.method: job.refusal for job in grid.cells(Settings(methods=["lora", "head"], seeds=[0], **settings))}

    assert refusals() == {"head": None, "lora": ("n/a", "tiny has no tiny")}
    monkeypatch.setattr(TinyTask, "data_hash", unreachable)
    assert refusals(profile="paper")["head"] == ("missing", "no such data; set PETLBENCH_MIRROR")
    with pytest.raises(UserError, match="no such data"):
        refusals()


def test_tasks_of_mini_size_are_missing_at_the_papers_size(tiny: Callable[..., dict[str, str]], monkeypatch: pytest.MonkeyPatch) -> None:
    def cell(profile: str) -> Job:
        return grid.cells(Settings(methods=["head"], tasks=["tiny"], seeds=[0], profile=profile))[0]

    monkeypatch.setattr(tasks, "load", lambda name: replace(TinyTask(), presets=("mini",)))
    assert cell("mini").refusal is None and cell("paper").refusal == ("missing", "tiny has no data at the paper's size")
    with monkeypatch.context() as patch:
        build, built = TinyBackbone.build, []
        patch.setattr(TinyBackbone, "build", lambda *asked, **how: built.append(how) or build(*asked, **how))
        assert cell("paper").weights_hash == "missing"
        assert built == [{"pretrained": False, "device": "meta"}], "no memory for weights that nothing reads"
    record = cell("paper").record("missing", reason="no")
    assert len(grid.cost_tasks([cell("paper")], {record.key: record}, Settings(profile="paper"))) == 1, "its cost can be had"


def test_a_broken_file_asked_for_by_name_leaves_the_other_methods(tiny: Callable[..., dict[str, str]],
                                                                  monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    found = replace(grid.discover(()), broken={"methods/mine.py": "ImportError: no"})
    monkeypatch.setattr(grid, "discover", lambda files: found)
    assert set(tiny(methods=["mine", "head"])) == {"head"}
    with pytest.raises(UserError, match="^methods/mine.py: ImportError: no$"):
        tiny(methods=["mine"])


def test_unknown_names_are_refused_with_the_nearest(tiny: Callable[..., dict[str, str]]) -> None:
    for kind, wrong, right in (("method", "lroa", "lora"), ("task", "tyni", "tiny"), ("backbone", "tyny", "tiny")):
        with pytest.raises(UserError, match=f"unknown {kind} '{wrong}'; did you mean '{right}'"):
            tiny(**{f"{kind}s": [wrong]})


def test_costs_of_the_grid_one_for_each_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = [fakes.job("das", seed, searches=True) for seed in range(3)] + [fakes.job("lora", seed) for seed in range(2)]
    plans = [{"skipped": [1]}, {"skipped": [2]}, {"skipped": [1]}, None, None]
    records = {job.key: job.record("ok", metrics={"accuracy": 1.0}, plan=plan) for job, plan in zip(jobs, plans)}
    found = grid.cost_tasks(jobs, records, Settings())
    assert [(task.job.cell.method, task.plan) for task in found] == [("das", {"skipped": [1]}), ("das", {"skipped": [2]}), ("lora", None)]
    records["das-1"] = jobs[1].record("failed", reason="no")
    assert len(grid.cost_tasks(jobs, records, Settings())) == 2


def test_a_backbone_of_optional_tasks_that_cannot_be_had_stops_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PETLBENCH_MIRROR", str(tmp_path))
    monkeypatch.setattr("suite.backbones.minilm.PACKAGE", "no_such_package")
    monkeypatch.setattr("suite.backbones.minilm.cached_file", offline)
    asked = Settings(backbones=["minilm"], tasks=["easy-vqa"], methods=["dvp", "lora"], seeds=[0])
    found = {job.cell.method: job.refusal for job in grid.cells(asked)}
    assert found["lora"][0] == "n/a" and found["dvp"][0] == "missing" and "petlbench[minilm]" in found["dvp"][1]
    with pytest.raises(UserError, match="weight file vilt-mini"):
        monkeypatch.setattr("suite.backbones.shipped.FOLDER", tmp_path)
        grid.cells(Settings(backbones=["vilt"], tasks=["easy-vqa"], methods=["lora"], seeds=[0]))


def offline(*what: str) -> str:
    raise OSError("no network")
