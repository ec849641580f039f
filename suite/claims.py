"""What papers claim, as data, and what the records say to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from suite.board import Claim, Column, TaskCosts
from suite.stats import Difference, Noise, Outcome, Runs, average, difference, outcome

LEVEL_MARGIN = 2.0
"""Points within which two methods count as level, unless the claim brings its own `margin`."""

COSTS = ("trainable", "trainable_all", "macs", "extra_macs")
KEYS = {"text", "metric", "better", "than", "relation", "factor", "task", "margin", "every", "source"}


def judge(
    claim: Mapping[str, Any],
    method: str,
    columns: list[Column],
    runs: Mapping[tuple[str, str], Runs],
    costs: Mapping[tuple[str, str], TaskCosts],
) -> Claim:
    """The verdict on `better relation factor * than`, for example {"metric": "extra_macs", "better": "apt", "relation": "<",
    "factor": 0.5, "than": "prompt_deep"}. runs and costs are by (method, task).

    Costs are exact: their means over the tasks are compared. Accuracy is compared through the 95 % interval of the difference
    averaged over tasks (paired by example, clustered by image, with the seed deviation of each column): see stats.outcome.
    "At least level" (`>=`) allows `margin` points (LEVEL_MARGIN). With `"every": true` each task has to hold on its own: one
    against it decides, and all are needed for it. With `task`, only that task counts. A claim over tasks of which some have no
    result is never reproduced. `source` says who claims it and how. A claim that makes no sense is "not run", with the reason; it
    never breaks a report.
    """
    said = {"method": method, "text": str(claim.get("text", "")), "source": str(claim.get("source", ""))}
    wrong = _mistake(claim, columns)
    if wrong:
        return Claim(**said, verdict="not run", detail=wrong)
    wanted = [c for c in columns if claim.get("task") in (None, c.task)]
    better, than = claim["better"], claim["than"]
    table: Mapping[tuple[str, str], Any] = costs if claim["metric"] in COSTS else runs
    there = [c for c in wanted if (better, c.task) in table and (than, c.task) in table]
    if not there:
        absent = sorted(m for m in {better, than} if not any((m, c.task) in table for c in wanted))
        return Claim(**said, verdict="not run", detail=f"no result of {' and '.join(absent) or 'both on one task'}")
    differences = {c.task: _differ(claim, c, table) for c in there}
    by_task = {task: _outcome(claim, d) for task, d in differences.items()}
    overall = average(list(differences.values()))
    verdict = _all(list(by_task.values())) if claim.get("every") else _outcome(claim, overall)
    missing = len(wanted) - len(there)
    if missing and verdict == "reproduced":
        verdict = "inconclusive"
    detail = _detail(claim, overall, table, there) + (f"; {missing} of {len(wanted)} tasks have no result" if missing else "")
    return Claim(**said, verdict=verdict, detail=detail, by_task=by_task)


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
    if claim.get("task") not in (None, *(c.task for c in columns)):
        return f"task {claim['task']} is not in this table"
    return None


def _differ(claim: Mapping[str, Any], column: Column, table: Mapping[tuple[str, str], Any]) -> Difference:
    a, b = table[claim["better"], column.task], table[claim["than"], column.task]
    factor = float(claim.get("factor", 1.0))
    if claim["metric"] in COSTS:
        return Difference(getattr(a, claim["metric"]) - factor * getattr(b, claim["metric"]), ((0.0, 1),))
    return difference(a, b, Noise(column.seed_sd, column.seed_df), factor)


def _outcome(claim: Mapping[str, Any], found: Difference) -> Outcome:
    margin = 0.0 if claim["metric"] in COSTS else float(claim.get("margin", LEVEL_MARGIN))
    return outcome(claim["relation"], *found.bounds(), margin)


def _all(verdicts: list[Outcome]) -> Outcome:
    against = [v for v in verdicts if v in ("higher", "lower")]
    if against:
        return against[0]
    return "reproduced" if all(v == "reproduced" for v in verdicts) else "inconclusive"


def _detail(claim: Mapping[str, Any], overall: Difference, table: Mapping[tuple[str, str], Any], there: list[Column]) -> str:
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
