"""The command line and params.yaml: one clear line and exit code 2 for a mistake, and a quick `--help`."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import fakes
import pytest
from records import generated

from suite import backbones, cli, grid, results, run, settings, tasks
from suite.errors import UserError
from suite.store import Store


DAS = Path(cli.__file__).parents[1] / "methods/das.py"


class Said(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str


@pytest.fixture
def petlbench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """Run a command in a folder that holds an empty params.yaml."""
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text("")
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)

    def call(*arguments: str) -> Said:
        monkeypatch.setattr(sys, "argv", ["petlbench", *arguments])
        with pytest.raises(SystemExit) as end:
            cli.main()
        said = capsys.readouterr()
        return Said(int(end.value.code or 0), said.out, said.err)

    return call


@pytest.fixture
def faked(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`faked(jobs)` makes these the grid."""
    for owner, name in ((grid, "cells"), (grid, "cost_tasks"), (run, "CELLS"), (run, "COSTS"), (run, "LATENCIES"), (run, "TUNING")):
        monkeypatch.setattr(owner, name, getattr(owner, name))
    monkeypatch.setattr(grid.Origin, "here", grid.Origin.here)
    return fakes.install


HEAVY = {"torch", "transformers", "mmengine", "pandas", "scipy", "matplotlib", "datasets", "peft", "numpy"}


def test_help_imports_nothing_heavy() -> None:
    code = ("import sys; sys.argv = ['petlbench', '--help']\nfrom suite.cli import main\ntry:\n    main()\nfinally:\n"
            f"    print('heavy:', *sorted({HEAVY!r} & set(sys.modules)))")  # fmt: skip
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "Commands:" in said and said.splitlines()[-1].split() == ["heavy:"]


@pytest.mark.parametrize(("arguments", "line"), [
    (["rnu"], "error: No such command 'rnu'. Did you mean 'run'?"),
    (["run", "--profil", "mini"], "error: No such option: --profil (Possible options: --profile)"),
    (["run", "--seed", "one"], "error: Invalid value for '--seed': "),
    (["run", "--seed", "-1"], "error: command line: seeds is [-1]; it must be a list of whole numbers from 0"),
    (["run", "--profile", "mnii"], "error: command line: profile is 'mnii'; it must be mini, smoke or paper"),
    (["run", "--workers", "0"], "error: command line: workers is 0; it must be `auto` or a whole number from 1"),
    (["run", "--method", "lroa"], "error: unknown method 'lroa'; did you mean 'lora'?"),
    (["run", "--task", "easyvqa"], "error: unknown task 'easyvqa'; did you mean 'easy-vqa'?"),
    (["run", "--backbone", "vlit"], "error: unknown backbone 'vlit'; did you mean 'vilt'?"),
    (["cost", "lroa"], "error: unknown method 'lroa'; did you mean 'lora'?"),
    (["compare", "params.yaml"], "error: params.yaml: ImportError: params.yaml is no Python file"),
    (["cost", "lora", "--plan", "{}"], "error: lora does not search: it takes no plan"),
    (["cost", "das", "--plan", '{"skipped": [0], "preset": 1}'], "error: this plan of das was found on vilt/1, not on vilt/mini"),
    (["cost", "coop"], "error: coop on vilt for world-vqa: the classifier is not made of texts here"),
    (["cost", "lora", "--task", "digits"], "error: vilt does not run digits; its tasks are world-vqa, "),
    (["cost", "lora", "--task", "digts"], "error: unknown task 'digts'; did you mean 'digits'?"),
    (["cost", "das", "--plan", "params.yml"], "error: a plan is a JSON object or a file with one; cannot read params.yml: No such file"),
    (["cost", "das", "--plan", "params.yaml"], "error: the plan params.yaml is no JSON: "),
    (["cost", "das", "--plan", '{"skipped": [6]}'], 'error: a plan of das here is {"skipped": [different layers from 0 to 5]}, not {'),
    (["compare", str(DAS), "--against", "lroa"], "error: unknown method 'lroa'; did you mean 'lora'?"),
    (["compare", "nothing.py"], "error: there is no file nothing.py"),
    (["tune", "--file", "nothing.py"], "error: there is no file nothing.py"),
    (["tune", "--file", str(DAS), "--method", "lora"], "error: give --file or --method, not both"),
    (["show"], "error: there is no results/tables/board.json; `petlbench collect` writes it"),
])  # fmt: skip
def test_mistakes_are_one_line_and_exit_code_2(petlbench: Callable[..., Said], arguments: list[str], line: str) -> None:
    said = petlbench(*arguments)
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith(line) and said.err.count("\n") == 1


def test_a_mistake_of_the_program_is_one_line_too(petlbench: Callable[..., Said], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object, **kwargs: object) -> None:
        raise RuntimeError("two\nlines")

    monkeypatch.setattr(settings, "load", broken)
    assert petlbench("fetch") == Said(1, "", "error: RuntimeError: two lines (`petlbench --debug` shows where)\n")
    assert "Traceback" in petlbench("--debug", "fetch").err


@dataclass
class Data:
    """A task as `fetch` sees it."""

    name: str
    group: str = ""
    backbones: tuple[str, ...] = ("vilt",)
    also: tuple[str, ...] = ("meter",)
    presets: tuple[str, ...] = ("mini",)
    sizes: dict[str, int] = field(default_factory=lambda: {"train": 1200, "test": 3})

    def data_hash(self) -> str:
        return f"hash-of-{self.name}"


def test_fetch_leaves_optional_groups_out_unless_asked(petlbench: Callable[..., Said], monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"here": Data("here"), "far": Data("far", "real"), "later": Data("later", backbones=())}
    monkeypatch.setattr(tasks, "names", lambda: list(found))
    monkeypatch.setattr(tasks, "load", found.__getitem__)
    near, far, later = (f"{name}: 1,200 train, 3 test; sha256 hash-of-{name}\n" for name in found)
    assert petlbench("fetch") == Said(0, near, "")
    assert petlbench("fetch", "--task", "far") == Said(0, far, "")
    Path("params.yaml").write_text("groups: [real]")
    assert petlbench("fetch") == Said(0, near + far + later, "")


def test_cost_of_a_search_says_which_plan_it_is_of(petlbench: Callable[..., Said]) -> None:
    Path("plan.json").write_text('{"skipped": [1, 2], "preferences": [0.5]}')
    example, same, two, lora = (petlbench("cost", *arguments).out.splitlines() for arguments in (
        ["das"], ["das", "--plan", '{"skipped": [5]}'], ["das", "--plan", "plan.json"], ["lora"]))
    assert example[0] == 'without --plan, an example: {"skipped": [0]}' and example[1:] == same
    macs = [int(lines[3].split()[1].replace(",", "")) for lines in (same, two, lora)]
    assert macs[1] < macs[0] < macs[2] and lora[0].startswith("trainable ")


def test_cost_is_of_the_backbones_first_task(petlbench: Callable[..., Said]) -> None:
    for method, backbone, task in (("apt", "clip", "world-classes"), ("dvp", "bert", "world-vqa-4000"), ("dvp", "llama", "world-science")):
        said = petlbench("cost", method, "--backbone", backbone)
        assert said == petlbench("cost", method, "--backbone", backbone, "--task", task) and said.code == 0
    small, paper = (petlbench("cost", "apt", "--backbone", "clip", "--profile", profile).out for profile in ("mini", "paper"))
    macs = [int(out.splitlines()[3].split()[1].replace(",", "")) for out in (small, paper)]
    assert 1e11 < macs[1] < 1e12 and macs[0] < macs[1] / 100, "Caltech101's hundred prompts are read with a picture"


def test_run_exits_0_with_failed_cells_and_check_does_not(petlbench: Callable[..., Said], faked: Callable[..., None]) -> None:
    faked([fakes.job("raises"), fakes.job("a"), fakes.job("b", refusal=("n/a", "no"))])
    said = petlbench("run", "--quiet", "--workers", "1")
    assert said.code == 0 and said.out == "3 cells: 1 failed, 1 n/a, 1 ok\n"
    assert "mini/b/t/raises/0 failed: ArithmeticError: loss is nan at step 3" in said.err
    said = petlbench("check")
    assert said.code == 1 and "raises" in said.out and "gate FAILED" in said.out


def test_accept_then_check_passes(petlbench: Callable[..., Said], faked: Callable[..., None]) -> None:
    jobs = [fakes.job("a", seed) for seed in range(2)]
    faked(jobs, [grid.CostTask(jobs[0], "k", None, True, True)])
    petlbench("run", "--workers", "1")
    assert petlbench("accept") == Said(0, "wrote results/reference/mini-b.json\n", "")
    said = petlbench("check")
    assert said.code == 0 and "gate passed" in said.out


def test_check_fails_on_a_method_file_that_cannot_be_read(petlbench: Callable[..., Said], faked: Callable[..., None],
                                                          monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    from suite import plugins

    faked([fakes.job("a")], [grid.CostTask(fakes.job("a"), "k", None, True, True)])
    petlbench("run", "--workers", "1")
    petlbench("accept")
    monkeypatch.setattr(plugins, "discover", lambda files=(): plugins.Catalogue(broken={"methods/bad.py": "NameError: x"}))
    assert petlbench("check")[::2] == (2, "error: methods/bad.py was left out: NameError: x\n")
    assert "warning: methods/bad.py is left out: NameError: x" in petlbench("run").err


def test_collect_refuses_a_damaged_record(petlbench: Callable[..., Said], faked: Callable[..., None]) -> None:
    faked([fakes.job("a", seed) for seed in range(2)])
    petlbench("run", "--workers", "1")
    assert petlbench("collect") == Said(0, "2 of 2 cells in results/tables/board.json\n", "")
    assert "a" in petlbench("show").out
    (Store().runs / "a-1.json").write_text("{")
    said = petlbench("collect")
    assert said.code == 2 and said.err.startswith("error: results/runs/a-1.json is damaged")


def test_samples_come_to_the_report(petlbench: Callable[..., Said], faked: Callable[..., None]) -> None:
    faked([fakes.job("a")])
    petlbench("run", "--workers", "1")
    Store().save(Store().record("a-0"), generated())
    petlbench("collect")
    assert "wrote reports/b-t-samples.png" in petlbench("report").out
    assert "plot   reports/b-t-samples.png" in petlbench("show").out


def test_only_the_current_grid_is_collected(petlbench: Callable[..., Said], faked: Callable[..., None]) -> None:
    faked([fakes.job("a"), fakes.job("b")])
    petlbench("run", "--workers", "1")
    faked([fakes.job("a")])
    assert [record.key for record in results.current(settings.Settings()).records] == ["a-0"]


def test_learning_rates_in_doubt_are_flagged_once(petlbench: Callable[..., Said], faked: Callable[..., None]) -> None:
    faked([fakes.job("a", seed, doubt="never tuned") for seed in (0, 1)] + [fakes.job("b"), fakes.job("b", 1, doubt=None)])
    petlbench("run", "--workers", "1")
    flags = [flag for flag in results.current(settings.Settings()).board().sections[0].flags if flag.kind == "untuned"]
    assert [(flag.method, flag.text) for flag in flags] == [("a", "never tuned: t")]


def test_mini_stays_off_the_network(petlbench: Callable[..., Said], faked: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    faked([fakes.job("a")])
    petlbench("collect", "--profile", "paper")
    assert "HF_HUB_OFFLINE" not in os.environ
    monkeypatch.setenv("HF_HUB_OFFLINE", "")  # so that it is put back
    monkeypatch.delenv("HF_HUB_OFFLINE")
    petlbench("collect")
    assert os.environ["HF_HUB_OFFLINE"] == "1"


@pytest.mark.parametrize(("text", "error"), [
    ("sedes: [0]", "unknown key 'sedes'; did you mean 'seeds'?"),
    ("costs: {latncy: true}", "unknown key 'costs.latncy'; did you mean 'latency'?"),
    ("colour: red", "unknown key 'colour'; there are profile, backbones, methods, tasks, groups, seeds, epochs, official_protocol, precision, micro_batch, gpus, workers, costs"),
    ("seeds: 3", "seeds is 3; it must be a list of whole numbers from 0"),
    ("seeds: ['0']", "seeds is ['0']; it must be a list"),
    ("seeds: []", "seeds is []; it must be a list"),
    ("seeds: [1, 1]", "seeds names one twice"),
    ("epochs: '5'", "epochs is '5'; it must be null or a whole number from 1"),
    ("epochs: 0", "epochs is 0; it must be null"),
    ("epochs: true", "epochs is True; it must be null"),
    ("methods: lora", "methods is 'lora'; it must be `all` or a list of names"),
    ("tasks: []", "tasks is []; it must be `all` or a list of names"),
    ("workers: many", "workers is 'many'; it must be `auto` or a whole number from 1"),
    ("costs: {latency: 1}", "costs.latency is {'latency': 1}; it must be `latency` and `memory`, each true or false"),
    ("- a\n- b", "must hold `key: value` lines"),
    ("a: [", "is not valid YAML"),
])  # fmt: skip
def test_params_errors_name_the_key(tmp_path: Path, text: str, error: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as raised:
        settings.load(path)
    assert error in str(raised.value) and str(path) in str(raised.value) and "\n" not in str(raised.value)


def test_missing_params_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot read .*params.yaml: No such file or directory"):
        settings.load(tmp_path / "params.yaml")


def test_the_committed_params_are_the_defaults_and_the_board_is_tuned() -> None:
    root = Path(__file__).parents[1]
    tuned = {path.stem for path in (root / "results" / "tuning").glob("*.json")}
    committed = settings.load(root / "params.yaml", profile="mini")
    assert committed == settings.Settings(backbones=committed.backbones) and {*backbones.names()} - {*committed.backbones} == {"t5"}
    assert tuned == {job.cell.backbone for job in grid.cells(settings.Settings())}
    assert all((root / "suite" / "weights" / f"{name}-mini.safetensors").is_file() for name in tuned)


def test_smoke_narrows_what_was_left_open(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text("profile: smoke\nmethods: [head]\nseeds: [4, 5]")
    found = settings.load(path)
    assert (found.methods, found.tasks, found.seeds, found.epochs, found.preset) == (["head"], settings.SMOKE_TASKS, [4], 1, "mini")
    assert settings.load(path, profile="mini").tasks == "all"


def test_a_new_file_in_methods_is_there_at_once(tmp_path: Path) -> None:
    """The real command in a project of its own, with a broken file beside the new one."""
    for name, text in {
        "methods/__init__.py": "", "baselines/__init__.py": "", "methods/bad.py": "import nothing_of_that_name",
        "methods/mine.py": "from dataclasses import dataclass\nfrom typing import ClassVar\nfrom suite.core import Method\n\n\n@dataclass\n"
                           "class Mine(Method):\n    name: ClassVar[str] = 'mine'\n    title: ClassVar[str] = 'My method'\n",
    }.items():  # fmt: skip
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    command = [sys.executable, "-c", "from suite.cli import main; main()", "list"]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env={"PYTHONPATH": str(Path(cli.__file__).parents[1])})
    assert "My method" in said.stdout and "methods/mine.py" in said.stdout and "lora" not in said.stdout
    assert said.returncode == 2 and said.stderr.startswith("error: methods/bad.py: ModuleNotFoundError") and said.stderr.count("\n") == 1
