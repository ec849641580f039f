"""Parity with the golden vectors, outputs and gradients, through the suite's layers, backbone and methods."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatch

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from vectors import SUFFIX, TOLERANCE, Arrays, Slots, attach, blocks, meter, part, post_norm, read, vilt

from suite.core import Backbone, Method
from suite.modules import Bottleneck

Tensors = dict[str, Tensor]
ELSEWHERE = ("dvp/*", "das/lavin_*", "das/llava_*", "das/bandit_llava")
"""Blocks of language models: tests/test_golden_language.py."""
BANDITS = {("das", "bandit_meter"), ("das", "bandit_vilt"), ("das", "bandit_reject")}


@dataclass
class Case:
    """What a block is computed with."""

    file: str
    block: str
    backbone: Backbone
    method: Method
    slots: Slots

    def cfg(self, name: str) -> list[int]:
        return part(self.file, self.block, "cfg").get(name, np.zeros(0, int)).tolist()


def module(case: Case, t: Tensors) -> Tensors:
    if case.file == "lora":
        return {"y": t["h"] + case.backbone.model.get_submodule("self.q")(t["x"])}
    own = list(case.backbone.attached.values())
    if case.file == "das":
        skip = case.backbone.layer.replacement
        return {"delta": Bottleneck.forward(skip, t["x"]), "skip": skip(t["x"])}
    if case.file == "scaled_pa":
        return {"delta": Bottleneck.forward(own[0], t["x"]), "with_residual": own[0](t["x"], t["x"])}
    return {"y": own[0](t.get("h", t["x"]), t["x"])}


def meter_self(case: Case, t: Tensors) -> Tensors:
    return {"y": case.backbone.layer.self_attention(t["x"], None, t["mask"].bool())}


def meter_cross(case: Case, t: Tensors) -> Tensors:
    return {"y": case.backbone.layer.cross_attention(t["x"], t["kv"], t["kv_mask"].bool())}


def meter_layer(case: Case, t: Tensors) -> Tensors:
    return {"y": case.backbone.layer(t["x"], t["mask"].bool(), t["kv"], t["kv_mask"].bool())}


def vilt_attn(case: Case, t: Tensors) -> Tensors:
    x, mask, n = _prompts_out(case, t)
    return {"y": case.backbone.layers[0].self_attention.inside(x, None, mask)[:, :n]}


def vilt_block(case: Case, t: Tensors) -> Tensors:
    x, mask, n = _prompts_out(case, t)
    return {"y": case.backbone.layers[0](x, mask)[:, :n]}


def _prompts_out(case: Case, t: Tensors) -> tuple[Tensor, Tensor, int]:
    """In these blocks of deep prompts the tokens of x from n on are the prompts, other ones for each example.

    Prompts are always visible in the suite; should a block hide some, they stay in the sequence, where a mask reaches them.
    """
    x, mask = t["x"], t["mask"].bool()
    n = part(case.file, case.block, "out")["y"].shape[1]
    if case.file == "prompt_deep":
        kept = n if mask[:, n:].all() else x.shape[1]
        prompt = case.backbone.layers[0].self_attention.taps["key_value"][0]
        del prompt.tokens
        prompt.tokens, x, mask = x[:, kept:], x[:, :kept], mask[:, :kept]
    return x, mask, n


def vilt_stack(case: Case, t: Tensors) -> Tensors:
    if case.file == "das":
        case.method.choose(case.backbone, case.cfg("skip_module"))
    features = case.backbone.encode(*case.backbone.join(t["text"], t["image"], t["text_mask"], t["image_mask"]))
    text, image = features.tokens.tensor_split([t["text"].shape[1]], dim=1)
    return {"text_feats": text, "image_feats": image, "cls_feats": features.pooled}


def meter_stack(case: Case, t: Tensors) -> Tensors:
    if case.file == "das":
        layers = [(site.stream, site.depth) for site in case.backbone.sites("layer")]
        official = sorted(layers, key=lambda layer: (layer[0] != "text", layer[1]))  # all of text, then all of image
        case.method.choose(case.backbone, [layers.index(official[i]) for i in case.cfg("skip_module")])
    features = case.backbone.encode(*case.backbone.join(t["text"], t["image"]), t["text_mask"].bool())
    length = part(case.file, case.block, "out")["text_feats"].shape[1]
    text, image = features.tokens.tensor_split([length], dim=1)
    return {"text_feats": text, "image_feats": image, "cls_feats": features.pooled}


COMPUTE: dict[str, Callable[[Case, Tensors], Tensors]] = {
    f.__name__: f for f in (module, meter_self, meter_cross, meter_layer, meter_stack, vilt_attn, vilt_block, vilt_stack)
}


def is_elsewhere(file: str, block: str) -> bool:
    return any(fnmatch(f"{file}/{block}", pattern) for pattern in ELSEWHERE)


def build(file: str, block: str, dtype: torch.dtype) -> Case:
    w, heads = part(file, block, "w"), int(read(file)["cfg/heads"])
    if block == "module":
        width = part(file, block, "in")["x"].shape[-1]
        zeros = {f"self.{name}.weight": np.zeros((width, width), np.float32) for name in "qkvo"}
        backbone, slots = post_norm(zeros | {"self.ln.weight": np.zeros(width, np.float32)}, 1)[0], Slots()
        for parameter in backbone.parameters():
            nn.init.zeros_(parameter)
    else:
        builder = vilt if block.startswith("vilt") else meter if block == "meter_stack" else post_norm
        backbone, slots = builder(w, heads)
    method = attach(file, block, backbone, slots)
    backbone.to(dtype).eval()
    slots.load(w)
    return Case(file, block, backbone, method, slots)


def compare(file: str, block: str, dtype: torch.dtype, slots: Slots, compute: Callable[[Tensors], Tensors]) -> None:
    """Assert that outputs and gradients of a block are the recorded ones. compute: the block's inputs -> its outputs."""
    wanted = part(file, block, f"grad{SUFFIX[dtype]}")
    inputs = {name: torch.from_numpy(array) for name, array in part(file, block, "in").items()}
    inputs = {name: x.to(dtype).requires_grad_(name in wanted) if x.is_floating_point() else x for name, x in inputs.items()}
    for name in wanted.keys() & slots.slots.keys():
        for parameter in slots.slots[name]:
            parameter.requires_grad_(True)
    outputs = compute(inputs)
    sum((outputs[name] * torch.from_numpy(r).to(dtype)).sum() for name, r in part(file, block, "r").items()).backward()
    assert_close(outputs, part(file, block, f"out{SUFFIX[dtype]}"), TOLERANCE[dtype])
    grads = {name: x.grad for name, x in inputs.items() if x.requires_grad} | slots.grads(wanted)
    assert_close(grads, wanted, TOLERANCE[dtype])


def assert_close(found: Tensors, wanted: Arrays, tolerance: float) -> None:
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        error = np.abs(found[name].detach().numpy().reshape(value.shape) - value).max()
        assert error <= tolerance * max(1.0, np.abs(value).max()), f"{name} is off by {error:.1e}"


@pytest.mark.parametrize("dtype", TOLERANCE, ids=["float64", "float32"])
@pytest.mark.parametrize(("file", "block"), [pair for pair in blocks() if pair[1] in COMPUTE and not is_elsewhere(*pair)])
def test_golden_block(file: str, block: str, dtype: torch.dtype) -> None:
    torch.set_num_threads(1)
    case = build(file, block, dtype)
    compare(file, block, dtype, case.slots, lambda inputs: COMPUTE[block](case, inputs))


def test_golden_folder_is_covered() -> None:
    found = blocks()
    assert found, "no golden vectors found"
    unknown = [pair for pair in found if pair[1] not in COMPUTE and pair not in BANDITS and not is_elsewhere(*pair)]
    assert not unknown, f"blocks that no test reads: {unknown}"
