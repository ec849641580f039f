"""Methods and tasks on METER: what is trained, what it costs at the papers' size."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from built import Pooled, assert_close
from meters import WORDS, at_paper_size, batch, mini

from suite import macs
from suite.assemble import assemble
from suite.backbones import meter
from suite.core import Batch, Method, Task, freeze
from suite.data.world_reader import WorldNlvr2, WorldRetrieval, WorldVqa
from suite.plugins import discover
from suite.recipe import Recipe
from suite.tasks.nlvr2 import Nlvr2
from suite.tasks.retrieval import Retrieval
from suite.tasks.vqa import Vqa

METHODS = ("full", "head", "bitfit", "prompt_shallow", "prompt_deep", "lora", "adapter", "parallel_adapter", "apt", "das")


def assembled(name: str) -> tuple[meter.METER, Method]:
    own, method = mini(), discover().get(name)()
    freeze(own)
    own.add_class_token()
    method.attach(own, {"skipped": [1, 2]} if name == "das" else None)
    return own.eval(), method  # what was attached comes in training mode


@pytest.mark.parametrize("name", METHODS)
def test_methods_train_what_they_should(name: str) -> None:
    own, method = assembled(name)
    trained = method.trainable(own)
    wanted = {id(p) for p in trained}
    assert wanted == {id(p) for p in [*own.model.parameters(), *own.attached.parameters()] if p.requires_grad} - {
        id(p) for p in own.always_trained()}
    for parameter in own.always_trained():
        parameter.requires_grad_(True)
    pooled = own(batch()).pooled
    (pooled * torch.randn_like(pooled)).sum().backward()
    assert all(p.grad is not None for p in own.always_trained()) and bool(trained) == (name != "head")
    # RoBERTa's pooler is in the checkpoint and in no forward pass
    unused = {id(p) for p in own.model.text_transformer.pooler.parameters()}
    assert all((p.grad is None) == (id(p) in unused) for p in trained)
    assert all(p.grad is None for p in own.model.parameters() if not p.requires_grad)
    if trained:
        torch.optim.SGD(trained, 0.1).step()
        assert not torch.equal(own(batch()).pooled, pooled)


def test_lora_merges_exactly() -> None:
    own, method = assembled("lora")
    with torch.no_grad():
        for parameter in method.trainable(own):
            parameter.normal_(std=0.1)
        before = own(batch()).pooled
        assert method.merge(own)
        assert_close(own(batch()).pooled, before)


def test_das_skips_layers_of_single_streams() -> None:
    own, method = assembled("das")
    calls: list[str] = []
    for stream in ("text", "image"):
        for depth, layer in enumerate(own.model.part(stream, "layers")):
            layer.intermediate.dense.register_forward_hook(lambda *_, name=f"{stream}.layer.{depth}": calls.append(name))
    own(batch())
    everything = [site.name for site in own.sites("layer")]
    assert calls == [name for index, name in enumerate(everything) if index not in (1, 2)]
    assert method.resolved()["skip"] == len(everything) // 3 == 2


@pytest.mark.parametrize(("name", "wanted"), [("meter", True), ("vilt", False)])
def test_das_has_a_class_token_on_meter_only(name: str, wanted: bool) -> None:
    model = assemble(discover().get("das")(), name, small(Vqa, WorldVqa), 0, preset="mini", plan={"skipped": [1]}, pretrained=False)
    assert ("backbone.class_token" in model.trained()) == wanted


def test_prompts_stand_in_front_and_are_read_by_the_poolers() -> None:
    plain, (own, method) = assembled("head")[0](batch()), assembled("prompt_shallow")
    features = own(batch())
    lengths = method.resolved()["length"]
    assert features.tokens.shape[1] == plain.tokens.shape[1] + sum(lengths)
    assert features.mask[:, : lengths[0]].all() and features.mask[:, lengths[0] : lengths[0] + WORDS].equal(batch().text_mask.bool())
    assert_close(features.pooled[:, :80], own.model.cross_modal_text_pooler(features.tokens))
    with torch.no_grad():
        own.class_token += 1
    assert not torch.allclose(own(batch()).pooled, features.pooled)


PAPER = {  # papers.md section 6, exact; APT's 24 frozen scales are not trained
    "head": 0, "apt": 24 * (159_745 - 1), "lora": 294_912, "adapter": 5_339_520, "parallel_adapter": 3_596_544, "prompt_deep": 1_843_200,
    "prompt_shallow": 2 * 200 * 768, "das": 8 * 3 * 149_856 + 4 * 444_960,
}  # fmt: skip


@pytest.mark.parametrize("name", METHODS)
def test_sizes_at_paper_scale(name: str) -> None:
    own, method = at_paper_size(), discover().get(name)()
    with torch.device("meta"):
        freeze(own)
        method.attach(own, method.example_plan(own))
    count = sum(p.numel() for p in method.trainable(own))
    if name == "full":
        table = (577 - len(own.model.vit_model.embeddings.position_embedding.weight)) * 768  # at 384 pixels, in the official code
        whole = count + sum(p.numel() for p in own.always_trained()) + table
        assert whole / 1e6 == pytest.approx(319.43, abs=0.006), "papers.md section 6: without heads"
    elif name == "bitfit":  # a layer: q, k, v, out, outer and a norm for each sub-layer, 3072 inside
        towers, fusion = 12 * (7 * 768 + 3072) + 11 * (7 * 768 + 3072), 12 * (12 * 768 + 3072)
        assert count == towers + fusion + (2 + 1 + 2 + 1) * 768  # transforms, embedding norm, CLIP's two norms, RoBERTa's pooler
    else:
        assert count == PAPER[name]


@pytest.fixture(scope="module")
def paper() -> meter.METER:
    return at_paper_size()


def macs_of(own: meter.METER, text: int, side: int) -> int:
    with torch.device("meta"):
        ids = torch.ones(1, text, dtype=torch.long)
        b = Batch(ids, ids, torch.empty(1, 3, side, side))
        return macs.counted(lambda: own(b))


@pytest.mark.parametrize("name", ["apt", "lora", "prompt_shallow", "prompt_deep", "das"])
def test_counted_and_fvcore_agree(name: str) -> None:
    pytest.importorskip("fvcore")
    own, method = meter.METER.build("mini", pretrained=False, device="meta"), discover().get(name)()
    with torch.device("meta"):
        freeze(own)
        method.attach(own, {"skipped": [1, 2]} if name == "das" else None)
    ids = torch.ones(1, 12, dtype=torch.long)
    assert macs_of(own.eval(), 12, 64) == macs.with_fvcore(Pooled(assembled(name)[0]), (ids, ids, torch.zeros(1, 3, 64, 64)))


def test_macs_at_paper_scale(paper: meter.METER) -> None:
    text, height, width = paper.papers_input()
    whole = macs_of(paper, text, height)
    parts = {"layers": 6, "towers": (12, 11), "width": 768, "tokens": (40, 577), "patch_pixels": 3 * 16**2}
    assert height == width and whole == macs.meter(**parts)
    assert whole / 1e9 == pytest.approx(93.1, abs=0.05), "papers.md section 6"
    fusion = whole - macs.meter(**parts | {"layers": 0})
    assert fusion / 1e9 == pytest.approx(38.4, abs=0.1)


NORMS = 2 * 6 * (577 + 40) * 768 * 5
"""The published figure of Scaled PA has its LayerNorms, at 5 an element."""


@pytest.mark.parametrize(("name", "published", "convention"), [
    ("adapter", 1.638, 0), ("parallel_adapter", 1.120, NORMS), ("apt", 2.304, 0), ("prompt_deep", 3.97, 0), ("prompt_shallow", 28.7, 0),
    ("das", -0.1197 * 93.1, 0)])
def test_extra_macs_at_paper_scale(name: str, published: float, convention: int, paper: meter.METER) -> None:
    """DAS skips two layers of each stream, the plan that papers.md section 6 finds behind the abstract's 11.97 %."""
    own, method = at_paper_size(), discover().get(name)()
    with torch.device("meta"):
        method.attach(own, method.example_plan(own))
    assert (macs_of(own, 40, 384) - macs_of(paper, 40, 384) + convention) / 1e9 == pytest.approx(published, rel=0.01)


def small(kind: type, reader: type, **options: Any) -> Task:
    return kind(reader(f"small-{reader.__name__}", {"train": 12, "validation": 8, "test": 8}, **options), Recipe(epochs=1, batch_size=4))


TASKS = [small(Vqa, WorldVqa), small(Nlvr2, WorldNlvr2), small(Retrieval, WorldRetrieval)]


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_every_kind_of_task_trains(task: Task) -> None:
    model = assemble(discover().get("apt")(), "meter", task, 0, preset="mini", plan=None, pretrained=False)
    loss = model.loss(next(iter(task.batches("train", 0, shuffle=True))))
    loss.backward()
    assert torch.isfinite(loss)
    reached = {name for name, p in model.trained().items() if p.grad is not None}
    assert {"head", "backbone"} == {name.split(".")[0] for name in reached}
    assert "backbone.class_token" in reached and len(reached) == len(model.trained())
