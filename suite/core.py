"""The nouns: sites, backbones, methods, tasks. Knows only a recipe and a view, which know nobody."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from suite.recipe import Recipe
from suite.view import View

Plan = dict[str, Any]  # what a search found, as plain JSON: DAS's skipped layers, DVP's placement
Kind = Literal["self", "cross", "ffn", "layer", "sequence"]


@dataclass(eq=False)
class Site:
    """A named place of a backbone where a method may act.

    kind: `self`, `cross` and `ffn` are sub-layers, `layer` is a whole layer, `sequence` the tokens of a stream.
    stream: `text`, `image` or `fused`. depth: index of the layer in its stream. norm: the layer normalises `before` or `after`.
    linears: role (`query`, `key`, `value`, `out`, `in`) -> name of the Linear below `backbone.model`, for libraries that replace it.
    length: tokens this site sees in the preset's usual input, for sizes that scale with the sequence.
    """

    name: str
    kind: Kind
    stream: str
    depth: int
    width: int
    norm: Literal["before", "after"]
    target: Any = field(repr=False)
    backbone: Backbone = field(repr=False)
    linears: dict[str, str] = field(default_factory=dict)
    length: int = 0

    def attach(self, position: str, module: nn.Module) -> nn.Module:
        """Put `module` at a position of this site (suite/layers.py) and register its parameters. Raises ValueError for another position."""
        self.target.tap(position, module)
        key = f"{self.name}/{position}/{len(self.backbone.attached)}".replace(".", "/")
        self.backbone.attached[key] = module
        return module


class Features(NamedTuple):
    """pooled: (B, D) read-out; tokens: (B, N, D) after the last norm; mask: (B, N), 1 = a token that is there."""

    pooled: Tensor
    tokens: Tensor
    mask: Tensor


@dataclass
class Batch:
    """input_ids, text_mask: (B, N) int64; pixels: (I, 3, H, W) float32 in [-1, 1]; image_index: (B,) the image of each text, -1 where
    it has none (None: one each, in order); image_type: the modality row of the image tokens (1; 2 for NLVR2's second image);
    picture_sizes: (I, 2) int64, height and width of each picture, which lies in the upper left corner (None: they fill `pixels`);
    image_tokens, text_tokens: what `Backbone.prefix` made of pictures (I, M, D) and texts (B, N, D), instead of computing it again;
    labels: what the task's loss wants; ids: (B,) int64, position of each example in its split."""

    input_ids: Tensor
    text_mask: Tensor
    pixels: Tensor | None
    image_index: Tensor | None = None
    image_type: int = 1
    image_tokens: Tensor | None = None
    text_tokens: Tensor | None = None
    picture_sizes: Tensor | None = None
    labels: Tensor | None = None
    ids: Tensor | None = None


@dataclass
class Prefix:
    """The part of a backbone that no site can change, so that its result may be stored and shared.

    parameters: what it reads; with any of them trained it must not be used. images: (I, 3, H, W) -> (I, M, D), texts: (ids, mask)
    (B, N) -> (B, N, D), rows independent of each other; None where there is no such part.
    """

    parameters: list[nn.Parameter]
    images: Callable[[Tensor], Tensor] | None = None
    texts: Callable[[Tensor, Tensor], Tensor] | None = None


class Backbone(nn.Module):
    """A pre-trained network that methods act on from outside. Subclasses live in suite/backbones, one file each.

    model: the library's module (weights and configuration, state-dict keys unchanged). attached: what methods put in.
    heads: pre-trained heads that a task may start from (`itm`: Linear(D, 2), row 1 = match; `mlm`).
    """

    name: ClassVar[str]
    presets: ClassVar[tuple[str, ...]] = ("mini", "paper")
    blind: ClassVar[bool] = False  # a language model, which sees nothing but by visual prompts
    decoder_only: ClassVar[bool] = False  # no encoder: a token sees those before it alone, and the last one is read
    view: ClassVar[View | None] = None  # of the preset `paper`: how it is given what people wrote and photographed
    tokenize: ClassVar[Callable[[list[str]], tuple[np.ndarray, np.ndarray]] | None] = None  # None: suite.data.text.tokenize

    def __init__(self, model: nn.Module, preset: str):
        super().__init__()
        self.model, self.preset = model, preset
        self.attached = nn.ModuleDict()
        self.heads = nn.ModuleDict()

    @classmethod
    def build(cls, preset: str, pretrained: bool = True, device: str = "cpu") -> Backbone:
        """The backbone at a preset's size; weights from the shipped file or the hub where `pretrained`, else random."""
        raise NotImplementedError

    @property
    def width(self) -> int:
        """D of `Features.pooled`."""
        raise NotImplementedError

    @property
    def head_width(self) -> int:
        """Inner width of the tasks' heads: twice that of the tokens (papers.md sections 1 and 4.2)."""
        raise NotImplementedError

    def papers_input(self) -> tuple[int, int, int] | None:
        """Text tokens, and height and width of the picture, that the papers count this preset on; None: a task's own examples."""
        return None

    def sites(self, *kinds: Kind) -> list[Site]:
        """The sites of these kinds, in the order of the forward."""
        raise NotImplementedError

    def forward(self, batch: Batch) -> Features:
        raise NotImplementedError

    def add_class_token(self) -> None:
        """Replace text token 0 by a trainable copy of its embedding (papers.md section 1, token4classifier), where there is one."""

    def always_trained(self) -> list[nn.Parameter]:
        """What every method trains besides its own: pooler, modality embeddings, class token (papers.md section 1)."""
        raise NotImplementedError

    def fusion_parameters(self) -> list[nn.Parameter]:
        """What `Recipe.fusion_multiplier` is for, methods' parameters included."""
        return []

    def prefix(self) -> Prefix | None:
        """What no site can change (None: nothing)."""
        return None


class Trial(Protocol):
    """What a search may use; owned by the training code. A choice is whatever the method's `choose` understands."""

    rng: np.random.Generator
    epochs: int
    steps_per_epoch: int
    official: bool
    """Rewards as in the papers' own code, from the validation split, instead of a held-out part of train with fresh batches."""
    trace: dict[str, Any]
    """What the search wants to be remembered, as plain JSON; stored in the record beside the plan, which holds what matters."""

    def train_step(self, choice: Any) -> float:
        """One optimiser step under `choice` on a fresh training batch; returns the loss."""

    def new_batch(self) -> None:
        """Draw a fresh reward batch from the part of train held out for the search."""

    def reward_loss(self, choice: Any) -> float:
        """Task loss of `choice` on the current reward batch, train mode, no gradient."""

    def reward_score(self, choice: Any) -> float:
        """Percent right of `choice` on the current reward batch, train mode, no gradient."""


@dataclass
class Method:
    """One PETL method: hyper-parameters are dataclass fields, `attach` is the method. One file each.

    Sizes that scale with the backbone are `None` by default and resolved in `attach`, which notes them by `resolve`.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    source: ClassVar[str] = ""
    group: ClassVar[str] = ""  # "": in the default grid; others, as `extras`, run where params.yaml names them
    trains_backbone: ClassVar[bool] = False
    readout: ClassVar[Literal["task", "linear"]] = "task"  # the task's own head or, where it knows one, a linear probe
    claims: ClassVar[tuple[dict[str, Any], ...]] = ()
    overrides: ClassVar[dict[tuple[str, str], dict[str, Any]]] = {}

    def class_token(self, backbone: Backbone) -> bool:
        """Does it train a copy of the class token (papers.md section 1, token4classifier), where the backbone can?"""
        return True

    def attach(self, backbone: Backbone, plan: Plan | None = None) -> None:
        """Put the method's modules at the backbone's sites. The backbone comes frozen; modules come trainable."""
        raise NotImplementedError

    def resolve(self, **sizes: Iterable[Any]) -> None:
        """For `attach`: what fields came to, at each site; kept as the one value, or as the list of different ones."""
        different = {name: list(dict.fromkeys(values)) for name, values in sizes.items()}
        self._sizes = {name: values[0] if len(values) == 1 else values for name, values in different.items()}

    def resolved(self) -> dict[str, Any]:
        """All fields as plain JSON, with what the last `attach` resolved. The fields themselves stay as they were asked for."""
        return dataclasses.asdict(self) | getattr(self, "_sizes", {})

    def not_applicable(self, backbone: Backbone, task: str) -> str | None:
        """The reason why this method makes no sense there, or None."""
        return "pictures reach this backbone through visual prompts alone" if backbone.blind else None

    def trainable(self, backbone: Backbone) -> list[nn.Parameter]:
        """The method's own trained parameters (without heads and the always-trained parts)."""
        return [p for p in backbone.attached.parameters() if p.requires_grad]

    def merge(self, backbone: Backbone) -> bool:
        """Fold the method into the weights; False where it cannot be folded."""
        return False

    search: ClassVar[Callable[[Method, Trial], Plan] | None] = None

    def example_plan(self, backbone: Backbone) -> Plan | None:
        """A plan such as a search may find, for costs that are asked for before one; None: there is none."""
        return None

    def choose(self, backbone: Backbone, choice: Any) -> None:
        """Make `choice` the active one of a backbone attached for search (plan=None)."""
        raise NotImplementedError


class Task(Protocol):
    """A dataset with its splits, head, loss and metric. One file per kind of task.

    metric: name of the headline number (percent) within `score`'s result. presets: the backbone sizes that its pictures and texts
    are made for. backbones: those that run it, as in the papers. group: as a method's. The test split is read once, at the end.
    """

    name: str
    presets: tuple[str, ...]
    backbones: tuple[str, ...]
    also: tuple[str, ...]  # backbones that run it where the group `real` is asked for
    group: str
    dataset: str  # of the papers, as they call it; "": petlbench's own
    unscored: tuple[str, ...]  # splits whose answers are not published: predictions are kept
    validates: bool  # is validation no part of what is trained on?
    metric: str
    recipe: Recipe
    sizes: dict[str, int]

    def blank(self, size: tuple[int, int, int]) -> Any:
        """A training batch of so many text tokens, height and width, made without data; None: it has data of its own to show."""

    def sequences(self) -> int:
        """How many pass the backbone in an epoch: a row may be several (pairs of pictures, false captions)."""

    def head(self, backbone: Backbone, readout: str = "task") -> nn.Module:
        """The task's head for this backbone, freshly initialised. readout: see Method."""

    def batches(self, split: str, seed: int, epoch: int = 0, shuffle: bool = False, stored: Any = None) -> Iterator[Any]:
        """Batches of a split in an order of (seed, epoch) alone. stored: a suite.prefix.Stored, read in place of them."""

    def loss(self, backbone: Backbone, head: nn.Module, batch: Any) -> Tensor:
        """Scalar training loss of one batch."""

    def predict(self, backbone: Backbone, head: nn.Module, batch: Any) -> Tensor:
        """What `score` needs of one batch, on the CPU."""

    def score(self, split: str, outputs: list[Tensor]) -> tuple[dict[str, float], list[bool], list[str]]:
        """Metrics in percent, correctness per example, and each example's image cluster, in the split's order."""

    def percent(self, backbone: Backbone, head: nn.Module, batch: Any) -> float:
        """Percent right of one batch, for rewards."""

    def kept(self, split: str, outputs: list[Tensor]) -> dict[str, np.ndarray]:
        """What people want to look at beside the scores, by example, from what `score` is given."""

    def floors(self) -> dict[str, float]:
        """Metric of answering the majority, and of a model that does not see the image (`majority`, `blind`)."""

    def data_hash(self) -> str:
        """sha256 over the version and content of all splits."""


def freeze(module: nn.Module) -> None:
    """No parameter of `module` gets a gradient any more."""
    module.requires_grad_(False)


def normalise(images: Tensor) -> Tensor:
    """(I, 3, H, W) uint8 -> float32 in [-1, 1]."""
    return images.float().mul_(2 / 255).sub_(1)


def seed_everything(seed: int) -> None:
    """Seed torch and numpy; Python's own generator is not used in the suite."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
