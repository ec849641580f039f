"""NLVR (Suhr et al., ACL 2017; CC-BY-4.0): is a sentence that a person wrote true of a picture of three boxes?

Two data sets that never mix: `nlvr` is the official one, `nlvr-3525` has 3,525 of its 12,410 training examples and the same validation
(dev) and test (public test) examples; results on one say nothing of the other.
The number behind the dash of an example's identifier, also in its picture's name, gives away most labels: no row holds it.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from typing import Any, ClassVar, NamedTuple

import numpy as np

from suite.data.fetch import Source, fetch
from suite.data.reader import Reader, portable_pixmap, ranked
from suite.errors import UserError

COMMIT = "18924841aa96d519cfb8584f0945350f07a6d860"
ARCHIVE = Source(f"nlvr/{COMMIT}.zip", f"https://github.com/lil-lab/nlvr/archive/{COMMIT}.zip")
"""Its sha256 is not known: what is in it is held against EXPECTED."""

PARQUET = {
    "train": Source("nlvr/train.parquet", None, "c7374d423243b1a4b38989302586425c1dd2210d606df83471c67d69972e80e2", 13_230_757),
    "dev": Source("nlvr/dev.parquet", None, "883f9bf663d822e819f3f23482225673f3bbbd5acb83e98278e45045580381ac", 2_495_181),
    "test": Source("nlvr/test.parquet", None, "1be1ae339a6fab2ab9f1c33a86a68ea300fc7661d4e82e519645fc814ce64d81", 2_365_821),
}
PARTS = {"train": "train", "validation": "dev", "test": "test"}
"""Split -> what the official release calls it."""

BOXES, STEP, SIDE = 3, 150, 100
"""Three boxes of 100 x 100 pixels, at 0, 150 and 300 from the left."""

VIEW, PITCH = 31, 33
"""Side of a box as it is shown, and from one to the next."""

GAP = 128
"""Grey level between the boxes, in the originals and here."""


class Example(NamedTuple):
    """identifier: presentation, dash, position in it (which leaks the label). picture: the encoded PNG of the boxes in their own order."""

    identifier: str
    sentence: str
    label: bool
    picture: bytes

    @property
    def presentation(self) -> str:
        """Up to four examples that share a sentence."""
        return self.identifier.partition("-")[0]


class Expected(NamedTuple):
    """Published counts, and `_digest` of the examples, where it could be computed."""

    examples: int
    true: int
    presentations: int
    digest: str | None = None


EXPECTED = {
    ("nlvr", "train"): Expected(12_410, 6_996, 3_163),
    ("nlvr-3525", "train"): Expected(3_525, 1_970, 894, "5c1f7a0902d1deeeea64e198de822231a3b325d559f6efeaa3a62f433babaa8f"),
    ("both", "dev"): Expected(989, 547, 267, "e322ce51973d1c111b42fd91b17f2f66eb3ee6f1ba335fc11246189e15a290dd"),
    ("both", "test"): Expected(990, 556, 266, "ff911b97c0019047b9d7f2d060fa51861556ca7fa5cf7c052a3329eca3422f2a"),
}
"""(data set, part) -> what it has to hold. The official training part is known by its counts alone."""


@dataclass(eq=False)
class Nlvr(Reader):
    """Rows are examples, each once: the picture with the boxes in their own order, of the six orders there are.

    A picture of 400 x 100 pixels is shown as 64 x 64: box by box, at 31 x 31, as left and right above and left below; every label is
    the same for all orders of the boxes. `image_id` names presentation and content. A smaller split is a fixed random draw.
    """

    version: ClassVar[str] = "1.0"

    @property
    def classes(self) -> tuple[str, ...]:
        return ("false", "true")

    def examples(self, part: str) -> list[Example]:
        """All of a part. Raises UserError where it is missing, damaged, or not the published one."""
        return official(part)

    def rows(self, split: str) -> dict[str, list[Any]]:
        by_id = {example.identifier: example for example in self.examples(PARTS[split])}
        drawn = [by_id[key] for key in ranked(by_id, "nlvr/examples")[: self.sizes[split]]]
        if len(drawn) < self.sizes[split]:
            raise UserError(f"{self.name}/{split} has {len(drawn)} examples, {self.sizes[split]} asked for")
        views = np.stack([view(example.picture) for example in drawn])
        ids = [f"{PARTS[split]}/{e.presentation}/{hashlib.sha256(picture.tobytes()).hexdigest()[:12]}" for e, picture in zip(drawn, views)]
        texts, labels = [e.sentence for e in drawn], [int(e.label) for e in drawn]
        return {"image": portable_pixmap(views), "image_id": ids, "text": texts, "label": labels}


@dataclass(eq=False)
class Nlvr3525(Nlvr):
    """The part whose training sentences could be had, from parquet files."""

    def examples(self, part: str) -> list[Example]:
        return of_parquet(part)


def presentation_of(image_id: str) -> str:
    """What the rows that share a sentence have in common."""
    return image_id.rpartition("/")[0]


def boxes(picture: bytes) -> list[Any]:
    """The three boxes of an encoded picture as PIL images. Raises UserError where it is none or of another size."""
    from PIL import Image

    try:
        whole = Image.open(BytesIO(picture)).convert("RGB")
    except OSError as error:
        raise UserError(f"an NLVR picture is damaged: {error}") from None
    if whole.size != ((BOXES - 1) * STEP + SIDE, SIDE):
        raise UserError(f"an NLVR picture has {whole.size[0]} x {whole.size[1]} pixels, expected 400 x 100")
    return [whole.crop((k * STEP, 0, k * STEP + SIDE, SIDE)) for k in range(BOXES)]


def view(picture: bytes) -> np.ndarray:
    """(64, 64, 3) uint8: the boxes at 31 x 31, two pixels apart, each pixel the mean of what it covers."""
    from PIL.Image import Resampling

    canvas = np.full((PITCH + VIEW, PITCH + VIEW, 3), GAP, np.uint8)
    for k, box in enumerate(boxes(picture)):
        y, x = k // 2 * PITCH, k % 2 * PITCH
        canvas[y : y + VIEW, x : x + VIEW] = np.asarray(box.resize((VIEW, VIEW), Resampling.BOX))
    return canvas


@cache
def official(part: str) -> list[Example]:
    """A part of the repository's archive, verified."""
    return verified("nlvr", part, lambda: _read_archive(part))


@cache
def of_parquet(part: str) -> list[Example]:
    """A part of the parquet files, verified."""
    return verified("nlvr-3525", part, lambda: _read_parquet(part))


def verified(name: str, part: str, read: Callable[[], list[Example]]) -> list[Example]:
    """What `read` gives, held against EXPECTED. Raises UserError, with both figures, where it is something else."""
    try:
        examples = read()
    except (OSError, KeyError, ValueError, TypeError, zipfile.BadZipFile) as error:
        raise UserError(f"{name}/{part} is damaged: {type(error).__name__}: {' '.join(str(error).split())}") from None
    expected = EXPECTED.get((name, part)) or EXPECTED["both", part]
    found = {"examples": len(examples), "different identifiers": len({e.identifier for e in examples}),
             "true examples": sum(e.label for e in examples), "presentations": len({e.presentation for e in examples})}
    for (what, count), wanted in zip(found.items(), (expected.examples, *expected[:3])):
        if count != wanted:
            raise UserError(f"{name}/{part}: found {count:,} {what}, expected {wanted:,}")
    if expected.digest is not None and (digest := _digest(examples)) != expected.digest:
        raise UserError(f"{name}/{part}: content has sha256 {digest}, expected {expected.digest}")
    return examples


def _read_archive(part: str) -> list[Example]:
    root = f"nlvr-{COMMIT}/nlvr/{part}"
    with zipfile.ZipFile(fetch(ARCHIVE)) as archive:
        rows = [json.loads(line) for line in archive.read(f"{root}/{part}.json").splitlines() if line.strip()]
        return [Example(row["identifier"], row["sentence"], {"true": True, "false": False}[row["label"]],
                        archive.read(f"{root}/images/{row['directory']}/{part}-{row['identifier']}-0.png")) for row in rows]


def _read_parquet(part: str) -> list[Example]:
    from pyarrow import parquet

    rows = parquet.read_table(fetch(PARQUET[part]), filters=[("permutation", "=", 0)]).to_pylist()
    return [Example(row["sentence_id"], row["sentence"], row["label"], row["image"]["bytes"]) for row in rows]


def _digest(examples: list[Example]) -> str:
    """sha256 over identifiers, sentences, labels and pixels, in the order of the identifiers."""
    total = hashlib.sha256()
    for example in sorted(examples):
        total.update(repr(example[:3]).encode())
        for box in boxes(example.picture):
            total.update(box.tobytes())
    return total.hexdigest()
