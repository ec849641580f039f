"""What was tried for published cost figures that no convention gives, and what abstracts compare; papers.md sections 6 and 7."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from suite import macs
from suite.conventions import PRODUCTS
from suite.core import Backbone, Method, Plan
from suite.counts import Counts, bare, beside, built, trained, whole
from suite.modules import Prompt, prompt_length
from suite.plugins import discover
from suite.report.reported import Figure

WIDE = 102
"""The bottleneck width that METER's published number of parameters of Scaled PA asks for."""
FOUR = ((0, 4), (1, 3), (2, 2), (3, 1), (4, 0))
"""Text and image layers of METER that DAS may skip when it skips four."""
LANGUAGE = {"bert": ("dvp", "visual_prompt"), "t5": ("dvp", "visual_prompt"), "llama": ("dvp_adapter", "visual_prompt_adapter")}


@dataclass
class Everywhere(Method):
    """Deep prompts of their own in every attention, where the official code has them in METER's cross-attention only."""

    name: ClassVar[str] = "prompts_everywhere"
    title: ClassVar[str] = "Deep prompts in every attention"

    def attach(self, backbone: Backbone, plan: Plan | None = None) -> None:
        for site in backbone.sites("self", "cross"):
            site.attach("key_value", Prompt(prompt_length(None, site), site.width))


def of(figure: Figure) -> Counts:
    """Counts of variants, for a figure that no convention gives; none where there is nothing to vary."""
    wanted = figure.backbone, figure.method, figure.metric
    if wanted == ("METER", "Scaled PA", "updated parameters"):
        return {f"bottleneck width {WIDE}": _own(discover().get("parallel_adapter")(bottleneck=WIDE))}
    if wanted == ("METER", "Deep Prompt", "updated parameters"):
        return {"prompts of their own in self- and in cross-attention": _own(Everywhere())}
    if wanted == ("METER", "Deep Prompt", "additional FLOPs"):
        return _deep()
    if wanted == ("METER", "Full Tuning", "updated parameters"):
        return _larger()
    return {}


def _own(method: Method) -> int:
    return sum(p.numel() for p in method.trainable(built(method, "meter").backbone))


def _larger() -> Counts:
    """METER is pre-trained on pictures of 288 pixels; a table of positions for those of 384 has more rows."""
    backbone = built(Everywhere(), "meter").backbone
    _, height, width = backbone.papers_input()
    vision = backbone.model.vit_model
    patch, there = vision.config.patch_size, vision.embeddings.position_embedding.weight
    more = (1 + height // patch * (width // patch) - len(there)) * there.shape[1]
    return {f"{name}, with positions for 384 pixels": count + more for name, count in trained("full", "meter").items()}


def _deep() -> Counts:
    """Prompts in every attention; and, in self-attention, as whole tokens, which ask and answer too and are then thrown away."""
    cross = beside(discover().get("prompt_deep")(), "meter")
    tokens = sum(macs.attention(*[site.length + prompt_length(None, site)] * 2, site.width)
                 - macs.attention(site.length, site.length, site.width) for site in built(Everywhere(), "meter").backbone.sites("self"))
    found = {f"in self- and cross-attention, {name}": count for name, count in beside(Everywhere(), "meter").items()}
    return found | {f"whole tokens in self-attention, {name}": tokens + count for name, count in cross.items()}


def of_abstract(figure: Figure, figures: Sequence[Figure]) -> Counts | None:
    """What an abstract's figure may compare, by convention; None for figures of other kinds."""
    kind = figure.paper, figure.unit, "FLOPs" in figure.metric
    if kind == ("APT", "points", False):
        return _gains(figures)
    if figure.paper == "APT":
        return _prompts(figures)
    if kind == ("DAS", "%", True):
        return _skipping()
    return _visual() if kind == ("DVP", "%", True) else None


def _gains(figures: Sequence[Figure]) -> Counts:
    """How much higher APT's published figures are than deep prompts', on METER."""
    rows = [f for f in figures if (f.paper, f.table, f.backbone) == ("APT", "main comparison", "METER")]
    table = {(f.method, f"{f.task}, {f.metric}"): f.number for f in rows if f.task != "all"}
    columns = [column for method, column in table if method == "APT" and ("Deep Prompt", column) in table]
    return {f"published {column}": table["APT", column] - table["Deep Prompt", column] for column in columns}


def _prompts(figures: Sequence[Figure]) -> Counts:
    """APT's additional computation against deep prompts', on METER, in percent."""
    published = {f.method: f.number for f in figures if (f.backbone, f.metric) == ("METER", "additional FLOPs")}
    ratio = _percent(published["APT"], published["Deep Prompt"]) if {"APT", "Deep Prompt"} <= published.keys() else None
    apt, deep = (beside(discover().get(name)(), "meter") for name in ("apt", "prompt_deep"))
    counted = {f"counted, prompts {name}": _percent(apt[PRODUCTS], count) for name, count in deep.items()}
    return ({} if ratio is None else {"of the published additional FLOPs": ratio}) | counted


def _skipping() -> Counts:
    """DAS on METER against METER with its head, in percent: two layers of each stream by every convention, others by matrix products."""
    found = {}
    for text, image in FOUR:
        skipped = whole(built(discover().get("das")(), "meter", _plan(text, image)))
        terms = bare("meter") if text == image else [PRODUCTS]
        for term in terms:
            more = 0 if term == PRODUCTS else 1
            ours, without = (count[PRODUCTS] + more * count[term] for count in (skipped, bare("meter")))
            found[f"{text} text and {image} image layers skipped, {'with ' * more}{term}"] = _percent(ours, without)
    return found


def _plan(text: int, image: int) -> Plan:
    layers = built(Everywhere(), "meter").backbone.sites("layer")
    left, skipped = {"text": text, "image": image}, []
    for index, layer in enumerate(layers):
        if left[layer.stream]:
            skipped.append(index)
            left[layer.stream] -= 1
    return {"skipped": skipped}


def _visual() -> Counts:
    """DVP against all visual tokens, in percent, with the image tower and without it."""
    found = {}
    for backbone, names in LANGUAGE.items():
        models = [built(discover().get(name)(), backbone, {"layer": 0} if name.startswith("dvp") else None) for name in names]
        ours, all_tokens = (whole(model)[PRODUCTS] for model in models)
        tower = _tower(models[0].backbone)
        found[f"{backbone}, with the image tower"] = _percent(ours, all_tokens)
        found[f"{backbone}, the language model alone"] = _percent(ours - tower, all_tokens - tower)
    return found


def _tower(backbone: Backbone) -> int:
    _, height, width = backbone.papers_input()
    pixels = next(backbone.model.parameters()).new_zeros(1, 3, height, width)
    return macs.counted(lambda: backbone.vision.image_states(pixels))


def _percent(ours: float, theirs: float) -> float:
    return 100 * (ours / theirs - 1)
