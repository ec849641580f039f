"""ViLT: equality with the library's forward, the paper preset without data, shipped weights, embeddings."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import ViltConfig, ViltForMaskedLM, ViltModel

from suite import backbones
from suite.backbones import shipped, vilt
from suite.core import Batch
from suite.errors import UserError

TEXTS, WORDS = 4, 9


@pytest.fixture(scope="module")
def backbone() -> vilt.ViLT:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    return vilt.ViLT.build("mini", pretrained=False).eval()


def batch(texts: int = TEXTS, images: int | None = None, side: int = 64) -> Batch:
    """Random texts of different lengths with an image each."""
    generator = torch.Generator().manual_seed(1)
    lengths = torch.arange(texts) % WORDS + 1
    mask = (torch.arange(WORDS) < lengths[:, None]).long()
    ids = torch.randint(5, 300, (texts, WORDS), generator=generator)
    pixels = torch.randn(images or texts, 3, side, side, generator=generator)
    return Batch(ids, mask, pixels)


def library(backbone: vilt.ViLT, b: Batch, image: Tensor) -> tuple[Tensor, Tensor]:
    """transformers' own forward on the same weights and image tokens."""
    out = backbone.model(
        input_ids=b.input_ids, attention_mask=b.text_mask, image_embeds=image, pixel_mask=torch.ones(image.shape[:2]),
        image_token_type_idx=b.image_type)  # fmt: skip
    return out.last_hidden_state, out.pooler_output


@pytest.mark.parametrize("image_type", [1, 2])
def test_equals_the_library_with_padding(backbone: vilt.ViLT, image_type: int) -> None:
    b = batch()
    b.image_type = image_type
    with torch.no_grad():
        features = backbone(b)
        tokens, pooled = library(backbone, b, backbone.image_tokens(b.pixels))
    torch.testing.assert_close(features.tokens, tokens, atol=1e-5, rtol=0)
    torch.testing.assert_close(features.pooled, pooled, atol=1e-5, rtol=0)
    assert features.mask[:, :WORDS].equal(b.text_mask.bool()) and features.mask[:, WORDS:].all()


def test_equals_the_library_from_pixels_at_the_linear_patch_map() -> None:
    """The library shuffles its patches, so only what does not depend on their order is compared: the text tokens."""
    torch.manual_seed(0)
    config = ViltConfig(
        vocab_size=300, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, image_size=64, patch_size=16,
        max_position_embeddings=WORDS)  # fmt: skip
    model = ViltModel(config)
    torch.nn.init.normal_(model.embeddings.position_embeddings)
    own, b = vilt.ViLT(model, "test").eval(), batch(side=96)
    with torch.no_grad():
        wanted = model(input_ids=b.input_ids, attention_mask=b.text_mask, pixel_values=b.pixels, pixel_mask=torch.ones(TEXTS, 96, 96))
        found = own(b)
    torch.testing.assert_close(found.tokens[:, :WORDS], wanted.last_hidden_state[:, :WORDS], atol=1e-5, rtol=0)
    torch.testing.assert_close(found.pooled, wanted.pooler_output, atol=1e-5, rtol=0)


def test_dropout_of_the_configuration_is_honoured() -> None:
    torch.manual_seed(0)
    model = ViltModel(ViltConfig(
        vocab_size=300, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, image_size=64, patch_size=16,
        max_position_embeddings=WORDS, hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1))  # fmt: skip
    own = vilt.ViLT(model, "test")
    layer, x = own.layers[0], torch.randn(2, 5, 16)
    assert not torch.equal(layer.self_attention(x), layer.self_attention(x)) and not torch.equal(layer.ffn(x), layer.ffn(x))
    own.eval()
    assert torch.equal(layer(x), layer(x))


def test_no_mask_is_the_same_as_all_visible(backbone: vilt.ViLT) -> None:
    b = batch()
    b.text_mask = torch.ones_like(b.input_ids)
    with torch.no_grad():
        masked = backbone(b)
        b.text_mask = None
        torch.testing.assert_close(backbone(b).tokens, masked.tokens, atol=1e-5, rtol=0)


def test_padding_does_not_change_a_text(backbone: vilt.ViLT) -> None:
    b = batch()
    short = Batch(b.input_ids[:1, :1], b.text_mask[:1, :1], b.pixels[:1])
    with torch.no_grad():
        torch.testing.assert_close(backbone(short).pooled, backbone(b).pooled[:1], atol=1e-5, rtol=0)


def test_texts_may_share_an_image(backbone: vilt.ViLT) -> None:
    b = batch(images=2)
    b.image_index = torch.tensor([1, 0, 0, 1])
    seen = []
    handle = backbone.model.embeddings.patch_embeddings.projection.register_forward_hook(lambda _, args, __: seen.append(len(args[0])))
    with torch.no_grad():
        shared = backbone(b).pooled
        own = backbone(Batch(b.input_ids, b.text_mask, b.pixels[b.image_index])).pooled
    handle.remove()
    assert seen == [2, 4]
    torch.testing.assert_close(shared, own, atol=1e-6, rtol=0)


def test_class_token_changes_nothing_at_the_start(backbone: vilt.ViLT) -> None:
    b, own = batch(), copy.deepcopy(backbone)
    b.input_ids[:, 0] = own.class_id
    own.add_class_token()
    assert any(p is own.class_token for p in own.always_trained()) and backbone.class_token is None
    with torch.no_grad():
        torch.testing.assert_close(own(b).pooled, backbone(b).pooled, atol=1e-6, rtol=0)
        before = own(b).pooled
        b.input_ids[:, 0] = 7
        assert torch.equal(own(b).pooled, before)


def test_a_copy_owns_its_layers(backbone: vilt.ViLT) -> None:
    own = copy.deepcopy(backbone)
    before = backbone(batch()).pooled
    with torch.no_grad():
        own.model.encoder.layer[0].output.dense.weight.zero_()
    assert not torch.equal(own(batch()).pooled, before) and torch.equal(backbone(batch()).pooled, before)


def test_paper_preset_runs_on_meta() -> None:
    own = backbones.load("vilt").build("paper", pretrained=False, device="meta")
    own.add_class_token()
    with torch.device("meta"):
        features = own(Batch(torch.zeros(2, 40, dtype=torch.long), torch.ones(2, 40, dtype=torch.long), torch.empty(2, 3, 320, 640)))
    assert features.tokens.shape == (2, 241, 768) and features.pooled.shape == (2, 768)
    # 111.60M without heads (papers.md section 6) and the third modality row
    assert sum(p.numel() for p in own.model.parameters()) == 111_595_776
    assert {site.length for site in own.sites("self")} == {241}


def test_state_dict_keys_are_the_librarys() -> None:
    with torch.device("meta"):
        wanted = ViltModel(ViltConfig()).state_dict().keys()
    assert vilt.ViLT.build("paper", pretrained=False, device="meta").model.state_dict().keys() == wanted


def test_sites_name_linears_below_the_model(backbone: vilt.ViLT) -> None:
    sites = backbone.sites("sequence", "layer", "self", "cross", "ffn")
    assert [s.name for s in sites[:4]] == ["sequence", "layer.0", "layer.0.self", "layer.0.ffn"] and not backbone.sites("cross")
    for site in backbone.sites("self", "ffn"):
        assert all(isinstance(backbone.model.get_submodule(path), torch.nn.Linear) for path in site.linears.values())
    with pytest.raises(ValueError, match="after_norm"):
        sites[2].attach("after_norm", torch.nn.Identity())


def test_weights_round_trip_and_damage(backbone: vilt.ViLT, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipped, "FOLDER", tmp_path)
    with pytest.raises(UserError, match="missing"):
        vilt.ViLT.build("mini")
    path = shipped.path_of("vilt-mini")
    shipped.save(backbone.pretrained_state(), {"steps": 3}, path)
    assert json.loads(path.with_suffix(".json").read_text())["steps"] == 3
    with torch.no_grad():
        assert torch.equal(vilt.ViLT.build("mini").eval()(batch()).pooled, backbone(batch()).pooled)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    wanted = json.loads(path.with_suffix(".json").read_text())["sha256"]
    with pytest.raises(UserError, match=wanted):
        vilt.ViLT.build("mini")


def test_weights_of_another_size_are_refused(backbone: vilt.ViLT) -> None:
    tensors = backbone.pretrained_state()
    tensors["heads.itm.bias"] = torch.zeros(3)
    with pytest.raises(UserError, match="heads.itm.bias"):
        backbone.load_pretrained(tensors)


def test_paper_weights_from_a_mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PETLBENCH_MIRROR", str(tmp_path))
    config = ViltConfig(vocab_size=120, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, image_size=64)
    checkpoint = ViltForMaskedLM(config)
    checkpoint.save_pretrained(tmp_path / "dandelin" / "vilt-b32-mlm")
    own = vilt.ViLT.build("paper")
    assert torch.equal(own.model.layernorm.weight, checkpoint.vilt.layernorm.weight) and len(own.layers) == 2
    table = own.model.embeddings.token_type_embeddings.weight
    assert table.shape[0] == 3 and torch.equal(table[1], table[2])


def test_paper_weights_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("no connection\nsecond line")

    monkeypatch.setattr(vilt.ViltForMaskedLM, "from_pretrained", refuse)
    with pytest.raises(UserError, match=r"dandelin/vilt-b32-mlm.*no connection$"):
        vilt.ViLT.build("paper")


def test_unknown_names() -> None:
    with pytest.raises(UserError, match="vilt"):
        backbones.load("vlit")
    with pytest.raises(UserError, match="mini, paper"):
        vilt.ViLT.build("huge", pretrained=False)
