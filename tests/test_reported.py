"""Published figures beside ours in the paper profile, and what was published that does not fit together."""

from __future__ import annotations

from pathlib import Path

import papers
import pytest

from suite.experiments import EXPERIMENTS
from suite.report import reported
from suite.report.experiment import _compared, reproduced
from suite.report.table import Entry
from suite.report.write import paper_tables
from suite.report.write import papers as paper_files

FIGURES = reported.read(Path(__file__).parents[1] / "results/reported")


def test_the_paper_profile_tells_difference_and_verdict_of_scores() -> None:
    made = next(found for found in papers.board(("vilt",)).experiments if found.experiment.name == "apt-main")
    table = reproduced(made, "paper", FIGURES)
    rows = {row[0].text: row for row in table.rows}
    trained, score = rows["APT"][1].published, rows["APT"][5].published
    assert trained.text == "1.92 M" and not any("verdict" in key for key in trained.data), "docs/paper-costs.md judges costs"
    ours = rows["APT"][5].data
    assert score.text.startswith("70.94 (+") and score.data["difference world-vqa"] == pytest.approx(ours["world-vqa"] - 70.94)
    assert score.data["verdict world-vqa"] == "higher" and "95 % interval" in table.legend
    small = reproduced(made, "mini", FIGURES)
    assert not any("verdict" in key for row in small.rows for entry in row for key in (entry.published or entry).data)


@pytest.mark.parametrize(("ours", "half", "verdict"), [(71.5, 0.6, "reproduced"), (71.5, 0.4, "higher"), (70.0, 0.4, "lower"),
                                                       (70.94, None, "inconclusive")])  # fmt: skip
def test_a_score_is_reproduced_within_its_interval(ours: float, half: float | None, verdict: str) -> None:
    figure = next(f for f in FIGURES.values() if (f.backbone, f.method, f.task, f.metric) == ("ViLT", "APT", "VQA2.0", "accuracy"))
    entry = _compared(Entry("70.94"), figure, "world-vqa", ours, half)
    assert entry.data["verdict world-vqa"] == verdict
    assert entry.text == f"70.94 ({ours - 70.94:+.2f}, {verdict})".replace("-", "−")


def test_contradictions_stand_below_the_table() -> None:
    files = paper_files(board := papers.board(), paper_tables(board, FIGURES))
    page = files["apt-main.md"].decode()
    assert "gain of 7.01 points is that of no column" in page and "bottleneck of 102" in files["apt-main.tex"].decode()
    scores: dict[str, dict[str, float]] = {"APT": {}, "Deep Prompt": {}}
    for figure in FIGURES.values():
        if (figure.backbone, figure.table, figure.unit) == ("METER", "main comparison", "%") and figure.method in scores:
            scores[figure.method][f"{figure.task} {figure.metric}"] = figure.number
    gains = [f"{value - scores['Deep Prompt'][column]:.2f}" for column, value in scores["APT"].items()]
    assert len(gains) == 5 and all(gain in EXPERIMENTS[0].contradictions[0] for gain in gains)
