"""From records to board to every format: golden texts, hostile names, holes, flags, claims, identical bytes."""

from __future__ import annotations

import csv
import io
import json
import re
from itertools import combinations
from pathlib import Path
import numpy as np
import pytest
from markdown_it import MarkdownIt
from matplotlib.figure import Figure
from records import COSTS, VALUES, board_records, cell, cost, grid_with, holes, record
from rich.console import Console

from suite.board import Board, Measured
from suite.collect import collect
from suite.experiments import EXPERIMENTS
from suite.report.details import doubts
from suite.report.formats import to_csv, to_latex, to_markdown
from suite.report.labels import Box, Scene, place
from suite.report.plot import Point, _floors, _front, _measured, points
from suite.report.table import build
from suite.report.terminal import print_board
from suite.report.units import number, scaled, unit
from suite.report.write import metrics, render, write

@pytest.fixture(scope="module")
def board() -> Board:
    return collect(holes(), COSTS, grid=grid_with("das"))


def table(board: Board):  # noqa: ANN201
    return build(board.sections[0], board.profile)


MARKDOWN = """\
### vilt, profile mini

| Method | Trained (K params) | Extra MACs (M) | Batch 1 (ms) | Batch 32 (ms) | Memory (MiB) | easy-vqa (accuracy) | world-vqa (accuracy) | Average |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
| Full | 900 | 0 | 2.00 | 40.0 | 12.0 | **81.0 ± 2.5** | **91.0 ± 2.5** | **86.0 ± 2.5** |
| Lora | 9.22 | −0.332 | 2.50 → 2.00 | 50.0 → 40.0 | 12.0 | **80.5 ± 6.4** <sup>a</sup> | 85.0 ± 2.5 | 82.8 ± 9.5 <sup>b</sup> |
| Head | 0 | 0 | 2.00 | 40.0 | 12.0 | 51.0 ± 2.5 | 61.0 ± 2.5 | 56.0 ± 2.5 |
| Apt | ? | ? | ? | ? | ? | 71.0 ± 2.5 | n/a <sup>c</sup> | n/a <sup>d</sup> |
| das | ? | ? | ? | ? | ? | missing <sup>e</sup> | missing <sup>e</sup> | missing <sup>f</sup> |
| *Floor: no image* | – | – | – | – | – | *40.0* | *40.0* | *40.0* |
| *Floor: majority* | – | – | – | – | – | *30.0* | *30.0* | *30.0* |

<sup>a</sup> seed 1 failed: loss is nan  
<sup>b</sup> over the seeds that every task has  
<sup>c</sup> n/a: no place for it  
<sup>d</sup> no average: does not apply to world-vqa  
<sup>e</sup> missing: not run yet  
<sup>f</sup> no average without easy-vqa, world-vqa  
"""


def test_golden_markdown(board: Board) -> None:
    assert to_markdown(table(board)).startswith(MARKDOWN)


def test_golden_latex(board: Board) -> None:
    lines = to_latex(table(board)).splitlines()
    assert lines[5:9] == [
        r"\begin{tabular}{lrrrrrrrr}",
        r"\toprule",
        r"Method & Trained & Extra MACs & Batch 1 & Batch 32 & Memory & easy-vqa & world-vqa & Average \\",
        r" & \scriptsize K params & \scriptsize M & \scriptsize ms & \scriptsize ms & \scriptsize MiB & \scriptsize accuracy & \scriptsize accuracy &  \\",
    ]
    assert lines[11] == (
        r"Lora & 9.22 & $-$0.332 & 2.50 $\rightarrow$ 2.00 & 50.0 $\rightarrow$ 40.0 & 12.0 & \textbf{80.5}{\scriptsize\,$\pm$\,6.4}"
        r"\textsuperscript{a} & 85.0{\scriptsize\,$\pm$\,2.5} & 82.8{\scriptsize\,$\pm$\,9.5}\textsuperscript{b} \\"
    )
    text = "\n".join(lines)
    assert text.isascii()
    assert len(re.findall(r"(?<!\\)\{", text)) == len(re.findall(r"(?<!\\)\}", text))


def test_csv_has_base_units_and_full_precision(board: Board) -> None:
    rows = {row["method"]: row for row in csv.DictReader(io.StringIO(to_csv(table(board))))}
    lora = rows["lora"]
    assert (lora["trainable"], lora["extra_macs"], lora["ms_1_unmerged"], lora["ms_1_merged"]) == ("9216", "-332000", "2.5", "2")
    assert [lora[f"easy-vqa{end}"] for end in ("", " n", " status", " reason")] == ["80.5", "2", "partial", "loss is nan"]
    assert rows["das"]["average status"] == "missing"
    assert rows["floor:blind"]["world-vqa"] == "40"


def test_recalls_and_memory_are_shown() -> None:
    recalls = {"ir_r1": 40.0, "ir_r10": 90.0, "ir_r5": 70.0, "tr_r1": 50.0}
    mine = [record(cell("lora", "world-retrieval", s), metric="recall", status="ok", reason=None,
                   metrics={name: value + s for name, value in recalls.items()} | {"recall": 45.0 + s}) for s in range(3)]  # fmt: skip
    peaks = [cost("lora", "world-retrieval", plan=None, peak_memory=3 * 2**20), cost("lora", "easy-vqa", peak_memory=None)]
    board = collect([*mine, *board_records({"lora": {"easy-vqa": [80.0]}, "head": {"easy-vqa": [50.0]}})], peaks)
    assert board.sections[0].rows[0].cells["world-retrieval"].metrics == {
        name: Measured(mean=value + 1, half=2.484138) for name, value in recalls.items()}  # fmt: skip
    files = {name: content.decode() for name, content in render(board).items() if name.endswith(("md", "tex", "csv", "html"))}
    small = files["vilt.md"].split("### vilt, profile mini: world-retrieval")[1].split("\n")
    assert small[2] == "| Method | IR R@1 (%) | IR R@5 (%) | IR R@10 (%) | TR R@1 (%) | recall (%) |"
    assert small[4:6] == ["| Lora | 41.0 ± 2.5 | 71.0 ± 2.5 | 91.0 ± 2.5 | 51.0 ± 2.5 | 46.0 ± 2.5 |", ""]
    assert all("IR R@10" in files[name] for name in ("vilt.tex", "vilt.html", "index.html")) and "mini: easy-vqa" not in files["vilt.md"]
    row = next(csv.DictReader(io.StringIO(files["vilt.csv"])))
    assert (row["world-retrieval"], row["world-retrieval ir_r10"], row["peak_memory"]) == ("46", "91", "")
    only = collect(mine, peaks[:1])
    assert only.sections[0].rows[0].costs.peak_memory == 3 * 2**20 and "| 3.00 |" in to_markdown(table(only))
    assert all("mean of IR and TR R@1" in files[name] for name in ("vilt.tex", "vilt.html", "index.html"))


def test_holes_are_visible_in_every_format(board: Board, capsys: pytest.CaptureFixture[str]) -> None:
    files = render(board)
    print_board(board)
    shown = {"terminal": capsys.readouterr().out, **{n: files[f"vilt.{n}"].decode() for n in ("md", "tex", "csv", "html")}}
    shown["page"] = files["index.html"].decode()
    for name, text in shown.items():
        for word in ("n/a", "missing", "loss is nan", "no place for it", "not run yet"):
            assert word in text, f"{word!r} is not in {name}"


def test_nothing_is_blank(board: Board) -> None:
    shown = table(board)
    assert shown.blocks[0].floors
    assert all(entry.text for row in (*shown.rows, *shown.blocks[0].floors) for entry in row)


def test_hostile_names_do_no_harm() -> None:
    evil = "<script>alert('x')</script> & 50% $x_1$ | \\end{table} `a` *b* [c](d)\nnew"
    records = [record(cell("evil", t, s), 70.0 + s, title=evil, flags=[evil]) for t in ("easy-vqa", "world-vqa") for s in range(2)]
    records.append(record(cell("bad"), None, title="[bold]rich[/bold]", reason=evil))
    files = render(collect(records, [cost("evil", t, 1, 1) for t in ("easy-vqa", "world-vqa")]))
    for name in ("index.html", "vilt.html"):
        assert "<script" not in files[name].decode()
        assert "&lt;script&gt;" in files[name].decode()
    markdown = files["vilt.md"].decode()
    assert "<script" not in markdown
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in markdown.splitlines() if line.startswith("| ")} == {10}
    assert r"\textless{}script\textgreater{}" in files["vilt.tex"].decode()
    assert r"\end{table}" not in files["vilt.tex"].decode()
    assert next(csv.DictReader(io.StringIO(files["vilt.csv"].decode())))["title"] == evil


def test_titles_with_commas_are_told_apart_and_names_in_code_look_like_code() -> None:
    """Markdown's own reading of the line, not its source."""
    reason = "what answers is `linear_probe` | `"
    refused = [record(cell(name, "easy-vqa", s), None, status="n/a", reason=why, title=title) for s in range(2)
               for name, title, why in (("a", "DVP, adapters", reason), ("b", "DVP", reason), ("c", "Last", "no [place]"))]  # fmt: skip
    board = collect([*board_records({"lora": {"easy-vqa": [80.0, 81.0]}}), *refused], COSTS)
    files = {name: content.decode() for name, content in render(board).items() if name.startswith("vilt.") or name == "index.html"}
    lines = re.findall("<p>(Not applicable.*?)</p>", MarkdownIt().render(files["vilt.md"]))
    assert lines == ["Not applicable: DVP, adapters; DVP. Reason: what answers is <code>linear_probe</code> | `.",
                     "Not applicable: Last. Reason: no [place]."]  # fmt: skip
    assert all(line in files[name] for line in lines for name in ("index.html", "vilt.html"))
    assert r"Not applicable: DVP, adapters; DVP. Reason: what answers is \texttt{linear\_probe}" in files["vilt.tex"]
    out = io.StringIO()
    print_board(board, Console(file=out, width=120))
    assert "Not applicable: DVP, adapters; DVP. Reason: what answers is `linear_probe` | `." in out.getvalue()


def test_two_renders_have_identical_bytes_whatever_the_order_of_the_records(board: Board) -> None:
    again = collect(holes()[::-1], COSTS[::-1], grid=grid_with("das"))
    assert again == board
    assert render(Board.model_validate_json(board.model_dump_json())) == render(again)


def test_files_and_metrics(board: Board, tmp_path: Path) -> None:
    names = {path.name for path in write(board, tmp_path)}
    plots = {f"vilt-{kind}.{ending}" for kind in ("macs", "params") for ending in ("png", "svg")}
    assert names == plots | {"vilt.md", "vilt.tex", "vilt.csv", "vilt.html", "index.html", "claims.csv", "metrics.json",
                             *(f"{e.name}.md" for e in EXPERIMENTS),
                             *(f"{name}.{ending}" for name in ("apt-main", "das-main") for ending in ("tex", "csv"))}  # fmt: skip
    assert b"<dc:date>" not in (tmp_path / "vilt-macs.svg").read_bytes()
    found = json.loads((tmp_path / "metrics.json").read_text())
    assert found == metrics(board)
    assert found["vilt"]["full"] == {"easy-vqa": 81.0, "world-vqa": 91.0, "average": 86.0, "trainable": 900_000.0, "extra_macs": 0.0}
    assert "das" not in found["vilt"]


def test_the_page_needs_no_network(board: Board) -> None:
    page = render(board)["index.html"].decode()
    loaded = re.findall(r'(?:src|href)="([^"#]*)"', page)
    assert loaded
    assert not [link for link in loaded if "//" in link]
    assert "<script" not in page
    ids = re.findall(r'\sid="([^"]+)"', page)
    assert len(ids) == len(set(ids))


def test_the_terminal_fits(board: Board) -> None:
    for width in (80, 100, 120):
        out = io.StringIO()
        print_board(board, Console(file=out, width=width, force_terminal=True, color_system=None))
        lines = out.getvalue().splitlines()
        assert max(map(len, lines)) <= width
        assert any(line.startswith("Full") and "86.0" in line for line in lines)
    assert "\x1b" not in out.getvalue()


def test_plots_leave_out_what_has_no_average_and_say_so(board: Board) -> None:
    shown, absent = points(board.sections[0].rows, "extra_macs")
    assert [(p.title, p.cost) for p in shown] == [("Full", 0), ("Head", 0), ("Lora", -332_000)]
    assert absent == ["Apt (no average: does not apply to world-vqa)", "das (no average without easy-vqa, world-vqa)"]


@pytest.mark.parametrize(
    ("floors", "wanted"),
    [
        ({"blind": 52.0, "majority": 52.0}, {"without the image 52.0, always the majority 52.0": 52.0}),
        ({"blind": 52.0, "majority": 53.5}, {"always the majority 53.5, without the image 52.0": 53.5}),
        ({"blind": 60.0, "majority": 52.0}, {"without the image 60.0": 60.0, "always the majority 52.0": 52.0}),
        ({"blind": 52.0, "majority": 9.0}, {"without the image 52.0": 52.0, "floors below: always the majority 9.0": 0}),
    ],
)
def test_labels_of_floors_do_not_cover_each_other(floors: dict[str, float], wanted: dict[str, float]) -> None:
    axes = Figure().add_subplot()
    near = {name: value for name, value in floors.items() if value > 40}
    _floors(axes, floors, near, 2.0)
    assert {text.get_text(): text.xy[1] for text in axes.texts} == wanted
    assert sorted(line.get_ydata()[0] for line in axes.lines) == sorted(near.values())


def test_one_task_has_no_average_beside_it() -> None:
    one, two = (collect(board_records({"lora": dict.fromkeys(tasks, [80.0, 81.0])})).sections[0] for tasks in (["a"], ["a", "b"]))
    assert _measured(one) == "a, accuracy, %" and _measured(two) == "Average of 2 tasks, %"
    alone, both = build(one, "mini"), build(two, "mini")
    assert [head.title for head in both.heads[6:]] == ["a", "b", "Average"] and "Average" in both.legend
    assert [head.title for head in alone.heads[6:]] == ["a"] and "Average" not in alone.legend
    assert all(len(row) == len(alone.heads) for row in (*alone.rows, *alone.blocks[0].floors)) and alone.blocks[0].floors
    assert "Recall" not in both.legend


def test_flags_that_differ_in_the_task_alone_are_one(board: Board) -> None:
    section = board.sections[0]
    found = {doubt[:3]: doubt.text for doubt in doubts(section) if doubt.kind in ("failed", "missing")}
    assert found == {("missing", "das", "easy-vqa, world-vqa"): "missing: not run yet",
                     ("failed", "Lora", "easy-vqa"): "seed 1 failed: loss is nan"}  # fmt: skip
    assert sum(doubt.tasks.count(",") + 1 for doubt in doubts(section)) == len(section.flags)
    page = render(board)["index.html"].decode()
    assert '<td class="tight">das</td><td>easy-vqa, world-vqa</td><td>missing: not run yet</td>' in page


def test_the_front_is_a_stair_through_zero_and_negative_costs() -> None:
    class Axes:
        @staticmethod
        def get_xlim() -> tuple[float, float]:
            return -10, 10

    shown = [Point("das", -5, 70, 1), Point("head", 0, 50, 1), Point("full", 0, 80, None), Point("prompts", 8, 75, 1)]
    assert _front(Axes(), shown) == [(-5, 70), (0, 70), (0, 80), (10, 80)]


@pytest.mark.parametrize("only", [[], ["full"], ["full", "head"]])
def test_plots_of_few_or_no_points(only: list[str]) -> None:
    records = board_records({m: VALUES[m] for m in only} or {"das": {"easy-vqa": [1.0]}})
    assert render(collect(records, COSTS if only else []))["vilt-params.png"].startswith(b"\x89PNG")


def test_labels_do_not_overlap() -> None:
    rng = np.random.default_rng(3)
    at = [(float(x), float(y)) for x, y in zip(rng.normal(500, 60, 12), rng.normal(300, 40, 12), strict=True)]
    scene = Scene(at, [Box(x - 8, y - 8, x + 8, y + 8) for x, y in at], Box(0, 0, 1000, 600))
    boxes = place(scene, [(90.0, 14.0)] * 12)
    assert all(a.overlap(b) == 0 for a, b in combinations(boxes, 2))
    assert max(box.overlap(marker) for box in boxes for marker in scene.obstacles) < 0.1 * 16**2
    assert boxes == place(scene, [(90.0, 14.0)] * 12)


def test_units() -> None:
    assert unit([912_000, 9_216, 14_000, 0]) == (1e3, "K")
    assert unit([115e6, 80e3, 150e3, 2e6]) == (1e6, "M")
    assert unit([]) == (1.0, "")
    assert [number(v) for v in (0, 9216, 9.216, 0.0841, -2.9)] == ["0", "9,216", "9.22", "0.084", "−2.90"]
    assert [scaled(v) for v in (9_216, 1_300_000, 10, 100_000)] == ["9.2 K", "1.3 M", "10.0", "100 K"]
