"""The papers' datasets by name, each with its published sizes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from suite.data import aircraft, coop, dreambooth, flickr30k, gqa, imagenet, nlvr2, science_qa, snli_ve, vqa2
from suite.data.published import Published
from suite.errors import UserError
from suite.settings import Names, chosen

DATASETS: dict[str, Callable[[], Published]] = {
    "vqa2": lambda: vqa2.Vqa2("vqa2", vqa2.SIZES),
    "nlvr2": lambda: nlvr2.Nlvr2("nlvr2", nlvr2.SIZES),
    "flickr30k": lambda: flickr30k.Flickr30k("flickr30k", flickr30k.SIZES),
    "gqa": lambda: gqa.Gqa("gqa", gqa.SIZES),
    "snli-ve": lambda: snli_ve.SnliVe("snli-ve", snli_ve.SIZES),
    "scienceqa": lambda: science_qa.ScienceQa("scienceqa", science_qa.SIZES),
    "imagenet": lambda: imagenet.ImageNet("imagenet", imagenet.SIZES),
    "aircraft": lambda: aircraft.Aircraft("aircraft", aircraft.SIZES),
    **{name: partial(coop.coop, name) for name in coop.SETS},
    "dreambooth": lambda: dreambooth.DreamBooth("dreambooth", dreambooth.SIZES),
}


def verified(names: Names) -> Iterator[tuple[str, str, bool]]:
    """Of each dataset its name, a line about its counts and content hash, or what is wrong with it, and whether something is.

    Raises UserError for an unknown name.
    """
    for name in chosen("dataset", names, list(DATASETS)):
        data = DATASETS[name]()
        try:
            sizes = ", ".join(f"{size:,} {split}" for split, size in data.sizes.items())
            yield name, f"{name}: {sizes}; sha256 {data.content_hash()}", False
        except UserError as error:
            yield name, f"{name}: {error}", True
