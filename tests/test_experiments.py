"""The papers' tables: what stands in them, beside it what was published, what is n/a, missing or absent, and the claims."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import papers
import pytest
from records import board_records, cell, record

from suite.board import Board, Claim, Reproduction
from suite.claims import overall
from suite.collect import collect
from suite.errors import UserError
from suite.experiments import EXPERIMENTS
from suite.record import Record
from suite.report import reported
from suite.report.experiment import reproduced
from suite.report.formats import to_markdown
from suite.report.plot import points
from suite.report.terminal import print_board
from suite.report.write import paper_tables, render
from suite.report.write import papers as paper_files

NAMES = ["apt-main", "apt-clip", "apt-generation", "das-main", "das-science", "dvp-main"]
FIGURES = reported.read(Path(__file__).parents[1] / "results/reported")


@pytest.fixture(scope="module")
def board() -> Board:
    return papers.board()


@pytest.fixture(scope="module")
def files(board: Board) -> dict[str, str]:
    return {name: content.decode() for name, content in render(board, FIGURES).items() if not name.endswith("png")}


def made(board: Board, name: str) -> Reproduction:
    return next(found for found in board.experiments if found.experiment.name == name)


def markdown(board: Board, name: str) -> str:
    """A paper's table alone, without the plots of a whole report."""
    return paper_files(board, paper_tables(board, FIGURES))[f"{name}.md"].decode()


def lines(text: str, backbone: str) -> list[list[str]]:
    """The cells of one block of a Markdown table."""
    block = text.split(f"**{backbone} (published:")[1].split("\n\n")[1]
    return [[part.strip() for part in line.strip("|").split(" | ")] for line in block.splitlines()]


def test_the_six_tables_are_there_and_absent_backbones_are_a_line(board: Board, files: dict[str, str]) -> None:
    assert [e.name for e in EXPERIMENTS] == [found.experiment.name for found in board.experiments] == NAMES
    here = {name for name in NAMES if made(board, name).sections}
    assert here == {"apt-main", "das-main"}
    for name in NAMES:
        assert {f"{name}.tex" in files, f"{name}.csv" in files} == {name in here}
    assert files["apt-clip.md"] == (
        "### APT: classification with CLIP\n\nNot here: clip: this grid has no cells of apt there (world-classes, digits).\n\n")
    assert "Not here: lavin: this grid has no cells of das there" in files["index.html"]
    for line in ("bert, t5: this grid has no cells of dvp there (world-vqa-4000, world-gqa, world-ve)",
                 "llama: this grid has no cells of dvp there (world-science)"):  # fmt: skip
        assert f"Not here: {line}." in files["dvp-main.md"]


def test_a_narrowed_grid_breaks_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    only = papers.board(("vilt",))
    text = markdown(only, "apt-main")
    assert "**vilt (published: ViLT)**" in text
    assert "Not here: meter: this grid has no cells of apt there" in text
    print_board(only)
    assert "das-science" in capsys.readouterr().out
    other = collect(board_records({"lora": {"easy-vqa": [80.0, 81.0]}}))
    assert not any(found.sections for found in other.experiments)
    assert "Not here: vilt" in markdown(other, "apt-main")


def test_ours_beside_the_published(files: dict[str, str]) -> None:
    table = lines(files["apt-main.md"], "vilt")
    assert table[0] == [
        "Method", "Trained (K params)", "Extra MACs (M)", "Batch 1 (ms)", "Batch 32 (ms)", "world-vqa (accuracy, VQA2.0)",
        "world-nlvr2 (accuracy, NLVR2)", "world-retrieval (IR R@1, Flickr30K)", "world-retrieval (TR R@1, Flickr30K)", "Average"]
    first = [row[0] for row in table[2:]]
    assert first[:6] == ["Full tuning", "*published*", "Classifier only", "*published*", "Shallow prompt", "Deep prompt"]
    apt = first.index("APT") + 2
    assert table[apt + 1] == ["*published*", "*1.92 M*", "*0.91 G*", "–", "–", "*70.94*", "*75.92*", "*63.26*", "*81.60*", "*72.93*"]
    assert table[apt][1:4] == ["12.0", "1.00", "2.00"]
    assert "*323.31 M*" in [row[1] for row in lines(files["apt-main.md"], "meter")]
    assert "*published*" not in [row[0] for row in lines(files["das-main.md"], "vilt")]
    assert "Published figures: github.com/DoubtedSteam/APT README.md at d66bbc4." in files["apt-main.tex"]
    assert "−11.97 %" in files["das-main.md"] and "arXiv 2309.01479" in files["das-main.md"]


def test_the_average_counts_columns_as_the_paper_does(board: Board) -> None:
    """Two of the four columns are retrieval's; easy-vqa is none of them."""
    row = next(r for r in made(board, "apt-main").sections[0].rows if r.method == "apt")
    means = {task: row.cells[task].mean for task in row.cells}
    assert set(means) == {"world-vqa", "world-nlvr2", "world-retrieval"}
    assert row.average.mean == pytest.approx((means["world-vqa"] + means["world-nlvr2"] + 2 * means["world-retrieval"]) / 4)


def test_base_new_and_their_mean_count_once() -> None:
    counts = {e.name: e.tasks for e in EXPERIMENTS}
    assert counts["apt-clip"] == {"world-classes": 1, "digits": 1}
    assert counts["das-main"] == {"world-vqa": 1, "world-nlvr2": 1, "world-retrieval": 2}
    assert counts["das-science"] == {"world-science": 1}


def test_csv_has_base_units_and_the_source(files: dict[str, str]) -> None:
    rows = {(r["backbone"], r["method"]): r for r in csv.DictReader(io.StringIO(files["apt-main.csv"]))}
    apt = rows["vilt", "apt"]
    assert (apt["trainable"], apt["published trainable"], apt["published extra_macs"]) == ("12000", "1920000", "910000000")
    assert (apt["published as"], apt["published average"]) == ("APT", "72.93")
    assert apt["published source"] == "github.com/DoubtedSteam/APT README.md at d66bbc4"
    assert float(apt["world-retrieval tr_r1"]) - float(apt["world-retrieval ir_r1"]) == pytest.approx(8, abs=1e-4)
    assert rows["vilt", "prompt_shallow"]["published trainable"] == ""


def test_holes_carry_their_reason(files: dict[str, str]) -> None:
    for name in ("apt-main.md", "apt-main.tex", "index.html"):
        assert "meter: Not applicable: Shallow prompt. Reason: no single stream to put it in front of." in files[name]
        assert "seed 1 failed: loss is nan" in files[name]
        assert "missing: not run yet" in files[name]
    assert "Shallow prompt" not in [row[0] for row in lines(files["apt-main.md"], "meter")]
    for name in ("meter.csv", "apt-main.csv"):
        found = [row for row in csv.DictReader(io.StringIO(files[name])) if row["method"] == "prompt_shallow"]
        assert (found[-1]["world-vqa status"], found[-1]["world-vqa reason"]) == ("n/a", "no single stream to put it in front of")


def test_methods_that_the_grid_leaves_out_are_named() -> None:
    few = [c for c in papers.grid(("vilt",)) if c.method in ("head", "apt")]
    text = markdown(collect([r for r in papers.records(("vilt",)) if r.cell in few], grid=few), "apt-main")
    assert "vilt: not in this grid: full, prompt\\_shallow, prompt\\_deep, lora, parallel\\_adapter, adapter." in text
    table = lines(text, "vilt")
    assert table[2][:3] == ["Full Tuning", "–", "–"] and table[3][0] == "*published*", "what was published stands all the same"


def test_every_row_of_the_latex_is_as_wide_as_its_heads(files: dict[str, str]) -> None:
    body = files["apt-main.tex"].split(r"\midrule")[1].split(r"\bottomrule")[0].strip().splitlines()
    assert [line for line in body if "multicolumn" in line] == [
        rf"\multicolumn{{10}}{{l}}{{\textbf{{{name} (published: {name.replace('vilt', 'ViLT').replace('meter', 'METER')})}}}} \\"
        for name in papers.BACKBONES]  # fmt: skip
    rows = [line for line in body if "multicolumn" not in line]
    assert len(rows) == 30 - 1 and {line.count(" & ") for line in rows} == {9}


def test_without_stored_figures_the_table_says_so(board: Board) -> None:
    text = to_markdown(reproduced(made(board, "apt-main"), "mini", {}))
    assert "published*" not in text and "there are no figures in results/reported" in text


def test_the_page_shows_tables_claims_and_ways_to_them(files: dict[str, str]) -> None:
    page = files["index.html"]
    assert all(f'href="#{name}"' in page and f'id="{name}"' in page for name in (*NAMES, *papers.BACKBONES))
    assert page.count('<tr class="published">') == 14
    assert '<td class="tight lower">lower</td>' in page.split('id="das-main"')[1]


def test_claims_over_backbones(board: Board, files: dict[str, str]) -> None:
    found = {claim.text: claim for claim in made(board, "apt-main").claims}
    level, macs = found["level with or above deep prompts"], found["less than half of the extra MACs"]
    assert (level.verdict, level.by_task) == ("reproduced", {"vilt": "reproduced", "meter": "reproduced"})
    assert macs.detail == "vilt: 1,000,000 against 7,000,000 (0.14 times); meter: 1,000,000 against 7,000,000 (0.14 times)"
    searched = {claim.text: claim.verdict for claim in made(board, "das-main").claims}
    assert searched == {"found by search, above random": "reproduced", "fewer MACs": "reproduced", "above full tuning": "lower"}
    assert "- **lower**: DAS: above full tuning" in files["das-main.md"]
    told = {(r["table"], r["claim"]): r["verdict"] for r in csv.DictReader(io.StringIO(files["claims.csv"]))}
    assert told["das-main", "above full tuning"] == told["vilt", "above full tuning"] == "lower"
    assert {table for table, _ in told} == {"vilt", "meter", "apt-main", "das-main"}


def test_a_claim_is_no_better_than_on_its_worst_backbone() -> None:
    def judged(*verdicts: str) -> str:
        return overall({f"b{i}": Claim(method="m", text="t", verdict=v, detail="d") for i, v in enumerate(verdicts)}).verdict

    assert judged("reproduced") == judged("reproduced", "reproduced") == "reproduced"
    assert judged("reproduced", "lower") == judged("inconclusive", "lower") == "lower"
    assert judged("reproduced", "inconclusive") == judged("reproduced", "not run") == "inconclusive"
    assert judged("not run", "not run") == "not run"


def test_a_control_is_no_rival(board: Board) -> None:
    """It comes last, is in no test, and does not make the noise of the others larger."""
    wild = [r.model_copy(update={"metrics": {"accuracy": r.metrics["accuracy"] + 20 * (r.cell.seed - 1)}}) if r.cell.method == "das_random"
            and r.cell.task == "world-vqa" else r for r in papers.records(("vilt",))]
    sections = [papers.board(("vilt",)).sections[0], collect(wild, papers.costs(), grid=papers.grid(("vilt",))).sections[0]]
    for section in sections:
        assert [row.method for row in section.rows if row.control] == ["das_random"] == [section.rows[-1].method]
        assert section.rows[-1].cells["world-vqa"].p is None
    assert points(sections[0].rows, "macs")[1] == ["DAS, random (a control)"]
    assert sections[0].seed_sd == sections[1].seed_sd
    verdicts = [{c.text: c.verdict for c in s.claims}["found by search, above random"] for s in sections]
    assert verdicts == ["reproduced", "inconclusive"]


def test_break_downs_are_shown_for_every_task_with_kinds(files: dict[str, str]) -> None:
    for backbone in papers.BACKBONES:
        small = files[f"{backbone}.md"].split(f"### {backbone}, profile mini: world-vqa")[1].split("\n")
        assert small[2] == "| Method | type colour (%) | type count (%) | accuracy (%) |"
        assert small[4].startswith("| Full tuning | 9")
        assert f"### {backbone}, profile mini: world-nlvr2" not in files[f"{backbone}.md"]


def test_a_metric_that_the_records_lack_is_a_hole_with_a_reason() -> None:
    where = [cell("apt", "world-classes", seed, "clip") for seed in range(2)]
    found = [record(c, 70.0 + c.seed, metric="h_mean", metrics={"h_mean": 70.0 + c.seed, "base": 80.0}) for c in where]
    shown = markdown(collect(found), "apt-clip")
    head, _, row = lines(shown, "clip")[:3]
    assert head[-5:-2] == ["world-classes (base, the paper's data sets)", "world-classes (new, the paper's data sets)",
                           "world-classes (harmonic mean, the paper's data sets)"]  # fmt: skip
    assert row[-5] == "80.0 ± 0.0" and row[-4].startswith("missing") and row[-3].startswith("**70.5")
    assert head[-2:] == ["digits (the paper's data sets)", "Average"] and row[-2].startswith("missing") and "no new in the records" in shown


def science(method: str, seed: int) -> Record:
    value = {"lavin": 80.0, "das": 79.0, "das_random": 77.0}[method] + seed
    kinds = {"context_text": value + 1, "context_image": value - 1, "context_none": value}
    return record(cell(method, "world-science", seed, "lavin"), value, metrics={"accuracy": value} | kinds)


def test_rows_that_are_only_published_stand_between_ours() -> None:
    text = markdown(collect([science(m, s) for m in ("lavin", "das", "das_random") for s in range(3)]), "das-science")
    head, _, *rows = lines(text, "lavin")
    assert head[5:] == ["world-science (context text, ScienceQA)", "world-science (context image, ScienceQA)",
                        "world-science (context none, ScienceQA)", "world-science (accuracy, ScienceQA)"]  # fmt: skip
    assert [row[0] for row in rows] == [
        "Lavin", "*published: LaVIN-7B*", "DAS2-7B", "*published*", "DAS4-7B", "*published*", "Das", "*published: DAS6-7B*", "Das\\_Random"]
    assert rows[1][1:] == ["*3.8 M*", "–", "*3.70 s*", "–", "*88.51*", "*87.46*", "*88.08*", "*89.41*"]
    assert rows[2][1:] == ["–"] * 8 and rows[0][5] == "82.0 ± 2.5"


def test_a_claim_is_told_for_each_of_three_language_models() -> None:
    claim = {"text": "above all tokens", "metric": "accuracy", "better": "dvp", "than": "visual_prompt", "relation": ">"}
    gains = {"bert": 20.0, "t5": 20.0, "llama": -20.0}
    others = ("world-vqa-4000", "world-gqa", "world-ve")
    found = [record(cell(m, t, s, b), 60.0 + s + gain * (m == "dvp"), claims=[claim] if m == "dvp" else [])
             for b, gain in gains.items() for m in ("dvp", "visual_prompt") for s in range(3)
             for t in (("world-science",) if b == "llama" else others)]  # fmt: skip
    board = collect(found)
    (told,) = made(board, "dvp-main").claims
    assert (told.verdict, told.by_task) == ("lower", {"bert": "reproduced", "t5": "reproduced", "llama": "lower"})
    assert "- **lower**: Dvp: above all tokens (bert: difference +20.0 points" in markdown(board, "dvp-main")
    assert "+2.28 points" in markdown(board, "dvp-main")
    rows = [line.split(" | ")[5:9] for line in markdown(board, "dvp-main").splitlines() if line.startswith("| Dvp")]
    assert [[value == "–" for value in row] for row in rows] == [3 * [False] + [True]] * 2 + [3 * [True] + [False]]
    fewer = collect([r for r in found if r.cell.backbone == "bert" and r.cell.task == "world-vqa-4000"])
    assert all(row.average is not None for row in made(fewer, "dvp-main").sections[0].rows)
    (row,) = [line.split(" | ")[5:9] for line in markdown(fewer, "dvp-main").splitlines() if line.startswith("| Dvp")]
    assert [value == "–" for value in row] == [False, True, True, True]


def test_every_published_figure_is_read_and_those_of_the_tables_are_placed() -> None:
    """Each figure of a table that an experiment reproduces stands under one of its columns, but those that petlbench has no column for."""
    assert len(FIGURES) == 218
    assert all(figure.source for figure in FIGURES.values())
    placed = set()
    for e in EXPERIMENTS:
        keys = [*e.costs.values(), *(m.figure for m in e.measures if m.figure), *([e.average] if e.average else [])]
        placed |= {(e.paper, e.table, p.published, k.task, k.metric, line.published) for p in e.places for line in p.lines for k in keys}
    wanted = {w for w, f in FIGURES.items() if (f.paper, f.table) in {(e.paper, e.table) for e in EXPERIMENTS}}
    left = {where[4] for where in wanted - placed}
    assert len(wanted & placed) > 100
    assert all("subject" in metric or "grade" in metric for metric in left), left


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("paper,table\nAPT,main\n", "its columns are not paper, table"),
        ("{head}\nAPT,t,b,k,-,m,x,many,%,s\n", "line 2: value"),
        ("{head}\nAPT,t,b,k,-,m,x,1.0,%,\n", "line 2: source"),
        ("{head}\nAPT,t,b,k,-,m,x,1.0,%,s\nAPT,t,b,k,-,m,x,2.0,%,s\n", "line 3: this figure stands in results/reported twice"),
        ("{head}\nAPT,t\n", "line 2"),
    ],
)  # fmt: skip
def test_damaged_figures_are_a_user_error(tmp_path: Path, text: str, message: str) -> None:
    head = "paper,table,backbone,task,split,metric,method,value,unit,source"
    (tmp_path / "a.csv").write_text(text.replace("{head}", head))
    with pytest.raises(UserError, match=message) as raised:
        reported.read(tmp_path)
    assert "\n" not in str(raised.value)
