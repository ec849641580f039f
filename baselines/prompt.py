"""Shallow and deep prompts as the APT repository's baselines have them; papers.md section 5, golden README section 5."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from suite.core import Backbone, Method, Plan
from suite.modules import InsertedPrompt, Prompt, prompt_length


@dataclass
class ShallowPrompt(Method):
    """One set of tokens before the first layer that stays to the end: behind a fused sequence, in front of each of two streams and of a
    decoder's, whose texts end with what is read.

    In front, METER's poolers read the first prompt and not the class token, as in the official code.
    length: tokens (None: see prompt_length).
    """

    name: ClassVar[str] = "prompt_shallow"
    title: ClassVar[str] = "Shallow prompt"
    source: ClassVar[str] = "papers.md section 5"
    length: int | None = None

    def attach(self, backbone: Backbone, plan: Plan | None = None) -> None:
        sites = backbone.sites("sequence")
        self.resolve(length=[prompt_length(self.length, site) for site in sites])
        for site in sites:
            front = backbone.decoder_only or site.stream != "fused"
            site.attach("insert.0", InsertedPrompt(prompt_length(self.length, site), site.width, front))

    def not_applicable(self, backbone: Backbone, task: str) -> str | None:
        if not backbone.sites("sequence"):
            return "there is no sequence of tokens that a prompt could join"
        return super().not_applicable(backbone, task)


@dataclass
class DeepPrompt(Method):
    """Tokens of its own in every layer, seen as keys and values only.

    Single-stream layers show them to self-attention, two-stream layers to cross-attention only, as the official code does
    (the published size of METER, 3.68M, would need them in both; papers.md section 6). length: as above.
    """

    name: ClassVar[str] = "prompt_deep"
    title: ClassVar[str] = "Deep prompt"
    source: ClassVar[str] = "papers.md section 5"
    length: int | None = None

    def attach(self, backbone: Backbone, plan: Plan | None = None) -> None:
        sites = backbone.sites("cross") or backbone.sites("self")
        self.resolve(length=[prompt_length(self.length, site) for site in sites])
        for site in sites:
            site.attach("key_value", Prompt(prompt_length(self.length, site), site.width))

    def not_applicable(self, backbone: Backbone, task: str) -> str | None:
        attentions = backbone.sites("cross") or backbone.sites("self")
        if not all("key_value" in site.target.positions for site in attentions):
            return "cross-attention reads text states, which are of another width than its site"
        return super().not_applicable(backbone, task)
