"""Two processes on one cell: the same weights as one process has, one of them writes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from suite import together
from suite.errors import UserError
from suite.recipe import Recipe

HERE = Path(__file__).parent
ONE = "import torch, sys, shared_training; torch.save(shared_training.trained(), sys.argv[1])"


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes, and one alone, left there."""
    out = tmp_path_factory.mktemp("together")
    path = os.pathsep.join([str(HERE.parent), str(HERE), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    started = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    for command in ([*started, str(HERE / "shared_training.py"), str(out)], [sys.executable, "-c", ONE, str(out / "alone.pt")]):
        done = subprocess.run(command, cwd=out, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-2000:]
    return out


def test_two_processes_train_to_the_weights_of_one(both: Path) -> None:
    first, second, alone = (torch.load(both / name) for name in ("0.pt", "1.pt", "alone.pt"))
    assert first.keys() == alone.keys() and len(first) > 4
    for name, value in alone.items():
        assert torch.equal(first[name], second[name]), "both hold the same, bit for bit"
        torch.testing.assert_close(first[name], value, rtol=1e-5, atol=1e-6)


def test_both_run_what_is_missing_and_the_first_has_the_records(both: Path) -> None:
    assert (both / "0.txt").read_text() == "[1] [1.0, 2.0]" and (both / "1.txt").read_text() == "[1] None"


def test_alone_nothing_changes() -> None:
    assert (together.count(), together.number(), together.first()) == (1, 0, True)
    assert together.share([1, 2, 3], even=True) == [1, 2, 3] and together.gathered([4, 5]) == [4, 5]
    assert together.forwards(Recipe(1, 256, micro_batch=64)) == 4
    parameter = nn.Parameter(torch.ones(1))
    together.average_gradients([parameter])
    assert parameter.grad is None


@pytest.mark.parametrize("launcher", ["pytorch", "slurm"])
def test_what_no_launcher_started_is_refused(launcher: together.Launcher, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UserError, match=f"--launcher {launcher}: not started by it"):
        together.join(launcher)
