"""DreamBooth's 30 subjects with Stable Diffusion, judged as its paper does (Ruiz et al. 2023, arXiv:2208.12242, sections 3 and 4.1).

The paper trains a model for each subject, with prior preservation. Here, as in suite/tasks/subject.py, a cell learns all subjects
together, each by a rare word of its own, without it: scores are not comparable with its tables. What APT's paper did is not known.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPModel, ViTModel
from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from suite.backbones.clip import CLIP
from suite.backbones.hub import from_hub
from suite.core import Backbone, Batch, freeze
from suite.data import seen
from suite.data.dreambooth import IDENTIFIER, SAMPLES, SIZES, DreamBooth
from suite.data.reader import ranked
from suite.recipe import Recipe
from suite.tasks.real import Lazy, Photographs, Real
from suite.tasks.subject import GENERATION, SubjectDriven
from suite.view import View

CLIP_B32, DINO_S16 = "openai/clip-vit-base-patch32", "facebook/dino-vits16"
WORDS = tuple("sks ohwx hns kts mth bsf nrf bsp bgs gsc snf bgc sgh ndc clg pkk wwx npt csg tdp smx fnc csn thn slv ntv wrs fhs lhp "
              "bhk".split())  # fmt: skip
"""Rare words, one for each subject: "sks" of DreamBooth's public code, and others that are one token each, like it among the last tenth
of CLIP's vocabulary."""
CHUNK = 64
"""Pictures of a forward of the encoders."""
THUMBNAIL = 64
"""Side of the pictures that are kept to look at, in pixels."""


class Dino:
    """A ViTModel without a pooler, for `from_hub`; not a subclass, whose name the library would not know older checkpoints by."""

    @staticmethod
    def from_pretrained(*names: str, **options: Any) -> Any:
        return ViTModel.from_pretrained(*names, add_pooling_layer=False, **options)


class Encoders(nn.Module):
    """CLIP ViT-B/32 and DINO ViT-S/16. Pictures are (N, 3, H, W) in [-1, 1], square; features are of length 1 and on the CPU.

    Raises UserError where weights or tokenizer are neither reachable nor below PETLBENCH_MIRROR, damaged, or of another model.
    """

    def __init__(self) -> None:
        super().__init__()
        model, self.dino = from_hub(CLIPModel, CLIP_B32), from_hub(Dino, DINO_S16)
        text, side = model.config.text_config, model.config.vision_config.image_size
        self.view = View(CLIP_B32, text.vocab_size, text.max_position_embeddings, side)
        self.clip = CLIP(model, "judge", seen.tokenizer(CLIP_B32, text.vocab_size).eos_token_id)
        freeze(self.eval())

    def sha256(self) -> str:
        """Of the weights."""
        total = hashlib.sha256()
        for name, tensor in sorted(self.state_dict().items()):
            total.update(f"{name} {list(tensor.shape)}\n".encode())
            total.update(tensor.cpu().contiguous().numpy().tobytes())
        return total.hexdigest()

    @torch.no_grad()
    def pictures(self, pixels: Tensor) -> dict[str, Tensor]:
        """`dino` (N, D), the class token, and `clip` (N, E)."""
        device, found = self.dino.device, {"dino": [], "clip": []}
        mean, std = (torch.tensor(values, device=device)[:, None, None] for values in (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD))
        for part in pixels.split(CHUNK):
            part = part.to(device).float()
            small = ((_sized(part, self.dino.config.image_size) + 1) / 2 - mean) / std
            found["dino"].append(F.normalize(self.dino(small).last_hidden_state[:, 0], dim=1).cpu())
            found["clip"].append(self.clip.image_features(_sized(part, self.view.side)).cpu())
        return {name: torch.cat(parts) for name, parts in found.items()}

    @torch.no_grad()
    def texts(self, texts: Sequence[str]) -> Tensor:
        """(T, E) of CLIP."""
        ids, there = (torch.from_numpy(part).to(self.dino.device) for part in seen.tokens(self.view, texts))
        return torch.cat([self.clip.text_features(*part) for part in zip(ids.split(CHUNK), there.split(CHUNK))]).cpu()


def _sized(pixels: Tensor, side: int) -> Tensor:
    return F.interpolate(pixels, size=(side, side), mode="bicubic", antialias=True).clamp(-1, 1)


@cache
def encoders() -> Encoders:
    """One a process, on a GPU where there is one."""
    return Encoders().to("cuda" if torch.cuda.is_available() else "cpu")


@dataclass(eq=False)
class RealSubjects(Real, SubjectDriven):
    """Rows are photographs with the subject's word (train), or prompts, SAMPLES rows each.

    DreamBooth has no validation split: one prompt of each subject, a fixed draw, is validation and no part of test, which has 2,880 of
    the paper's 3,000 rows. The headline is `dino`, beside it `clip_i` and `clip_t`, all 100 times mean cosines: of a sample with all
    photographs of its subject, and with its prompt, where the subject's class stands for its word. A row counts as right where its own
    subject's photographs are the nearest by DINO, which `subject` is the share of (percent).
    Every text is read at its whole padded length, as Stable Diffusion was trained. subjects: how many there are.
    """

    reader: DreamBooth
    evaluation_batch: int = 8
    steps: int = 50
    guidance: float = 7.5
    subjects: int = len(WORDS)
    metric: ClassVar[str] = "dino"

    @property
    def sizes(self) -> dict[str, int]:
        """See BaseTask; reads no data."""
        held = self.subjects * SAMPLES
        return super().sizes | {"validation": held, "test": self.reader.sizes["test"] - held}

    def passes(self, split: str) -> int:
        """Of the UNet: a sample takes `steps`, twice where it is guided."""
        return self.about(split) * self.steps * (1 if self.guidance == 1 else 2)

    def columns(self, name: str) -> dict[str, list[Any]]:
        if name == "train":
            return super().columns(name)
        found = super().columns("test")
        prompts = [key.rpartition("-")[0] for key in found["id"]]
        first: dict[str, str] = {}
        for prompt in ranked(prompts, "validation"):
            first.setdefault(prompt.rpartition("/")[0], prompt)
        rows = [row for row, prompt in enumerate(prompts) if (prompt in first.values()) == (name == "validation")]
        return {column: [cells[row] for row in rows] for column, cells in found.items()}

    def told(self, rows: dict[str, list[Any]]) -> list[str]:
        return [text.replace(IDENTIFIER, WORDS[label]) for text, label in zip(rows["text"], rows["label"], strict=True)]

    def seen(self, rows: dict[str, list[Any]]) -> Lazy:
        data = super().seen(rows)
        return replace(data, there=torch.ones_like(data.there))

    def collate(self, data: Lazy, rows: np.ndarray, rng: np.random.Generator) -> Batch:
        pictures = data.image_of[rows, 0] if data.images.paths[0] else ()  # prompts have none
        return data.batch(rows, pictures, ids=torch.from_numpy(rows))

    def blank(self, size: tuple[int, int, int]) -> Batch:
        return self.plain(size)

    def predict(self, backbone: Backbone, head: nn.Module, batch: Batch) -> Tensor:
        """As SubjectDriven's, in half precision: those of test are 4.5 GB."""
        return super().predict(backbone, head, batch).half()

    def judged(self, split: str, samples: Tensor) -> tuple[dict[str, float], list[bool], list[str]]:
        """See the class; a sample that is not finite is like nothing. Rows of one subject are one cluster."""
        rows = self.columns(split)
        labels, known, judge = torch.tensor(rows["label"]), self._known(), encoders()
        texts = judge.texts([text.replace(f"{IDENTIFIER} ", "") for text in rows["text"]])
        found = {name: features.nan_to_num(0) for name, features in judge.pictures(samples).items()}
        alike = found["dino"] @ known["dino"].T
        own, whole = alike.gather(1, labels[:, None])[:, 0], samples.isfinite().flatten(1).all(1)
        right = (alike.argmax(1) == labels) & whole
        metrics = {"dino": own, "clip_i": (found["clip"] * known["clip"][labels]).sum(1), "clip_t": (found["clip"] * texts).sum(1),
                   "subject": right}  # fmt: skip
        clusters = [f"subject {label}" for label in rows["label"]]
        return {name: 100 * values.double().mean().item() for name, values in metrics.items()}, right.tolist(), clusters

    def _known(self) -> dict[str, Tensor]:
        """`dino` (S, D) and `clip` (S, E) of each subject's photographs, the mean: a product with it is the mean cosine with them."""
        if not self._features:
            rows = self.columns("train")
            labels = torch.tensor(rows["label"])
            found = encoders().pictures(_read([cell["path"] for cell in rows["image"]], encoders().view))
            for name, features in found.items():
                self._features[name] = torch.stack([features[labels == subject].mean(0) for subject in range(self.subjects)])
        return self._features

    def floors(self) -> dict[str, float]:
        """The metric of any subject's photographs in the place of samples: of a model that shows what it learned whatever the prompt."""
        whole = self._known()["dino"].mean(0)
        chance = 100 * (whole @ whole).item()
        return {"majority": chance, "blind": chance}

    def kept(self, split: str, outputs: list[Tensor]) -> dict[str, np.ndarray]:
        """As SubjectDriven's, all as thumbnails."""
        train, rows, view = self.columns("train"), self.columns(split), View("", 0, 0, THUMBNAIL)
        shown = {label: cell["path"] for label, cell in reversed([*zip(train["label"], train["image"], strict=True)])}
        learned = dict(zip(shown, _read(list(shown.values()), view)))
        samples = torch.cat([_sized(part.float(), THUMBNAIL) for part in self.samples(split, outputs).split(CHUNK)])
        found = {"samples": samples, "learned": torch.stack([learned[label] for label in rows["label"]])}
        pixels = {name: ((part + 1) * 127.5).round().clamp(0, 255).nan_to_num(0).to(torch.uint8) for name, part in found.items()}
        return {name: part.permute(0, 2, 3, 1).numpy() for name, part in pixels.items()} | {"prompts": np.array(self.told(rows))}

    def data_hash(self) -> str:
        """Of the data and of the encoders that judge: a cell without them is missing before it is trained."""
        return hashlib.sha256(f"{super().data_hash()} {Encoders().sha256()}".encode()).hexdigest()


def _read(paths: Sequence[str], view: View) -> Tensor:
    """(I, 3, side, side) of photographs by a view with a square. Raises UserError for a damaged file."""
    files = Photographs(paths)
    return torch.stack([seen.picture(view, files.open(row)) for row in range(len(files))])


def _dreambooth() -> RealSubjects:
    """About as many pictures of a subject as in the paper's 1,000 updates, taken as one picture each: our reading."""
    return RealSubjects(DreamBooth("dreambooth", dict(SIZES)), Recipe(epochs=200, batch_size=10, shared_lr=None), dataset="dreambooth",
                        backbones=GENERATION)  # fmt: skip


TASKS = {"dreambooth": _dreambooth}
