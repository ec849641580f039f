"""Parameters and MACs at the papers' sizes, on the meta device, by convention (suite/conventions.py)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from suite import tasks
from suite.assemble import Trainee, assemble
from suite.conventions import PRODUCTS, TERMS, counted
from suite.core import Method, Plan
from suite.cost import Bare, example, parameters, rows
from suite.plugins import discover
from suite.tasks.base import classifier

OWN, MERGED, TRUNK = "the method's own", "folded into the weights", "without a head"
WITH_SHARED = "with what LaVIN always trains: projection, modality"
HEADS = {"VQA2.0": (1, 3129), "NLVR2": (2, 2)}
"""Read-outs side by side, and classes, of the fusion models' heads (papers.md section 1)."""
TASK = {"lavin": "scienceqa"}
"""Whose head is counted with; VQA2.0's by default. It is in both that are compared."""

Counts = dict[str, float]
"""Convention or variant -> count in base units: parameters, MACs, percent, points."""


def trained(name: str, backbone: str, plan: Plan | None = None) -> Counts:
    """Trained parameters: the method's own; of full tuning those of the model, without a head and with those of the papers."""
    model = built(discover().get(name)(), backbone, plan)
    own = parameters(model)["trainable"]
    if name == "full":
        return _trunk(model)
    shared = sum(p.numel() for p in model.backbone.always_trained())
    return {OWN: own} | ({WITH_SHARED: own + shared} if backbone == "lavin" else {})


def _trunk(model: Trainee) -> Counts:
    trunk = sum(p.numel() for name, p in model.trained().items() if not name.startswith("head."))
    heads = {f"with the head for {dataset}": classifier(count * model.backbone.width, model.backbone.head_width, classes)
             for dataset, (count, classes) in HEADS.items()}  # fmt: skip
    return {TRUNK: trunk} | {name: trunk + sum(p.numel() for p in head.parameters()) for name, head in heads.items()}


def extra(name: str, backbone: str) -> Counts:
    """Extra MACs by convention, against the backbone with its head; of a method that can be folded into the weights, those too."""
    method = discover().get(name)()
    counts = beside(method, backbone)
    model = built(method, backbone)
    if method.merge(model.backbone):
        counts[MERGED] = whole(model)[PRODUCTS] - bare(backbone)[PRODUCTS]
    return counts


def beside(method: Method, backbone: str, plan: Plan | None = None) -> Counts:
    """What a method adds, by convention: the matrix products, and these with one kind of term more where there are such."""
    ours, without = whole(built(method, backbone, plan)), bare(backbone)
    more = {name: ours[name] - without[name] for name in ours}
    return {PRODUCTS: more[PRODUCTS]} | {f"with {term}": more[PRODUCTS] + more[term] for term in TERMS if more[term]}


@cache
def bare(backbone: str) -> Mapping[str, int]:
    """`whole` of the backbone with its head only."""
    return whole(built(Bare(), backbone))


def built(method: Method, backbone: str, plan: Plan | None = None) -> Trainee:
    """At the papers' size on the meta device."""
    task = tasks.load(TASK.get(backbone, "vqa2"))
    return assemble(method, backbone, task, 0, preset="paper", plan=plan, pretrained=False, device="meta").eval()


def whole(model: Trainee) -> dict[str, int]:
    """Matrix products and TERMS of one example at the papers' lengths."""
    one = rows(example(model.task, model.backbone.papers_input()), 1)
    return counted(lambda: model.predict(one), model.backbone)
