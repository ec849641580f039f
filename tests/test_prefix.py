"""What is stored of a frozen prefix: loss and gradients are those of computing it at every step."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from suite.assemble import assemble
from suite.data.world_reader import WorldVqa
from suite.plugins import discover
from suite.prefix import Stored
from suite.recipe import Recipe
from suite.tasks.vqa import Vqa


@pytest.mark.parametrize(("backbone", "method", "parts"), [
    ("vilt", "lora", {"image_tokens"}), ("meter", "apt", {"image_tokens", "text_tokens"}), ("lavin", "lora", {"image_tokens"}),
    ("bert", "dvp_adapter", {"image_tokens"}), ("t5", "visual_prompt", {"image_tokens"}), ("llama", "dvp", {"image_tokens"}),
])  # fmt: skip
def test_a_step_is_the_same(backbone: str, method: str, parts: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("suite.prefix.FOLDER", tmp_path)
    torch.set_num_threads(1)
    task = Vqa(WorldVqa("world-vqa-small", {"train": 20, "validation": 5, "test": 5}), Recipe(epochs=1, batch_size=8))
    found = discover().get(method)()
    model = assemble(found, backbone, task, 0, preset="mini", plan={"layer": 1} if found.search else None, pretrained=False).eval()
    steps = {}
    for model.stored in (None, stored := Stored.of(model.backbone)):
        model.zero_grad()
        (batch, *_) = model.batches("train", 0, shuffle=True)
        loss = model.loss(batch)
        loss.backward()
        steps[model.stored] = batch, loss, {name: p.grad for name, p in model.trained().items() if p.grad is not None}
    (_, computed, gradients), (batch, loss, others) = steps[None], steps[stored]
    assert {part for part in ("image_tokens", "text_tokens") if getattr(batch, part) is not None} == parts
    torch.testing.assert_close(loss, computed, atol=1e-6, rtol=1e-6)
    assert gradients and gradients.keys() == others.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(others[name], gradient, atol=1e-6, rtol=1e-4)
