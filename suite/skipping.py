"""What DAS puts into layers that stay, and in the place of those that go; papers.md sections 3.1, 3.2 and 3.4."""

from __future__ import annotations

from suite.core import Site
from suite.modules import Bottleneck, ParallelBottleneck, SkipBottleneck, bottleneck_size
from suite.router import WIDTH, Router, RouterAdapter, routed


def inside(layer: Site) -> list[Site]:
    """The sub-layers of a layer that are adapted: all, of LaVIN self-attention."""
    kinds = ("self",) if routed(layer.backbone) else ("self", "cross", "ffn")
    return [s for s in layer.backbone.sites(*kinds) if (s.stream, s.depth) == (layer.stream, layer.depth)]


def sizes(layer: Site, kept: int | None, skip: int | None) -> tuple[int, int]:
    """Inner widths of a layer's adapters and of what replaces it: what was asked, else the sum of the widths that it replaces, of LaVIN's
    adapters four times theirs."""
    if routed(layer.backbone):
        inner = kept or WIDTH
        return inner, skip or 4 * inner
    inner = bottleneck_size(kept, layer)
    return inner, skip or inner * len(inside(layer))


def adapt(site: Site, inner: int) -> None:
    """The adapter of a sub-layer that stays."""
    if routed(site.backbone):
        site.attach("input", RouterAdapter(site.width, inner))
    elif site.kind == "ffn" and site.norm == "after":
        site.attach("after_norm", ParallelBottleneck(site.width, inner))
    else:
        site.attach("around", Bottleneck(site.width, inner))


def replace(layer: Site, inner: int) -> None:
    """The adapter in the place of a layer."""
    if routed(layer.backbone):
        layer.attach("skip", Router(layer.width, inner))
    else:
        layer.attach("replace", SkipBottleneck(layer.width, inner))
