"""From records to board: flags, claims, bold, costs by plan, bad input."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from records import COSTS, VALUES, board_records, cell, cost, examples, generated, grid_with, holes, record

from suite.collect import SHOWN, collect, samples
from suite.errors import UserError
from suite.record import Record


def flags_of(records: list[Record]) -> set[tuple[str, str, str | None]]:
    return {(f.kind, f.method, f.task) for f in collect(records, COSTS).sections[0].flags if f.kind not in ("examples", "costs")}


def test_flags() -> None:
    board = collect(holes(), COSTS, grid=grid_with("das"))
    head = {"easy-vqa": [50.0, 50.5], "world-vqa": [60.0, 61.0]}
    low = board_records({"apt": {"easy-vqa": [39.0, 39.5], "world-vqa": [70.0, 71.0]}, "head": head})
    assert flags_of(low) == {("below head", "apt", "easy-vqa"), ("below floor", "apt", "easy-vqa")}
    twins = board_records({"gps": {"easy-vqa": [70.0]}, "last": {"easy-vqa": [70.0]}}, signature="same")
    assert flags_of(twins) == {("duplicate", "gps", None)}
    assert flags_of(board_records({"a": {"easy-vqa": [70.0]}}, flags=["loss spiked"])) == {("recorded", "a", "easy-vqa")}
    kinds = {(f.kind, f.method, f.task) for f in board.sections[0].flags}
    assert {("failed", "lora", "easy-vqa"), ("missing", "das", "world-vqa"), ("costs", "apt", None)} <= kinds
    assert [found[1:3] for found in board.incomplete()][0] == ("lora", "easy-vqa")


def claimed(**claim: Any) -> Any:
    given = {"text": "t", "metric": "accuracy", "better": "full", "than": "head", "relation": ">"} | claim
    return collect(board_records(VALUES, claims=[given]), COSTS, grid=grid_with()).sections[0].claims[0]


@pytest.mark.parametrize(
    ("claim", "verdict"),
    [
        ({}, "reproduced"), ({"task": "easy-vqa"}, "reproduced"), ({"every": True}, "reproduced"), ({"relation": "<"}, "higher"),
        ({"better": "head", "than": "full"}, "lower"), ({"better": "lora", "than": "full"}, "lower"),
        ({"better": "lora", "than": "full", "relation": ">=", "task": "easy-vqa", "margin": 3}, "reproduced"),
        ({"better": "lora", "than": "full", "relation": ">=", "task": "easy-vqa", "margin": 0.5}, "inconclusive"),
        ({"better": "lora", "than": "full", "factor": 0.5}, "reproduced"),
        ({"metric": "extra_macs", "better": "lora", "relation": "<"}, "reproduced"),
        ({"metric": "trainable", "better": "full", "than": "lora", "relation": "<", "factor": 0.5}, "higher"),
        ({"metric": "macs", "better": "head", "than": "full", "relation": ">="}, "reproduced"),
        ({"than": "apt"}, "not run"), ({"metric": "beauty"}, "not run"), ({"relation": "~"}, "not run"), ({"surprise": 1}, "not run"),
        ({"task": "vqa"}, "not run"), ({"factor": "half"}, "not run"), ({"better": None}, "not run"),
    ],
)  # fmt: skip
def test_verdicts(claim: dict[str, Any], verdict: str) -> None:
    found = claimed(**claim, source="the abstract")
    assert found.source == "the abstract"
    assert found.verdict == verdict, found.detail
    assert found.detail


def test_a_claim_over_tasks_with_holes_is_never_reproduced() -> None:
    claim = {"text": "t", "metric": "accuracy", "better": "full", "than": "head", "relation": ">"}
    records = [r for r in board_records(VALUES, claims=[claim]) if (r.cell.method, r.cell.task) != ("full", "easy-vqa")]
    found = collect(records, COSTS, grid=grid_with()).sections[0].claims[0]
    assert found.verdict == "inconclusive"
    assert "1 of 2 tasks have no result" in found.detail


def test_bold_follows_the_paired_test() -> None:
    """Half a point apart: told apart where all examples but a few agree, not where they are independent."""
    rng = np.random.default_rng(0)
    base = examples(rng, 0.6, 300, 2)
    wrong = np.flatnonzero(~base["correct"])
    better = base | {"correct": base["correct"].copy()}
    better["correct"][wrong[:20]] = True
    other = examples(rng, better["correct"].mean() - 0.02, 300, 2)
    arrays = {"best": better, "close": base, "other": other}
    records = [record(cell(name), 100 * a["correct"].mean(), key=name) for name, a in arrays.items()]
    cells = {row.method: row.cells["easy-vqa"] for row in collect(records, examples=arrays).sections[0].rows}
    assert cells["best"].tied
    assert not cells["close"].tied
    assert cells["other"].tied == (cells["other"].p >= 0.05)


def test_bad_input_is_a_user_error() -> None:
    with pytest.raises(UserError, match="nothing to report"):
        collect([])
    with pytest.raises(UserError, match="mixes profiles"):
        collect([record(cell("a"), 1.0), record(cell("a", profile="smoke"), 1.0)])
    with pytest.raises(UserError, match="two records"):
        collect([record(cell("a"), 1.0), record(cell("a"), 2.0, key="other")])
    rng = np.random.default_rng(0)
    records = [record(cell("a"), 1.0, key="a"), record(cell("b"), 1.0, key="b")]
    with pytest.raises(UserError, match="different examples"):
        collect(records, examples={"a": examples(rng, 0.5, 10), "b": examples(rng, 0.5, 11)})


def test_costs_follow_the_plans_of_the_seeds() -> None:
    plans = [{"skip": [0]}, {"skip": [1]}]
    records = [record(cell("das", seed=s), 70.0, plan=plans[s > 0]) for s in range(3)]
    costs = [cost("das", extra=e, trainable=7, plan=p) for e, p in ((-30, plans[0]), (-60, plans[1]), (999, {"skip": [2]}))]
    assert collect(records, costs).sections[0].rows[0].costs.extra_macs == -50


def test_a_control_may_be_bad_and_the_same_as_what_it_controls() -> None:
    claim = {"text": "t", "metric": "accuracy", "better": "das", "than": "das_random", "relation": ">", "control": True}
    values = {"das": {"easy-vqa": [70.0, 71.0]}, "das_random": {"easy-vqa": [30.0, 31.0]}, "head": {"easy-vqa": [50.0, 51.0]}}
    records = [r if r.cell.method == "head" else r.model_copy(update={"signature": "same"}) for r in board_records(values)]
    assert {kind for kind, _, _ in flags_of(records)} == {"below head", "below floor", "duplicate"}
    assert flags_of([r.model_copy(update={"claims": [claim]}) if r.cell.method == "das" else r for r in records]) == set()


def test_a_method_that_applies_nowhere_has_no_row_but_a_reason() -> None:
    refused = [record(cell("apt", t, s), None, status="n/a", reason="no place for it") for t in VALUES["full"] for s in range(3)]
    section = collect([*board_records(VALUES), *refused], COSTS, grid=grid_with()).sections[0]
    assert [row.method for row in section.rows] == ["full", "lora", "head"]
    assert [(r.title, r.reason) for r in section.not_applicable] == [("Apt", "no place for it")]
    assert {flag.kind for flag in section.flags} == {"examples"}, "that it does not apply is no hole"


def test_a_grid_of_samples_has_each_methods_first_seed_and_the_first_prompt_of_each_cluster() -> None:
    records = board_records({"lora": {"subject": [70.0, 71.0]}, "apt": {"subject": [80.0, 81.0]}, "head": {"subject": [50.0]}})
    colours = {"lora": (200, 60, 90), "apt": (90, 250, 60)}
    kept = {r.key: generated([c - r.cell.seed for c in colours[r.cell.method]]) for r in records if r.cell.method in colours}
    ((name, shown),) = samples(collect(records), records[::-1], kept).items()
    assert name == "vilt-subject-samples" and shown["titles"].tolist() == ["Apt", "Lora"], "the best first"
    assert shown["prompts"].tolist() == list("vxz") and (shown["learned"] == 77).all()
    wanted = [[[c - 10 * k for c in colours[m]] for k in (0, 2, 4)] for m in ("apt", "lora")]
    assert shown["samples"][:, :, 5, 5].tolist() == wanted
    del kept[next(r.key for r in records if r.cell.method == "apt" and r.cell.seed == 0)]
    assert samples(collect(records), records, kept)[name]["samples"][0, 0, 0, 0].tolist() == [89, 249, 59], "the first that there is"
    assert samples(collect(records), records, {key: examples(np.random.default_rng(0), 0.5, 5) for key in kept}) == {}


def test_a_grid_of_samples_has_an_end_and_one_set_of_prompts() -> None:
    records = board_records({"lora": {"subject": [70.0]}, "apt": {"subject": [80.0]}})
    board, kept = collect(records), {r.key: generated() for r in records}
    many = {key: {n: np.repeat(part, 3, 0) for n, part in arrays.items()} | {"cluster": np.arange(15)} for key, arrays in kept.items()}
    assert samples(board, records, many)["vilt-subject-samples"]["samples"].shape[:2] == (2, SHOWN)
    with pytest.raises(UserError, match="vilt/subject: the records of .* and .* hold samples of different prompts"):
        samples(board, records, kept | {records[0].key: generated(prompts="vwxya")})
