"""Subject-driven generation: a few pictures of a thing, a rare word for it, and prompts that ask for it elsewhere (DreamBooth).

Ruiz et al. 2023, arXiv:2208.12242. All subjects are learned together, each by its own word, so that a cell is one training; there is no
prior preservation. What APT's paper did is not known (papers.md section 2.4): the protocol is "our reading".
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from suite import judge
from suite.core import Backbone, Batch, normalise
from suite.data.subjects import PLACES, WorldSubject, called, pictures, plain
from suite.recipe import Recipe
from suite.tasks.base import BaseTask, Split

if TYPE_CHECKING:
    from suite.prefix import Stored

GENERATION = ("stable_diffusion",)


@dataclass(eq=False)
class SubjectDriven(BaseTask):
    """Rows are pictures with the subject's word (train), or prompts. Samples are drawn by DDIM in `steps` steps, guided.

    The headline is `fidelity`: in how many percent of the samples the right subject is at the right place: 84 for true pictures, 0 to 17
    (mean 6) for copies of a learned one, below 5 for a model that ignores them. Subject: the candidate whose pictures are the nearest by
    the DINO-like features, of all subjects and the plain shapes of scenes (`subject`). Place: what ViLT's matching head chooses among
    the prompts for all places, the R-precision of Park et al. 2021 (`place`). Beside it, 100 times the mean cosines: `clip_i` and `dino`
    with the subject's pictures, `clip_t` with the prompt; in all prompts that encoders read, the subject's class stands for its word.
    """

    reader: WorldSubject
    steps: int = 16
    guidance: float = 3.0
    evaluation_batch: int = 40
    metric: ClassVar[str] = "fidelity"
    _features: dict[str, Tensor] = field(default_factory=dict, init=False, repr=False)

    def head(self, backbone: Backbone, readout: str = "task") -> nn.Module:
        """Nothing: the backbone's own output is the picture."""
        return nn.Identity()

    def batches(self, split: str, seed: int, epoch: int = 0, shuffle: bool = False, stored: Stored | None = None) -> Iterator[Batch]:
        """Shuffled: pictures with their texts. Otherwise prompts alone."""
        for batch in super().batches(split, seed, epoch, shuffle, stored):
            yield batch if shuffle else replace(batch, pixels=None)

    def collate(self, data: Split, rows: np.ndarray, rng: np.random.Generator) -> Batch:
        return data.batch(rows, data.image_of[rows, 0], ids=torch.from_numpy(np.asarray(rows)))

    def loss(self, backbone: Backbone, head: nn.Module, batch: Batch) -> Tensor:
        """Mean squared error of what is predicted of each picture, at a random timestep with random noise."""
        z = backbone.latents(batch.pixels)
        noise, times = torch.randn_like(z), torch.randint(backbone.timesteps, (len(z),), device=z.device)
        found = backbone.predict(backbone.noise(z, times, noise), times, _states(backbone, batch), batch.text_mask)
        return F.mse_loss(found, backbone.target(z, times, noise))

    @torch.no_grad()
    def predict(self, backbone: Backbone, head: nn.Module, batch: Batch) -> Tensor:
        """Of prompts their samples (B, 3, H, W), from noise that depends on prompt and row alone; of pictures one step, which is what
        costs count. On the CPU."""
        if batch.pixels is not None:
            return backbone.step(batch).cpu()
        seeds = [_seed(ids[mask > 0], row) for ids, mask, row in zip(batch.input_ids, batch.text_mask, batch.ids.tolist())]
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        return backbone.sample(_states(backbone, batch), batch.text_mask, self.steps, generators, self.guidance).float().cpu()

    def samples(self, split: str, outputs: list[Tensor]) -> Tensor:
        """(N, 3, H, W) in [-1, 1], in the split's order, from the `predict` of every unshuffled batch."""
        found = torch.cat(outputs)
        return found[torch.from_numpy(np.argsort(self.split(split).by_length()))]

    def kept(self, split: str, outputs: list[Tensor]) -> dict[str, np.ndarray]:
        """What suite/report/samples.py shows of each row: `samples` and `learned` (N, H, W, 3) uint8, the latter a picture that its subject
        was learned from, and `prompts` (N,)."""
        data, train = self.split(split), self.split("train")
        samples = ((self.samples(split, outputs) + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
        learned = train.images[train.image_of[data.labels * self.reader.shown, 0]]
        shown = {"samples": samples, "learned": learned}
        return {name: part.permute(0, 2, 3, 1).numpy() for name, part in shown.items()} | {"prompts": np.array(data.texts)}

    def score(self, split: str, outputs: list[Tensor]) -> tuple[dict[str, float], list[bool], list[str]]:
        """See the class; rows of one subject are one cluster. Raises UserError where the encoders' weights are missing."""
        return self.judged(split, self.samples(split, outputs))

    @torch.no_grad()
    def judged(self, split: str, samples: Tensor) -> tuple[dict[str, float], list[bool], list[str]]:
        """`score` of pictures (N, 3, H, W), one for each row."""
        prompts, whole = self.reader.prompts(split), samples.isfinite().flatten(1).all(1)
        subject, place = (torch.tensor(values) for values in zip(*prompts))
        told = [[f"a {called(self.reader.subjects[p.subject], other)}" for other in range(len(PLACES))] for p in prompts]
        seen, patches, rows = self.judge.clip_pictures(samples), self.judge.patches(samples), torch.arange(len(samples))
        texts = self.judge.clip_texts([row[p.place] for row, p in zip(told, prompts)])
        known = self._known()
        alike = torch.einsum("nd,ckd->nc", patches, known["patches"]) / self.reader.shown
        same = torch.einsum("nd,nkd->n", seen, known["clip"][subject]) / self.reader.shown
        found = {"subject": (alike.argmax(1) == subject) & whole, "place": (self.judge.matches(samples, told).argmax(1) == place) & whole}
        found[self.metric] = found["subject"] & found["place"]
        metrics = {name: right.double() for name, right in found.items()}
        metrics |= {"clip_i": same, "clip_t": (seen * texts).sum(1), "dino": alike[rows, subject]}
        clusters = [f"subject {index}" for index in subject.tolist()]
        return {name: 100 * values.mean().item() for name, values in metrics.items()}, found[self.metric].tolist(), clusters

    @cached_property
    def judge(self) -> judge.Judge:
        """The encoders."""
        return judge.Judge()

    def _known(self) -> dict[str, Tensor]:
        """patches: (C, K, D) of K pictures of each candidate, the subjects first; clip: (S, K, E) of the subjects' pictures."""
        if not self._features:
            data, reader = self.split("train"), self.reader
            shown = normalise(data.images[data.image_of[:, 0]])
            drawn = [pictures(f"{reader.name}/candidate/{i}", s, list(range(reader.shown))) for i, s in enumerate(plain())]
            others = normalise(torch.from_numpy(np.concatenate(drawn)).permute(0, 3, 1, 2))
            patches, seen = self.judge.patches(torch.cat([shown, others])), self.judge.clip_pictures(shown)
            self._features |= {"patches": patches.unflatten(0, (-1, reader.shown)), "clip": seen.unflatten(0, (-1, reader.shown))}
        return self._features

    def floors(self) -> dict[str, float]:
        """Chance (percent): any candidate at any place."""
        chance = 100 / (len(PLACES) * (self.reader.count + len(plain())))
        return {"majority": chance, "blind": chance}

    def data_hash(self) -> str:
        """Of all splits and of the encoders that judge."""
        return hashlib.sha256(f"{self.reader.content_hash()} {judge.weights_hash()}".encode()).hexdigest()


def _states(backbone: Backbone, batch: Batch) -> Tensor:
    return backbone.text_states(batch.input_ids) if batch.text_tokens is None else batch.text_tokens


def _seed(ids: Tensor, row: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{ids.tolist()}/{row}".encode()).digest()[:6], "big")


def _world() -> SubjectDriven:
    return SubjectDriven(WorldSubject("world-subject", {}), Recipe(epochs=50, batch_size=10), backbones=GENERATION)


TASKS = {"world-subject": _world}
