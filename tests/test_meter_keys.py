"""METER's weights: the official checkpoint's names and shapes, the mini weight file, and what is wrong with others."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from meters import SIZES, at_paper_size, batch, mini, tiny
from torch import Tensor, nn

from suite.backbones import meter, meter_keys, shipped
from suite.errors import UserError

KEYS = Path(__file__).parent / "meter_checkpoint_keys.csv"


def official(own: meter.METER) -> dict[str, Tensor]:
    """A checkpoint as METER's authors name it, with this model's values and the parts that no forward pass uses."""
    found: dict[str, Any] = {name: torch.zeros(1) for name in meter_keys.UNUSED}
    for name, tensor in own.pretrained_state().items():
        there, third = meter_keys.official_name(name)
        found.setdefault(there, {})
        found[there] = tensor.clone() if third is None else found[there] | {third: tensor}
    return {name: torch.cat([value[i] for i in range(3)]) if isinstance(value, dict) else value for name, value in found.items()}


def listed() -> dict[str, Tensor]:
    """All names and shapes of the official pre-training checkpoint, without values."""
    with KEYS.open() as file:
        return {row["key"]: torch.empty([int(n) for n in row["shape"].split("x")], device="meta") for row in csv.DictReader(file)}


def test_the_official_names_and_shapes_are_ours() -> None:
    checkpoint = listed()
    own = at_paper_size()
    own.model.token_type_embeddings = nn.Embedding(2, 768, device="meta")
    state = {**own.model.state_dict(prefix="model."), **own.heads.state_dict(prefix="heads.")}
    found = meter_keys.from_official(checkpoint, own.pretrained_state())
    assert len(checkpoint) == 671 and {name: t.shape for name, t in found.items()} == {name: t.shape for name, t in state.items()}
    places = {meter_keys.official_name(name) for name in state}
    assert len(places) == len(state), "two of our tensors are filled from one place"
    assert {name for name, _ in places} | set(meter_keys.UNUSED) == checkpoint.keys()
    own.load_official(checkpoint)


RESBLOCKS = "vit_model.visual.transformer.resblocks"
TABLE = "vit_model.visual.positional_embedding"


@pytest.mark.parametrize(("change", "error"), [
    (lambda c: c.pop("cross_modal_text_layers.3.crossattention.self.value.bias"), "1 missing: cross_modal_text_layers.3.crossatt"),
    (lambda c: c.pop(f"{RESBLOCKS}.7.attn.in_proj_bias"), f"1 missing: {RESBLOCKS}.7.attn.in_proj_bias"),
    (lambda c: c.pop("vit_model.ln_final.bias"), "1 missing: vit_model.ln_final.bias"),
    (lambda c: c.update({f"{RESBLOCKS}.11.ln_1.bias": torch.zeros(768)}), f"1 unexpected: {RESBLOCKS}.11.ln_1.bias"),
    (lambda c: c.update(extra=c.pop("vit_model.ln_final.bias"), more=c["vit_model.ln_final.weight"]),
     "1 missing: vit_model.ln_final.bias; 2 unexpected: extra, more"),
    (lambda c: c.update({TABLE: torch.zeros(577, 768)}), f"{TABLE} has the shape 577x768"),
    (lambda c: c.update({f"{RESBLOCKS}.0.attn.in_proj_weight": torch.zeros(2305, 768)}), "in_proj_weight .* 2305x768"),
    (lambda c: c.update({"itm_score.fc.weight": torch.zeros(2, 768)}), "itm_score.fc.weight has the shape 2x768"),
])  # fmt: skip
def test_checkpoints_that_do_not_fit_are_refused(change: Any, error: str) -> None:
    checkpoint = listed()
    change(checkpoint)
    with pytest.raises(UserError, match=error):
        at_paper_size().load_official(checkpoint)


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a paper preset of tiny size looks for its checkpoint."""
    monkeypatch.setenv("PETLBENCH_MIRROR", str(tmp_path))
    text = SIZES | {"vocab_size": 300, "num_hidden_layers": 2, "max_position_embeddings": 20, "type_vocab_size": 1}
    image = SIZES | {"num_hidden_layers": 2, "image_size": 32, "patch_size": 16}
    fusion = SIZES | {"vocab_size": 300, "num_hidden_layers": 2}
    monkeypatch.setitem(meter.PRESETS, "paper", replace(meter.PRESETS["paper"], text=text, image=image, fusion=fusion))
    return tmp_path / meter.PRESETS["paper"].checkpoint


@torch.no_grad()
def test_paper_weights_from_a_mirror(mirror: Path) -> None:
    source, b = tiny().eval(), batch(sides=(32, 32))
    checkpoint = official(source)
    stacked = checkpoint["vit_model.visual.transformer.resblocks.1.attn.in_proj_weight"]
    assert torch.equal(stacked[16:32], source.model.vit_model.encoder.layers[1].self_attn.k_proj.weight)
    torch.save({"state_dict": checkpoint, "epoch": 3}, mirror)
    own = meter.METER.build("paper").eval()
    assert torch.equal(own(b).pooled, source(b).pooled)
    assert all(torch.equal(p, q) for p, q in zip(own.heads.parameters(), source.heads.parameters(), strict=True))
    table = own.model.token_type_embeddings.weight
    assert len(table) == 3 and torch.equal(table[1], table[2])


def test_paper_weights_that_are_not_there_or_damaged(mirror: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="not in the folder PETLBENCH_MIRROR"):
        meter.METER.build("paper")
    for damage in (lambda: mirror.write_bytes(b""), lambda: mirror.write_bytes(b"nonsense"), lambda: torch.save([1], mirror)):
        damage()
        with pytest.raises(UserError, match="no METER checkpoint"):
            meter.METER.build("paper")
    monkeypatch.delenv("PETLBENCH_MIRROR")
    with pytest.raises(UserError, match="not in the folder PETLBENCH_MIRROR"):
        meter.METER.build("paper")


@torch.no_grad()
def test_mini_weights_round_trip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = mini()
    monkeypatch.setattr(shipped, "FOLDER", tmp_path)
    with pytest.raises(UserError, match="meter-mini.safetensors is missing"):
        meter.METER.build("mini")
    shipped.save(backbone.pretrained_state(), {}, shipped.path_of("meter-mini"))
    own = meter.METER.build("mini").eval()
    assert torch.equal(own(batch()).pooled, backbone(batch()).pooled)
    words = own.model.text_transformer.embeddings.word_embeddings.weight
    assert own.heads["mlm"].decoder.weight is words and torch.equal(words, backbone.heads["mlm"].decoder.weight)
    with pytest.raises(UserError, match="mini, paper"):
        meter.METER.build("huge", pretrained=False)
