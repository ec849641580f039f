"""What all tasks share: splits as tensors, batches, and the head with one hidden layer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from suite.core import Batch, normalise
from suite.data.reader import Reader, ranked
from suite.data.text import tokenize
from suite.errors import UserError
from suite.recipe import Recipe

if TYPE_CHECKING:
    from datasets import Dataset

    from suite.prefix import Stored

FUSION, LANGUAGE = ("vilt", "meter"), ("bert", "t5")
"""Which backbones run which task follows the papers: APT and DAS have the fusion models, DVP the language models. LLaMA has ScienceQA's
analogue by default and, for time, the others' tasks with the group `real` only."""

SEARCH_PARTS = ("search-train", "search-reward")
"""Train in two, without a common picture, for methods that search: four fifths of the rows to train on, one fifth for rewards."""


@dataclass
class Split:
    """A split as tensors, N rows and I pictures.

    tokens: (N, L) int64, 0 = padding. images: (I, 3, H, W) uint8. image_of: (N, K) int64, the pictures of each row.
    labels: (N,) int64, or None. texts, clusters: N strings; rows of one cluster show the same pictures.
    image_tokens: (I, M, D), text_tokens: (N, L, D), what a backbone's prefix made of them (None: nothing stored).
    """

    tokens: Tensor
    images: Tensor
    image_of: Tensor
    labels: Tensor | None
    texts: list[str]
    clusters: list[str]
    image_tokens: Tensor | None = None
    text_tokens: Tensor | None = None

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, rows: np.ndarray) -> Split:
        """Some rows, with the pictures that they use."""
        used, image_of = self.image_of[rows].unique(return_inverse=True)
        labels = None if self.labels is None else self.labels[rows]
        texts, clusters = [self.texts[i] for i in rows], [self.clusters[i] for i in rows]
        return Split(self.tokens[rows], self.images[used], image_of, labels, texts, clusters)

    def by_length(self) -> np.ndarray:
        """Rows from the shortest text to the longest: the order of evaluation, which wastes the least padding."""
        return np.argsort((self.tokens != 0).sum(1).numpy(), kind="stable")

    def batch(self, rows: np.ndarray | Tensor, pictures: np.ndarray | Tensor, **parts: Any) -> Batch:
        """These rows' texts, (B, longest of them), and these pictures; their stored results instead, where there are any."""
        ids = self.tokens[rows]
        mask = (ids != 0).long()
        longest = int(mask.sum(1).max())
        found: dict[str, Tensor | None] = {"pixels": None}
        if self.image_tokens is None:
            found["pixels"] = normalise(self.images[pictures])
        else:
            found["image_tokens"] = self.image_tokens[pictures]
        if self.text_tokens is not None:
            found["text_tokens"] = self.text_tokens[rows][:, :longest].contiguous()
        return Batch(ids[:, :longest].contiguous(), mask[:, :longest].contiguous(), **found, **parts)


@dataclass(eq=False)
class BaseTask:
    """A task over a reader; see suite.core.Task. Data is read at the first call and kept.

    evaluation_batch: rows of a forward without gradient. backbones, also, group, dataset: see suite.core.Task.
    """

    reader: Reader
    recipe: Recipe
    evaluation_batch: int = 128
    backbones: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    group: str = ""
    dataset: str = ""
    metric: ClassVar[str]
    presets: ClassVar[tuple[str, ...]] = ("mini",)
    unscored: ClassVar[tuple[str, ...]] = ()
    validates: ClassVar[bool] = True
    _splits: dict[str, Split] = field(default_factory=dict, init=False, repr=False)

    @property
    def name(self) -> str:
        return self.reader.name

    @property
    def sizes(self) -> dict[str, int]:
        """Rows of each split and of the search parts; reads no data."""
        rows = self.reader.sizes["train"]
        return self.reader.sizes | dict(zip(SEARCH_PARTS, (rows - rows // 5, rows // 5)))

    def split(self, name: str) -> Split:
        """`train`, `validation`, `test`, or one of SEARCH_PARTS. Raises KeyError for others."""
        if name not in self._splits:
            self._splits[name] = self._search_part(name) if name in SEARCH_PARTS else encode(self.reader.split(name), self.reader.pictures)
        return self._splits[name]

    def _search_part(self, name: str) -> Split:
        whole, wanted = self.split("train"), self.sizes["search-reward"]
        rows, reward = Counter(whole.clusters), set()
        for cluster in ranked(rows, "search"):
            if rows[cluster] <= wanted:
                reward.add(cluster)
                wanted -= rows[cluster]
        assert not wanted, "pictures with too many rows to fill the reward part"
        return whole.take(np.array([i for i, cluster in enumerate(whole.clusters) if (cluster in reward) == (name == "search-reward")]))

    def batches(self, split: str, seed: int, epoch: int = 0, shuffle: bool = False, stored: Stored | None = None) -> Iterator[Any]:
        """Shuffled: batches of `recipe.batch_size` in an order of (seed, epoch) alone. Otherwise the fixed order of evaluation."""
        data = stored.split(self, split) if stored else self.split(split)
        rng = np.random.default_rng([seed, epoch])
        order = rng.permutation(len(data)) if shuffle else self.split(split).by_length()  # as `score` reads it, whose tokens are these
        size = self.recipe.rows if shuffle else self.evaluation_batch
        for start in range(0, len(order), size):
            yield self.collate(data, order[start : start + size], rng)

    def sequences(self) -> int:
        """See suite.core.Task."""
        batch = next(iter(self.batches("train", 0, shuffle=True)))
        parts = batch if isinstance(batch, tuple) else (batch,)
        return sum(len(part.input_ids) for part in parts) * -(-self.sizes["train"] // self.recipe.batch_size)

    def blank(self, size: tuple[int, int, int]) -> Any:
        """None: costs are measured on its data."""
        return None

    def kept(self, split: str, outputs: list[Tensor]) -> dict[str, np.ndarray]:
        """Nothing, where scores say it all."""
        return {}

    def collate(self, data: Split, rows: np.ndarray, rng: np.random.Generator) -> Any:
        """The batch of these rows."""
        raise NotImplementedError

    def data_hash(self) -> str:
        """sha256 over the version and content of all splits."""
        return self.reader.content_hash()


def encode(dataset: Dataset, pictures: tuple[str, ...]) -> Split:
    """The rows of a reader's split as tensors; a picture that several rows share is decoded once."""
    clusters = dataset["image_id"][:]
    _, first, row_of = np.unique(clusters, return_index=True, return_inverse=True)
    decoded = dataset.select(first).select_columns(list(pictures)).with_format("numpy")[:]
    images = np.concatenate([_of_one_shape(decoded[column], column, first) for column in pictures]).transpose(0, 3, 1, 2)
    image_of = np.stack([row_of + k * len(first) for k in range(len(pictures))], 1)
    labels = torch.tensor(dataset["label"][:]) if "label" in dataset.column_names else None
    texts = dataset["text"][:]
    tokens = torch.from_numpy(tokenize(texts)[0])
    return Split(tokens, torch.from_numpy(np.ascontiguousarray(images)), torch.from_numpy(image_of), labels, texts, clusters)


def _of_one_shape(pictures: Any, column: str, rows: np.ndarray) -> np.ndarray:
    """(I, H, W, 3) uint8. rows: where each of them is in the split. Raises UserError for the first of another mode or shape."""
    wanted = np.shape(pictures[0])
    for picture, row in zip(pictures, rows):
        if np.shape(picture) != wanted or len(wanted) != 3 or wanted[2] != 3:
            raise UserError(f"the picture in {column} of row {row} is of shape {np.shape(picture)}: all have to be RGB and of one size")
    return np.stack(pictures)


def classifier(width: int, hidden: int, classes: int) -> nn.Sequential:
    """Linear-LN-GELU-Linear, weights N(0, 0.02^2), biases 0 (papers.md sections 1 and 4.2)."""
    head = nn.Sequential(nn.Linear(width, hidden), nn.LayerNorm(hidden), nn.GELU(), nn.Linear(hidden, classes))
    for layer in (head[0], head[3]):
        nn.init.normal_(layer.weight, std=0.02)
        nn.init.zeros_(layer.bias)
    return head
