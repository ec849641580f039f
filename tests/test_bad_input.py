"""What is refused in a line: pictures, texts, plans and checkpoints that a backbone or a method does not take."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from languages import hub_folder
from safetensors.torch import load_file, save_file
from transformers import BertConfig

from methods.das import DAS
from suite import backbones
from suite.core import Batch
from suite.errors import UserError
from suite.tasks.base import encode

WORDS = torch.tensor([[1, 7, 8, 2]])


def mini(name: str) -> Any:
    torch.manual_seed(0)
    return backbones.load(name).build("mini", pretrained=False).eval()


def one_line(raised: pytest.ExceptionInfo[UserError]) -> bool:
    return "\n" not in str(raised.value)


@torch.no_grad()
@pytest.mark.parametrize("name", ["vilt", "meter"])
@pytest.mark.parametrize(
    ("pixels", "found"),
    [
        (torch.zeros(1, 1, 64, 64), "1 x 64 x 64 float32"),
        (torch.zeros(1, 3, 64, 64, dtype=torch.uint8), "3 x 64 x 64 uint8"),
        (torch.zeros(1, 3, 64, 60), "3 x 64 x 60 float32"),
        (torch.zeros(1, 64, 64), "64 x 64 float32"),
    ],
    ids=["grey", "integers", "size", "no channels"],
)
def test_pictures_that_patches_do_not_tile_are_refused(name: str, pixels: torch.Tensor, found: str) -> None:
    own = mini(name)
    with pytest.raises(UserError, match=rf"{name}/mini takes pictures of 3 x 64 x 64 \(or other multiples of 16\).*, not {found}") as said:
        own(Batch(WORDS, torch.ones_like(WORDS), pixels))
    assert one_line(said) and own(Batch(WORDS, torch.ones_like(WORDS), torch.zeros(1, 3, 32, 96))).pooled.shape == (1, own.width)


@torch.no_grad()
@pytest.mark.parametrize("name", ["vilt", "meter"])
def test_texts_longer_than_the_positions_are_refused(name: str) -> None:
    own, ids = mini(name), torch.full((1, 33), 7)
    assert own(Batch(ids[:, :32], None, torch.zeros(1, 3, 64, 64))).pooled.shape == (1, own.width)
    with pytest.raises(UserError, match=f"a text of 33 tokens is longer than the 32 positions of {name}/mini"):
        own(Batch(ids, None, torch.zeros(1, 3, 64, 64)))


@torch.no_grad()
def test_lavin_takes_no_empty_text() -> None:
    ids = torch.tensor([[1, 7, 2], [1, 2, 0]])
    with pytest.raises(UserError, match="text 1 of a batch for lavin/mini is empty"):
        mini("lavin")(Batch(ids, (ids != 0).long(), None))


@pytest.mark.parametrize("skipped", [[2, 2], [2.0], [True], [[2]], 2])
def test_a_plan_that_skips_no_different_layers_is_refused(skipped: Any) -> None:
    with pytest.raises(UserError, match=r'a plan of das here is \{"skipped": \[different layers from 0 to 5\]\}, not'):
        DAS().attach(mini("vilt"), {"skipped": skipped})


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ({"intermediate_size": 40}, r"9 of another shape: bert\.encoder\.layer\.0\.intermediate\.dense\.bias, "),
        ({"num_hidden_layers": 2}, r"16 unexpected: bert\.encoder\.layer\.2\."),
        ({"num_hidden_layers": 4}, r"16 missing: bert\.encoder\.layer\.3\."),
    ],
    ids=["shape", "deeper", "shallower"],
)
def test_a_checkpoint_of_another_size_is_told_by_its_tensors(sizes: dict[str, int], said: str, tmp_path: Path,
                                                             monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    """Its configuration says one size, its tensors are of another: 3 layers with an inner width of 24."""
    folder = tmp_path / "bert-base-uncased"
    config = hub_folder("bert", tmp_path).config
    BertConfig(**config.to_dict() | sizes).save_pretrained(folder)
    monkeypatch.setenv("PETLBENCH_MIRROR", str(tmp_path))
    with pytest.raises(UserError, match=rf"weights do not fit BertForMaskedLM in checkpoint bert-base-uncased: {said}") as raised:
        backbones.load("bert").build("paper")
    assert one_line(raised)


@pytest.mark.parametrize(
    ("extra", "refused"),
    [
        ("bert.encoder.layer.0.adapter.weight", True),
        ("bert.encoder.layer.9.output.dense.weight", True),
        ("cls.seq_relationship.weight", False),
        ("bert.embeddings.position_ids", False),
    ],
)
def test_what_a_checkpoint_has_beyond_the_model_is_told_but_for_unused_heads(extra: str, refused: bool, tmp_path: Path,
                                                                             monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    hub_folder("bert", tmp_path)
    file = tmp_path / "bert-base-uncased" / "model.safetensors"
    save_file(load_file(file) | {extra: torch.zeros(2, 2)}, file, metadata={"format": "pt"})
    monkeypatch.setenv("PETLBENCH_MIRROR", str(tmp_path))
    with pytest.raises(UserError, match=rf"; 1 unexpected: {extra}$|: 1 unexpected: {extra}$") if refused else nullcontext():
        backbones.load("bert").build("paper", vision=False)


@pytest.mark.parametrize("odd", [np.zeros((8, 8), np.uint8), np.zeros((8, 6, 3), np.uint8)], ids=["grey", "size"])
def test_a_dataset_with_an_odd_picture_is_told_by_its_row(odd: np.ndarray) -> None:
    from datasets import Features, Image, Value
    from PIL import Image as Pillow

    pictures = [Pillow.fromarray(found) for found in (np.zeros((8, 8, 3), np.uint8), odd)]
    columns = {"image": pictures, "image_id": ["a", "b"], "text": ["a star", "a star"], "label": [0, 1]}
    kinds = Features({"image": Image(), "image_id": Value("string"), "text": Value("string"), "label": Value("int64")})
    with pytest.raises(UserError, match=r"the picture in image of row 1 is of shape .*: all have to be RGB and of one size"):
        encode(Dataset.from_dict(columns, features=kinds), ("image",))
