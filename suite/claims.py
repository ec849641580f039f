"""What papers claim, as data, and what the records say to it."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any, NamedTuple

from suite.board import Claim, Column, TaskCosts
from suite.stats import Difference, Noise, Outcome, Runs, average, difference, outcome

LEVEL_MARGIN = 2.0
"""Points within which two methods count as level, unless the claim brings its own `margin`."""

Pair = tuple[str, str]
COSTS = ("trainable", "trainable_all", "macs", "extra_macs")
KEYS = {"text", "metric", "better", "than", "relation", "factor", "task", "margin", "every", "source", "control"}


class Evidence(NamedTuple):
    """What a claim is judged by. runs, costs, refused (does not apply): by (method, task); weights: what each task counts in a mean."""

    runs: Mapping[Pair, Runs]
    costs: Mapping[Pair, TaskCosts]
    refused: Set[Pair]
    weights: Mapping[str, int]


def judge(claim: Mapping[str, Any], method: str, columns: list[Column], found: Evidence) -> Claim:
    """The verdict on `better relation factor * than`, for example {"metric": "extra_macs", "better": "apt", "relation": "<",
    "factor": 0.5, "than": "prompt_deep"}, over the tasks of `columns`.

    Costs are exact: their means over the tasks are compared. Accuracy is compared through the 95 % interval of the difference
    averaged over tasks (paired by example, clustered by image, with the seed deviation of each column): see stats.outcome.
    "At least level" (`>=`) allows `margin` points (LEVEL_MARGIN). With `"every": true` each task has to hold on its own: one
    against it decides, and all are needed for it. With `task`, only that task counts. A claim over tasks of which some have no
    result is never reproduced; tasks to which one of the two does not apply are left out. With `"control": true`, `than` is the
    control of a search (a plan drawn at random, the first layer), whose seeds may deviate more: see stats.difference.
    `source` says who claims it and how. A claim that makes no sense is "not run", with the reason; it never breaks a report.
    """
    said = {"method": method, "text": str(claim.get("text", "")), "source": str(claim.get("source", ""))}
    if wrong := _mistake(claim, columns):
        return Claim(**said, verdict="not run", detail=wrong)
    wanted, table = _applicable(claim, columns, found.refused), _table(claim, found)
    there = [c for c in wanted if all((m, c.task) in table for m in _both(claim))]
    if not there:
        return Claim(**said, verdict="not run", detail=_lack(claim, wanted, columns, table, found.refused))
    differences = {c.task: _differ(claim, c, table) for c in there}
    by_task = {task: _outcome(claim, d) for task, d in differences.items()}
    weights = None if claim["metric"] in COSTS else [found.weights[task] for task in differences]
    overall = average(list(differences.values()), weights)
    verdict = _all(list(by_task.values())) if claim.get("every") else _outcome(claim, overall)
    missing = len(wanted) - len(there)
    if missing and verdict == "reproduced":
        verdict = "inconclusive"
    detail = _detail(claim, overall, table, there) + (f"; {missing} of {len(wanted)} tasks have no result" if missing else "")
    return Claim(**said, verdict=verdict, detail=detail, by_task=by_task)


def overall(found: Mapping[str, Claim]) -> Claim:
    """One claim's verdicts by backbone as one: reproduced where it is on all of them; one against it decides."""
    verdicts = {backbone: claim.verdict for backbone, claim in found.items()}
    ran = any(verdict != "not run" for verdict in verdicts.values())
    detail = "; ".join(f"{backbone}: {claim.detail}" for backbone, claim in found.items())
    verdict = _all(list(verdicts.values())) if ran else "not run"
    return next(iter(found.values())).model_copy(update={"verdict": verdict, "detail": detail, "by_task": verdicts})


def _both(claim: Mapping[str, Any]) -> tuple[str, str]:
    return claim["better"], claim["than"]


def _table(claim: Mapping[str, Any], found: Evidence) -> Mapping[Pair, Any]:
    return found.costs if claim["metric"] in COSTS else found.runs


def _applicable(claim: Mapping[str, Any], columns: list[Column], refused: Set[Pair]) -> list[Column]:
    asked = [c for c in columns if claim.get("task") in (None, c.task)]
    return [c for c in asked if not any((m, c.task) in refused for m in _both(claim))]


def _lack(claim: Mapping[str, Any], wanted: list[Column], columns: list[Column], table: Mapping[Pair, Any], refused: Set[Pair]) -> str:
    """Why there is nothing to compare."""
    methods = sorted(set(_both(claim)))
    if not wanted:
        return f"{' and '.join(m for m in methods if any((m, c.task) in refused for c in columns))} does not apply here"
    absent = [m for m in methods if not any((m, c.task) in table for c in wanted)]
    return f"no result of {' and '.join(absent) or 'both on one task'}"


def _mistake(claim: Mapping[str, Any], columns: list[Column]) -> str | None:
    absent = [key for key in ("text", "metric", "better", "than", "relation") if not isinstance(claim.get(key), str)]
    if absent:
        return f"the claim lacks {', '.join(absent)}"
    if unknown := sorted(map(str, set(claim) - KEYS)):
        return f"the claim has unknown fields: {', '.join(unknown)}"
    if claim["metric"] not in ("accuracy", *COSTS):
        return f"the claim's metric {claim['metric']!r} is not known"
    if claim["relation"] not in (">", ">=", "<", "<="):
        return f"the claim's relation {claim['relation']!r} is not known"
    if any(not isinstance(claim.get(key, 1.0), int | float) for key in ("factor", "margin")):
        return "the claim's factor and margin have to be numbers"
    if any(claim.get(key) not in (None, True, False) for key in ("every", "control")):
        return "the claim's every and control have to be true or false"
    if claim.get("task") not in (None, *(c.task for c in columns)):
        return f"task {claim['task']} is not in this table"
    return None


def _differ(claim: Mapping[str, Any], column: Column, table: Mapping[Pair, Any]) -> Difference:
    a, b = table[claim["better"], column.task], table[claim["than"], column.task]
    factor = float(claim.get("factor", 1.0))
    if claim["metric"] in COSTS:
        return Difference(getattr(a, claim["metric"]) - factor * getattr(b, claim["metric"]), ((0.0, 1),))
    return difference(a, b, Noise(column.seed_sd, column.seed_df), factor, bool(claim.get("control")))


def _outcome(claim: Mapping[str, Any], found: Difference) -> Outcome:
    margin = 0.0 if claim["metric"] in COSTS else float(claim.get("margin", LEVEL_MARGIN))
    return outcome(claim["relation"], *found.bounds(), margin)


def _all(verdicts: list[Outcome]) -> Outcome:
    against = [v for v in verdicts if v in ("higher", "lower")]
    if against:
        return against[0]
    return "reproduced" if all(v == "reproduced" for v in verdicts) else "inconclusive"


def _detail(claim: Mapping[str, Any], overall: Difference, table: Mapping[Pair, Any], there: list[Column]) -> str:
    """What was measured, in words: both values and, for accuracy, the interval of their difference."""
    if claim["metric"] in COSTS:
        a, b = (sum(getattr(table[m, c.task], claim["metric"]) for c in there) / len(there) for m in (claim["better"], claim["than"]))
        ratio = f" ({a / b:.2f} times)" if b > 0 else ""
        return f"{a:,.0f} against {b:,.0f}{ratio}"
    if not overall.parts:
        return f"difference {overall.points:+.1f} points, its noise unknown".replace("-", "\N{MINUS SIGN}")
    low, high = overall.bounds()
    words = f"difference {overall.points:+.1f} points, 95 % interval {low:+.1f} to {high:+.1f}"
    return words.replace("-", "\N{MINUS SIGN}")
