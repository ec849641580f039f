"""Published cost figures against what is counted: every figure that papers.md section 6 explains is found, none is forced."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from suite import conventions
from suite.audit import Audit, audits
from suite.conventions import BIASES, NORMS, PRODUCTS, QUERIES, WEIGHTINGS
from suite.report.audited import audited
from suite.report.reported import Figure, read

ROOT = Path(__file__).parents[1]
FLOPS = {
    ("ViLT", "Deep Prompt"): f"with {QUERIES}", ("ViLT", "Scaled PA"): f"with {NORMS}", ("ViLT", "Adapter"): f"with {BIASES}",
    ("ViLT", "APT"): f"with {WEIGHTINGS}", ("METER", "Adapter"): PRODUCTS, ("METER", "Scaled PA"): f"with {NORMS}",
    ("METER", "APT"): f"with {WEIGHTINGS}", ("METER", "LoRA"): "folded into the weights",
}  # fmt: skip
OPEN = {("ViLT", "Full Tuning", "updated parameters"), ("METER", "Full Tuning", "updated parameters"),
        ("METER", "Deep Prompt", "updated parameters"), ("METER", "Deep Prompt", "additional FLOPs"),
        ("METER", "Scaled PA", "updated parameters"), ("METER", "APT", "accuracy gain over conventional prompt tuning"),
        ("PLM not named in the abstract", "DVP", "FLOPs change")}  # fmt: skip


@pytest.fixture(scope="module")
def found() -> list[Audit]:
    torch.set_num_threads(1)
    return audits(read().values())


def figure(value: str, unit: str) -> Figure:
    said = dict.fromkeys(("paper", "table", "backbone", "task", "split", "metric", "method", "source"), "x")
    return Figure(**said, value=value, unit=unit)


def test_a_count_has_the_published_digits_or_not() -> None:
    deep, gain = figure("5.14", "G"), figure("+7.01", "points")
    assert deep.given_by(5.1352e9) and not deep.given_by(5.1349e9) and figure("-11.97", "%").given_by(-11.969)
    assert gain.given_by(7.014) and not gain.given_by(-7.01)


def test_which_convention_gives_each_published_number_of_macs(found: list[Audit]) -> None:
    given = {(a.figure.backbone, a.figure.method): a.gives for a in found if a.figure.metric == "additional FLOPs"}
    assert {key: names for key, names in given.items() if key in FLOPS} == {key: [name] for key, name in FLOPS.items()}
    assert given["ViLT", "Full Tuning"] == given["METER", "Classifier Only"] == [PRODUCTS]


def test_published_parameters_come_out(found: list[Audit]) -> None:
    told = {(a.figure.backbone, a.figure.method): a for a in found if a.figure.metric == "updated parameters"}
    own = [key for key, audit in told.items() if audit.gives == ["the method's own"]]
    assert own == [("ViLT", name) for name in ("Deep Prompt", "LoRA", "Scaled PA", "Adapter", "APT")] + [
        ("METER", name) for name in ("LoRA", "Adapter", "APT")]  # fmt: skip
    lavin = {method: audit for (backbone, method), audit in told.items() if backbone.startswith("LaVIN")}
    assert list(lavin) == ["LaVIN-7B", "DAS2-7B", "DAS4-7B", "DAS6-7B"]
    assert all(len(audit.gives) == 1 and "always trains" in audit.gives[0] for audit in lavin.values())


def test_abstracts_and_what_nothing_gives(found: list[Audit]) -> None:
    assert {(a.figure.backbone, a.figure.method, a.figure.metric) for a in found if not a.gives} == OPEN
    given = {a.figure.value: a.gives for a in found if a.figure.table == "abstract"}
    assert given["-82.30"] == ["of the published additional FLOPs"]
    assert given["-11.97"] == [f"2 text and 2 image layers skipped, with {NORMS}"]
    deep = next(a for a in found if (a.figure.backbone, a.figure.value) == ("METER", "13.05"))
    values = [round(count / 1e9, 2) for count in (deep.counts | deep.tried).values()]
    assert {3.97, 5.38, 7.94, 10.77, 12.64} <= set(values) and 13.05 not in values, "papers.md section 6"


def test_the_page_has_every_figure_and_all_that_was_tried(found: list[Audit]) -> None:
    page = audited(found)
    table, _, below = page.partition("## What no convention gives")
    assert table.count("\n| ") == len(found) + 2 and table.count("**none**") == len(OPEN) == below.count("\n- **")
    assert "| ViLT | Deep Prompt | additional FLOPs | 5.14 G | 3.720 G | with queries of the prompts (5.135 G) |" in table
    assert "bottleneck width 102: 3.818 M" in below
    assert (ROOT / "docs/paper-costs.md").read_text() == page + "\n", "petlbench cost --published > docs/paper-costs.md"
    hostile = replace(found[0], figure=found[0].figure.model_copy(update={"method": "a|b\nc"}))
    assert "a|b" not in audited([hostile])


def test_terms_are_counted_as_they_run() -> None:
    with torch.device("meta"):
        norm, linear, plain = nn.LayerNorm(6), nn.Linear(6, 4), nn.Linear(6, 4, bias=False)
        x, own = torch.zeros(3, 5, 6), nn.Module()
    own.attached = nn.ModuleDict()

    def forward() -> None:
        linear(norm(x)) * plain(x) * 2.0 * torch.ones(1, device="meta")

    counts = conventions.counted(forward, own)
    assert counts == {PRODUCTS: 2 * 15 * 6 * 4, NORMS: 5 * 90, BIASES: 60, WEIGHTINGS: 60, QUERIES: 0}
