"""The paper profile from data to table, with mini ViLT and a VQA2.0 of a few questions in the places of the full ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mirrored import view
from test_real_vqa import mirror, vqa2_task  # noqa: F401  (a fixture)

from suite import answers, run, tasks, together
from suite.backbones import vilt
from suite.backbones.vilt import ViLT
from suite.errors import UserError
from suite.experiments import APT_MAIN, DVP_MAIN
from suite.record import Record
from suite.report.experiment import reproduced
from suite.results import current
from suite.settings import Settings
from suite.store import Store

Run = Callable[..., list[Record]]


@pytest.fixture
def paper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs cells of one epoch in this process; the grid, the keys and the records are those of any run."""
    task = vqa2_task(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(vilt.PRESETS, "paper", vilt.PRESETS["mini"])
    monkeypatch.setattr(ViLT, "view", view(fit="shorter", augment=True))
    task.backbones = ("vilt",)
    load = tasks.load
    monkeypatch.setattr(tasks, "load", lambda name: task if name == "vqa2" else load(name))
    monkeypatch.setattr(together, "join", lambda launcher: None)
    torch.set_num_threads(1)

    def started(**changes: object) -> list[Record]:
        return run.run_together(asked(**changes), Store(), "pytorch")

    return started


def asked(**changes: object) -> Settings:
    given = {"profile": "paper", "backbones": ["vilt"], "tasks": ["vqa2"], "methods": ["apt"], "seeds": [0], "epochs": 1}
    return Settings(**{**given, "precision": "fp32", "micro_batch": 64} | changes)


def test_cells_from_data_to_table(paper: Run, tmp_path: Path) -> None:
    records = paper(methods=["head", "apt", "das"])
    assert [(r.cell.method, r.status) for r in records] == [("head", "ok"), ("apt", "ok"), ("das", "ok")]
    apt = next(r for r in records if r.cell.method == "apt")
    recipe = apt.hyper_parameters["recipe"]
    assert (recipe["batch_size"], recipe["micro_batch"], recipe["head_multiplier"], recipe["clip"]) == (256, 64, 10, None)
    assert apt.hyper_parameters["lr"] == 5e-4 and set(apt.floors) == {"majority", "blind"} and len(apt.curve) == 1
    das = next(r for r in records if r.cell.method == "das")
    assert das.hyper_parameters["lr"] == 1e-4 and das.plan and das.plan["skipped"] and das.hyper_parameters["search"]["train_steps"]
    assert Store().examples(apt)["correct"].shape == (4,), "test has the two photographs that are held out"
    (first, *_) = answers.write(current(asked()), tmp_path / "out")
    assert {row["question_id"] for row in json.loads(first.read_text())} == {70, 71}
    assert [r.key for r in paper(methods=["head", "apt", "das"])] == [r.key for r in records], "what is stored is not run again"
    board = current(asked(methods=["head", "apt", "das"])).board()
    made = next(one for one in board.experiments if one.experiment.name == "apt-main")
    table = reproduced(made, "paper", {})
    assert [head.title for head in table.heads][-5:] == ["vqa2", "nlvr2", "flickr30k", "flickr30k", "Average"] and len(made.sections) == 1
    assert made.sections[0].rows[0].cells["vqa2"].mean is not None


def test_the_same_cell_has_the_same_bits_and_precision_another_key(paper: Run) -> None:
    (one,) = paper()
    Store().set_aside(one.key, Path("aside"))
    (two,) = paper()
    assert (two.key, two.examples, two.metrics, two.curve) == (one.key, one.examples, one.metrics, one.curve)
    assert len({one.key, *(paper(**changes)[0].key for changes in ({"precision": "bf16"}, {"micro_batch": 128}))}) == 3


def test_what_cannot_be_trained_is_told(paper: Run) -> None:
    (record,) = paper(micro_batch=48)
    assert record.status == "failed" and "micro_batch: 48 on 1 GPU does not divide the batch of 256" in record.reason
    with pytest.raises(UserError, match="the launcher started 1 processes, params.yaml says gpus: 4"):
        paper(gpus=4)
    with pytest.raises(UserError, match="gpus: 4 wants a launcher: torchrun --nproc-per-node 4"):
        run.run(asked(gpus=4), Store(), quiet=True)
    (record,) = paper(precision=None)
    assert record.status == "failed" and "fp16, the published precision, needs a GPU" in record.reason


def test_a_missing_photograph_makes_the_cell_missing(paper: Run, tmp_path: Path) -> None:
    next((tmp_path / "vqa2/train2014").iterdir()).unlink()
    (record,) = paper()
    assert record.status == "missing" and "the picture" in record.reason and "missing (2 such rows)" in record.reason


def test_a_tokenizer_that_does_not_match_is_no_cell(paper: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ViLT, "view", view(words=30_522))
    (record,) = paper()
    assert record.status == "missing" and "words, not 30,522: it does not match the checkpoint" in record.reason


def test_experiments_have_the_papers_datasets_in_the_paper_profile() -> None:
    main, dvp = APT_MAIN.at("paper"), DVP_MAIN.at("paper")
    assert list(main.tasks) == ["vqa2", "nlvr2", "flickr30k"] and main.tasks["flickr30k"] == 2 and APT_MAIN.at("mini") is APT_MAIN
    assert {place.backbone: list(dvp.of(place)) for place in dvp.places} == {
        "bert": ["vqa2", "gqa", "snli-ve"], "t5": ["vqa2", "gqa", "snli-ve"], "llama": ["vqa2", "gqa", "snli-ve", "scienceqa"]}  # fmt: skip
