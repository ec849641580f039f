"""dvc.yaml names all that a stage's command imports; git keeps what has to be kept, and DVC sees it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from suite.plugins import source_files

ROOT = Path(__file__).parents[1]
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
COMMANDS = {
    "pretrain": ("suite/pretrain.py",), "run": ("suite/run.py", "suite/work.py"), "collect": ("suite/results.py",),
    "report": ("suite/report/write.py",), "gate": ("suite/gate.py", "suite/results.py"),
}  # fmt: skip
"""What the command line imports for the stage, itself left out."""


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_what_its_command_imports(stage: str) -> None:
    deps = [ROOT / dep for dep in STAGES[stage]["deps"]]
    used = {file for name in COMMANDS[stage] for file in source_files(ROOT / name)} - {ROOT / "suite/__init__.py"}
    assert len(used) > 5 and [file for file in used if not any(file.is_relative_to(dep) for dep in deps)] == []
    assert all(dep.exists() for dep in deps if dep.suffix == ".py")


KEPT = ("results/tuning/vilt.json", "results/reference/mini-vilt.json", "results/reported/table.csv", "docs/pareto.png",
        "suite/weights/vilt-mini.safetensors", "suite/weights/vilt-mini.json", "dvc.lock")  # fmt: skip
MADE = ("results/runs/a.json", "results/costs/a.json", "results/tables/board.json", "reports/index.html", ".cache/logs/a", ".venv/a")


def test_git_keeps_results_that_are_committed_and_leaves_out_what_is_made() -> None:
    try:
        said = subprocess.run(["git", "check-ignore", "--no-index", *KEPT, *MADE], cwd=ROOT, capture_output=True, text=True)
    except OSError:
        pytest.skip("no git here")
    if said.returncode > 1:
        pytest.skip("no git checkout")
    assert said.stdout.split() == list(MADE)


def test_dvc_ignores_nothing_that_a_stage_reads_or_writes() -> None:
    from dvc.repo import Repo

    ignored = Repo(str(ROOT)).dvcignore.is_ignored_file
    assert ignored(str(ROOT / ".cache/logs/a")) and not any(ignored(str(ROOT / path)) for path in (*KEPT, *MADE[:4]))
