"""README and CONTRIBUTING tell the truth: links, files, commands, code, names, and the table that is pasted in."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import typer

from suite import settings, tasks
from suite.assemble import assemble
from suite.cli import app
from suite.cost import measure
from suite.data.world_reader import WorldVqa
from suite.gate import load
from suite.plugins import discover
from suite.errors import UserError
from suite.report.formats import markdown_escape
from suite.results import compared
from suite.store import Store
from suite.tasks.base import BaseTask
from suite.tasks.vqa import Vqa
from suite.train import evaluate_on, fit

ROOT = Path(__file__).parents[1]
README, CONTRIBUTING = ((ROOT / name).read_text() for name in ("README.md", "CONTRIBUTING.md"))
DOCS = {"README.md": README, "CONTRIBUTING.md": CONTRIBUTING}
WRITTEN = ("results/", "reports/", "docs/", "methods/mine.py")
"""What is there only after a run, or only in the reader's checkout."""
BOARD = README.split("<!-- board -->")[-1].split("<!-- /board -->")[0]
REFERENCE = ROOT / "results/reference/mini-vilt.json"


def blocks(text: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def commands(text: str) -> list[list[str]]:
    """What stands in code spans and indented lines, split as a shell does."""
    lines = re.findall(r"^    (\S.*)$", text, re.MULTILINE) + re.findall(r"`([^`\n]+)`", text)
    return [shlex.split(line, comments=True) for line in lines if re.match(r"(petlbench|make) [a-z]", line)]


@pytest.mark.parametrize("name", DOCS)
def test_links_and_named_files_exist(name: str) -> None:
    links = [target for target in re.findall(r"\]\(([^)#]+)\)", DOCS[name]) if not target.startswith("https://")]
    spans = [span for span in re.findall(r"`([\w./-]+)`", DOCS[name]) if "/" in span or span.endswith((".py", ".md", ".yaml"))]
    found = [path for path in links + spans if not path.startswith((*WRITTEN, ".")) and not path.startswith("world-")]
    places = ("", "suite", "suite/data", "suite/report")
    assert found and [path for path in found if not any((ROOT / place / path).exists() for place in places)] == []


@pytest.mark.parametrize("name", DOCS)
def test_commands_and_their_options_exist(name: str) -> None:
    known = typer.main.get_command(app).commands
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    given = commands(DOCS[name])
    assert len(given) > 4
    for program, verb, *rest in given:
        if program == "make":
            assert verb in targets, verb
        else:
            known[verb].make_context(verb, rest)  # raises for an option that is not there


def test_the_map_lists_every_file_and_no_other() -> None:
    tree = CONTRIBUTING.split("```")[1]
    listed = set(re.findall(r"^  (\w+\.py|\w+/)", tree, re.MULTILINE))
    there = {path.name for path in (ROOT / "suite").glob("*.py") if path.name != "__init__.py"}
    folders = {f"{path.name}/" for path in (ROOT / "suite").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert listed == there | folders
    for folder, text in re.findall(r"^  (\w+/) (.*)$", tree, re.MULTILINE):
        assert all(list((ROOT / "suite" / folder).glob(file)) for file in re.findall(r"[\w*]+\.py", text)), folder


def test_the_readme_names_all_tasks_and_profiles_and_their_sizes() -> None:
    real = {name for name in tasks.names() if tasks.load(name).dataset}
    assert all(f"| `{name}` |" in README for name in tasks.names() if name not in real)
    assert all(f"`{name.removesuffix('-new')}`" in README for name in real) and len(real) == 7 + 2 * len(tasks.SETS)
    assert all(f"`{name}`" in README for name in settings.PRESETS)
    train = [task.sizes["train"] for task in map(tasks.load, tasks.names()) if task.backbones and not task.group and not task.dataset]
    assert f"By default each has {min(train):,} to {max(train):,} training examples" in " ".join(README.split())


@pytest.fixture
def example(tmp_path: Path) -> Iterator[Path]:
    """The README's method file."""
    (code,) = blocks(README)
    path = tmp_path / "mine.py"
    path.write_text(code)
    yield path
    discover.cache_clear()


@pytest.fixture(scope="module")
def small() -> BaseTask:
    return Vqa(WorldVqa("world-vqa", {"train": 16, "validation": 8, "test": 8}), tasks.load("world-vqa").recipe)


def test_the_example_method_trains_and_has_its_cost(example: Path, small: BaseTask) -> None:
    torch.set_num_threads(1)
    found = discover((str(example),))
    assert found.broken == {}
    method = found.get("mine")()
    cost = measure(method, "vilt", small, preset="mini", memory=False)
    model = assemble(method, "vilt", small, 0, preset="mini", plan=None, pretrained=False)
    own = {name: p.detach().clone() for name, p in model.trained().items() if ".attached." in name}
    assert cost.trainable == sum(p.numel() for p in own.values()) == 6 * 2 * 2 * 96 and cost.extra_macs == 0
    assert len(fit(model, small.recipe, 0, 1e-2).curve) == small.recipe.epochs
    assert all(not torch.equal(p, own[name]) for name, p in model.trained().items() if name in own)
    assert 0 <= evaluate_on(model, "test")[0]["accuracy"] <= 100


@pytest.mark.parametrize("name", ["mine", "apt"])
def test_compare_takes_a_file_wherever_it_lies(example: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Outside the project, or in `methods/` as the README says; up to the run itself, which is caught."""
    wanted: list[object] = []

    def caught(narrowed: settings.Settings, store: Store, **options: object) -> None:
        wanted.append(narrowed.methods)
        raise UserError("enough")

    monkeypatch.setattr("suite.run.run", caught)
    with pytest.raises(UserError, match="enough"):
        compared(example if name == "mine" else ROOT / "methods/apt.py", settings.Settings())
    assert wanted == [[name]]


def test_the_example_task_gives_batches() -> None:
    (code,) = blocks(CONTRIBUTING)
    scope: dict[str, object] = {}
    exec(compile(code, "CONTRIBUTING.md", "exec"), scope)  # noqa: S102
    task = scope["_crowded"]()  # type: ignore[operator]
    task.reader.sizes.update(train=40, validation=8, test=8)
    batch = next(task.batches("train", 0, shuffle=True))
    assert batch.pixels.shape[1:] == (3, 64, 64) and len(batch.labels) == task.recipe.batch_size


def test_make_readme_pastes_the_table_and_copies_the_plot(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(README)
    (tmp_path / "reports").mkdir()
    written = {"vilt-macs.png": "plot", "sd-samples.png": "grid", "meter.md": "### three\n", "apt-main.md": "### four\n"}
    for name, content in written.items():
        (tmp_path / "reports" / name).write_text(content)
    for table in ("### one\n\n| a |\n", "### two\n\n| \\& b |\n"):
        (tmp_path / "reports/vilt.md").write_text(table)
        subprocess.run(["make", "-s", "-f", ROOT / "Makefile", "readme"], cwd=tmp_path, check=True)
        assert (tmp_path / "README.md").read_text() == README.replace(BOARD, f"\n{table}")
    assert (tmp_path / "docs/pareto.png").read_text() == "plot" and (tmp_path / "docs/sd-samples.png").read_text() == "grid"
    assert (tmp_path / "docs/boards.md").read_text() == "### four\n\n### three\n\n"


@pytest.mark.skipif(not REFERENCE.exists(), reason="no results are accepted yet")
def test_the_table_is_the_reference() -> None:
    """After `petlbench accept` follows `make readme`."""
    reference = load(REFERENCE)
    first = BOARD.strip().split("\n\n")[1]  # the title, then the leaderboard; other tables follow
    rows = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in first.splitlines()]
    columns = [head.split(" (")[0] for head in rows[0]]
    shown = {row[0]: dict(zip(columns, row, strict=True)) for row in rows[2:]}
    for name, by_task in reference.methods.items():
        title = markdown_escape(discover().get(name).title)
        if all(result.not_applicable for result in by_task.values()):
            assert title not in shown and title in BOARD, "no row, but its reason below"
            continue
        row = shown.pop(title if title in shown else f"{title} <sup>a</sup>")  # controls have a note
        assert set(columns[6:-1]) == set(by_task)
        for task, result in by_task.items():
            mean = f"{round(float(np.mean(list(result.seeds.values()))), 6):.1f}" if result.seeds else "n/a"
            assert row[task].lstrip("*").split()[0] == mean, (name, task)
    assert all(title.startswith("*Floor: ") for title in shown), "methods that are not in the reference"
    assert (ROOT / "docs/pareto.png").stat().st_size > 10_000 and "TODO-NUMBER" not in README
