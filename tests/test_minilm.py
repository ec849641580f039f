"""BERT `minilm`: where its files are looked for, what is accepted, its tokenizer; equality with the library."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from built import assert_close
from languages import VOCABULARY, Prompting, batch, no_tower, stir
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel

from suite import tasks
from suite.backbones import minilm, shipped
from suite.backbones.minilm import MiniLM
from suite.core import Batch, freeze
from suite.data.text import CLS
from suite.errors import UserError
from suite.prefix import Stored

__all__ = ["no_tower"]
WORDS = ("how", "many", "stars", "##s", "circle", "?")


def make(folder: Path) -> BertModel:
    """A small model with a tokenizer in the layout of the package, whose marks are those of the real one."""
    torch.manual_seed(5)
    model = BertModel(BertConfig(vocab_size=VOCABULARY, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24))
    stir(model)
    model.save_pretrained(folder)
    vocabulary = {"[PAD]": 0, "[UNK]": 100, "[CLS]": 101, "[SEP]": 102} | {word: 200 + i for i, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 102), ("[CLS]", 101))
    tokenizer.enable_truncation(128)
    tokenizer.enable_padding(length=128)
    tokenizer.save(str(folder / "tokenizer.json"))
    return model.eval()


@pytest.fixture
def packaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, BertModel]:
    """A fabricated package in the way of the real one, and its model."""
    folder = tmp_path / "site" / minilm.PACKAGE / "model"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").write_text("raise ImportError('it asks for sentence-transformers')\n")
    model = make(folder)
    monkeypatch.delenv("PETLBENCH_MIRROR", raising=False)
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setattr(minilm, "SHA256", shipped.sha256(folder / "model.safetensors"))
    return folder, model


@torch.no_grad()
@pytest.mark.usefixtures("no_tower")
def test_the_package_is_read_and_equals_the_library(packaged: tuple[Path, BertModel]) -> None:
    own, b = MiniLM.build("mini").eval(), batch()
    wanted = packaged[1](input_ids=b.input_ids, attention_mask=b.text_mask).last_hidden_state
    assert_close(own(b).tokens, wanted)
    assert not own.heads and own.model.pooler is None and own.width == 16
    own.sites("sequence")[0].attach("visual.1", Prompting(16))
    assert own(b).tokens.shape == (4, 10, 16)


def test_a_wrong_hash_is_refused_by_name(packaged: tuple[Path, BertModel]) -> None:
    path = packaged[0] / "model.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(UserError, match=r"model\.safetensors is not the published all-MiniLM-L6-v2: its sha256 is") as raised:
        MiniLM.build("mini")
    said = str(raised.value)
    assert "\n" not in said and minilm.SHA256 in said and shipped.sha256(path) in said and minilm.PACKAGE in said
    path.unlink()
    with pytest.raises(UserError, match=r"all-MiniLM-L6-v2 is incomplete: there is no model\.safetensors in"):
        minilm.folder()


def test_the_mirror_comes_before_the_package_and_is_checked_like_it(
    packaged: tuple[Path, BertModel], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    assert minilm.folder() == packaged[0]
    there = tmp_path / "mirror" / minilm.REPOSITORY
    shutil.copytree(packaged[0], there)
    monkeypatch.setenv("PETLBENCH_MIRROR", str(tmp_path / "mirror"))
    assert minilm.folder() == there
    (there / "model.safetensors").write_bytes(b"nonsense")
    with pytest.raises(UserError, match="is not the published all-MiniLM-L6-v2"):
        minilm.folder()


def test_without_package_mirror_and_hub_the_error_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(minilm, "PACKAGE", "no_such_package")
    monkeypatch.setenv("PETLBENCH_MIRROR", str(tmp_path))
    with pytest.raises(UserError, match="all-MiniLM-L6-v2 is neither below PETLBENCH_MIRROR nor installed") as raised:
        MiniLM.build("mini")
    assert "\n" not in str(raised.value)


def test_the_hub_comes_last_and_is_checked_like_the_others(packaged: tuple[Path, BertModel], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str]] = []
    monkeypatch.setattr(minilm, "cached_file", lambda *what: asked.append(what) or str(packaged[0] / what[1]))
    assert minilm.folder() == packaged[0] and not asked
    monkeypatch.setattr(minilm, "PACKAGE", "no_such_package")
    assert minilm.folder() == packaged[0] and asked == [(minilm.REPOSITORY, name) for name in minilm.FILES]
    monkeypatch.setattr(minilm, "SHA256", "0" * 64)
    with pytest.raises(UserError, match="is not the published all-MiniLM-L6-v2"):
        minilm.folder()


@pytest.mark.usefixtures("no_tower")
def test_it_has_a_tokenizer_of_its_own(packaged: tuple[Path, BertModel]) -> None:
    own = MiniLM.build("mini")
    ids, lengths = minilm.tokenize(["How many stars?", "", "circles and stars " * 5], limit=6)
    assert ids.tolist() == [[101, 200, 201, 202, 205, 102], [101, 102, 0, 0, 0, 0], [101, 204, 203, 100, 202, 102]]
    assert lengths.tolist() == [6, 2, 6] and ids.dtype == np.int64
    with pytest.raises(UserError, match="text 1 of a batch for minilm/mini is empty"):
        own(Batch(torch.from_numpy(ids), torch.from_numpy((ids != 0).astype(np.int64)), None))
    (packaged[0] / "tokenizer.json").write_text("{")
    minilm._tokenizer.cache_clear()
    with pytest.raises(UserError, match=r"tokenizer\.json in .* is damaged"):
        minilm.tokenize(["a"])


@pytest.mark.usefixtures("no_tower", "packaged")
def test_a_tasks_texts_are_cut_by_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    own, task = MiniLM.build("mini"), tasks.load("world-vqa")
    freeze(own)
    found, shipped_one = Stored.of(own).split(task, "validation"), task.split("validation")
    assert np.array_equal(found.tokens, minilm.tokenize(found.texts)[0]) and found.tokens[0, 0] == minilm.MARKS[0]
    assert found.texts == shipped_one.texts and shipped_one.tokens[0, 0] == CLS
    rows = [i for b in task.batches("validation", 0, stored=Stored.of(own)) for i in b.ids.tolist()]
    assert rows == shipped_one.by_length().tolist()  # the order in which `score` reads predictions


def test_its_size_is_known_without_its_files() -> None:
    own = MiniLM.build("mini", pretrained=False, device="meta")
    assert sum(p.numel() for p in own.model.parameters()) == 22_565_376 and own.width == 384 and own.sequence.depth == 6
    assert own.vision_width == 96 and not own.heads


@pytest.mark.skipif(importlib.util.find_spec(minilm.PACKAGE) is None, reason="needs petlbench[minilm]")
@torch.no_grad()
def test_the_real_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sentences that mean the same are closer than others, by the mean of their states, for which it was trained."""
    monkeypatch.delenv("PETLBENCH_MIRROR", raising=False)
    own = MiniLM.build("mini", vision=False).eval()
    ids, _ = minilm.tokenize(["How many stars are there?", "Count the stars.", "The invoice was paid yesterday."])
    mask = torch.from_numpy((ids != 0).astype(np.int64))
    states = own(Batch(torch.from_numpy(ids), mask, None)).tokens * mask[..., None]
    one, same, other = torch.nn.functional.normalize(states.sum(1) / mask.sum(1, keepdim=True))
    assert one @ same > 0.6 > 0.2 > one @ other
