"""How well generated pictures fit texts and a subject, by the suite's own encoders; measures of Ruiz et al. 2023, section 4.1.

CLIP-I and CLIP-T are cosines of CLIP's mini weights. The DINO-like one compares patches of ViLT's pre-trained stem by how much each
channel varies over the picture: what stands out from the background, not where. (DINO learned without labels, the stem from the names
of shapes, colours and sizes: suite/stem.py.) ViLT's matching head tells which of several texts fits.
"""

from __future__ import annotations

import hashlib

import torch
import torch.nn.functional as F
from torch import Tensor

from suite.backbones import shipped
from suite.backbones.clip import CLIP
from suite.backbones.vilt import ViLT
from suite.core import freeze
from suite.data import text

WEIGHTS = ("clip-mini", "vilt-mini")
CHUNK, PAIRS = 64, 180
"""Pictures, and pictures with a text, of a forward."""


def weights_hash() -> str:
    """sha256 over the encoders' weight files, those that are not there yet as such."""
    files = [shipped.path_of(name) for name in WEIGHTS]
    return hashlib.sha256(" ".join(shipped.sha256(file) if file.is_file() else "missing" for file in files).encode()).hexdigest()


class Judge:
    """Pictures are (N, 3, H, W) in [-1, 1] of any size. Raises UserError where weights are missing or damaged."""

    def __init__(self) -> None:
        self.clip, self.vilt = CLIP.build("mini").eval(), ViLT.build("mini").eval()
        freeze(self.clip)
        freeze(self.vilt)

    def clip_pictures(self, pixels: Tensor) -> Tensor:
        """(N, E), of length 1."""
        return torch.cat([self.clip.image_features(_seen(part)) for part in pixels.split(CHUNK)])

    def clip_texts(self, texts: list[str]) -> Tensor:
        """(T, E), of length 1."""
        ids = torch.from_numpy(text.tokenize(texts)[0])
        return self.clip.text_features(ids, ids != text.PAD)

    def clip_t(self, pixels: Tensor, texts: list[str]) -> Tensor:
        """(N,) 100 times the cosine of each picture with its text."""
        return 100 * (self.clip_pictures(pixels) * self.clip_texts(texts)).sum(1)

    def patches(self, pixels: Tensor) -> Tensor:
        """(N, D), of length 1: the DINO-like features."""
        return F.normalize(torch.cat([self.vilt.stem(_seen(part)).flatten(2).std(2) for part in pixels.split(CHUNK)]), dim=1)

    def matches(self, pixels: Tensor, texts: list[list[str]]) -> Tensor:
        """(N, K) how much each picture fits each of its K texts, as log-odds."""
        found = []
        for start in range(0, len(pixels), PAIRS // len(texts[0])):
            told = texts[start : start + PAIRS // len(texts[0])]
            ids = torch.from_numpy(text.tokenize([one for row in told for one in row])[0])
            tokens = self.vilt.image_tokens(_seen(pixels[start : start + len(told)])).repeat_interleave(len(told[0]), 0)
            scores = self.vilt.heads["itm"](self.vilt.fuse(ids, ids != text.PAD, tokens).pooled)
            found.append((scores[:, 1] - scores[:, 0]).unflatten(0, (len(told), -1)))
        return torch.cat(found)


def _seen(pixels: Tensor) -> Tensor:
    """At the encoders' size, 64 x 64."""
    return F.interpolate(pixels, size=64, mode="bilinear", align_corners=False)
