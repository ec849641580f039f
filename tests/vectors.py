"""Golden vectors: reading the folder, and the suite's own layers and backbones filled with a block's weights. Layout: its README."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from transformers import BertConfig, CLIPVisionConfig, RobertaConfig, ViltConfig, ViltModel

from baselines.adapter import Adapter
from baselines.lora import Lora
from baselines.parallel_adapter import ParallelAdapter
from baselines.prompt import DeepPrompt, ShallowPrompt
from methods.apt import APT
from methods.das import DAS
from suite.backbones.meter import METER, STREAMS, MeterModel
from suite.backbones.vilt import ViLT
from suite.core import Backbone, Kind, Method, Site, freeze
from suite.layers import Attention, FeedForward, Layer, Sequence, SubLayer

FOLDER = Path(os.environ.get("GOLDEN_DIR") or Path(__file__).parent / "golden")
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-5}
SUFFIX = {torch.float64: "64", torch.float32: ""}
Arrays = dict[str, np.ndarray]


@cache
def read(file: str) -> Arrays:
    """All arrays of one file, by full name."""
    with np.load(FOLDER / f"{file}.npz", allow_pickle=False) as data:
        return dict(data)


def blocks() -> list[tuple[str, str]]:
    """(file, block) of everything in the folder."""
    found = {(path.stem, name.split("/")[0]) for path in FOLDER.glob("*.npz") for name in read(path.stem) if "/" in name}
    return sorted(pair for pair in found if pair[1] != "cfg")


def part(file: str, block: str, kind: str) -> Arrays:
    """One kind (`in`, `w`, `cfg`, `r`, `out`, `grad64`, ...) of a block, by short name."""
    start = f"{block}/{kind}/"
    return {name.removeprefix(start): array for name, array in read(file).items() if name.startswith(start)}


def method_for(file: str, block: str) -> Method:
    """The suite's method of a file, with the sizes of this block's arrays."""
    w = part(file, block, "w")

    def size(ending: str, axis: int) -> int:
        return next((array.shape[axis] for name, array in w.items() if name.endswith(ending) and "skip." not in name), 1)

    skip = next((array.shape[0] for name, array in w.items() if "skip." in name and name.endswith("down.weight")), None)
    deep = part(file, block, "in")["x"].shape[1] - part(file, block, "out")["y"].shape[1] if block in ("vilt_attn", "vilt_block") else 0
    length = next((array.shape[-2] for name, array in w.items() if name.startswith("prompt")), deep)
    return {
        "apt": lambda: APT(length=size("tokens", 0), rank=size("down", 0)),
        "lora": lambda: Lora(rank=size("A", 1)),
        "adapter": lambda: Adapter(bottleneck=size("down.weight", 0)),
        "scaled_pa": lambda: ParallelAdapter(bottleneck=size("down.weight", 0)),
        "prompt_shallow": lambda: ShallowPrompt(length=length),
        "prompt_deep": lambda: DeepPrompt(length=length),
        "das": lambda: DAS(bottleneck=size("down.weight", 0), skip_bottleneck=skip or size("down.weight", 0)),
    }[file]()


@dataclass
class Slots:
    """Which parameters hold a golden array: several are stacked in it; a LoRA matrix lies transposed."""

    slots: dict[str, list[nn.Parameter]] = field(default_factory=dict)

    def add(self, name: str, parameters: Iterable[nn.Parameter]) -> None:
        self.slots.setdefault(name, []).extend(parameters)

    def add_modules(self, start: str, places: dict[str, list[nn.Module]]) -> None:
        """Weight and bias of the modules that lie at each name, stacked where there are several."""
        for name, modules in places.items():
            self.add(f"{start}{name}.weight", [m.weight for m in modules])
            self.add(f"{start}{name}.bias", [m.bias for m in modules])

    def load(self, w: Arrays) -> None:
        assert self.slots.keys() == w.keys(), sorted(self.slots.keys() ^ w.keys())
        for name, parameters in self.slots.items():
            value = torch.from_numpy(w[name])
            pieces = [value] if len(parameters) == 1 else value.chunk(len(parameters))
            for parameter, piece in zip(parameters, pieces, strict=True):
                parameter.data.copy_(piece.T if _lies_transposed(name) else piece.reshape(parameter.shape))

    def grads(self, names: Iterable[str]) -> dict[str, Tensor]:
        """Gradients in golden layout; zero where a parameter took no part."""
        return {name: self._grad(name) for name in names if name in self.slots}

    def _grad(self, name: str) -> Tensor:
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in self.slots[name]]
        return torch.cat([g.T if _lies_transposed(name) else g for g in grads])


def _lies_transposed(name: str) -> bool:
    return name.split(".")[-1] in ("A", "B")


class PostNorm(Backbone):
    """One METER layer, or a part of one, as plain modules that carry the golden names; the suite's own Layer computes."""

    name = "golden"

    def __init__(self, w: Arrays, heads: int):
        super().__init__(_tree(w), "golden")
        model = self.model

        def attention(p: str) -> Attention | None:
            paths = [f"{p}.{name}" for name in ("q", "k", "v", "o", "ln")]
            return Attention(model, *paths, heads, norm_first=False) if hasattr(model, p) else None

        model.activation = nn.GELU()
        ffn = FeedForward(model, "ffn.in", "ffn.out", "ffn.ln", "activation", norm_first=False) if hasattr(model, "ffn") else None
        self.layer = Layer(attention("self"), ffn, attention("cross"))  # type: ignore[arg-type]

    def sites(self, *kinds: Kind) -> list[Site]:
        width = next(m.normalized_shape[0] for m in self.model.modules() if isinstance(m, nn.LayerNorm))
        found = [Site("layer", "layer", "text", 0, width, "after", self.layer, self)]
        found += [Site(k, k, "text", 0, width, "after", p, self, dict(p.linears)) for k, p in self.layer.sub_layers().items()]
        return [site for site in found if site.kind in kinds]

    def add_class_token(self) -> None:
        """Nothing: a layer is given its tokens."""


def _tree(w: Arrays) -> nn.Module:
    """Nested modules from the names of Linear and LayerNorm weights."""
    root = nn.Module()
    for name in (name.removesuffix(".weight") for name in w if name.endswith(".weight")):
        *path, leaf = name.split(".")
        parent = root
        for step in path:
            parent = parent.get_submodule(step) if hasattr(parent, step) else _new_child(parent, step)
        shape = w[f"{name}.weight"].shape
        parent.add_module(leaf, nn.LayerNorm(shape, eps=1e-12) if len(shape) == 1 else nn.Linear(shape[1], shape[0]))
    return root


def _new_child(parent: nn.Module, name: str) -> nn.Module:
    parent.add_module(name, nn.Module())
    return parent.get_submodule(name)


def post_norm(w: Arrays, heads: int) -> tuple[PostNorm, Slots]:
    """A METER layer for the weights that are not the method's own."""
    backbone, slots = PostNorm({k: v for k, v in w.items() if not _is_method(k)}, heads), Slots()
    for name, parameter in backbone.model.named_parameters():
        slots.add(name, [parameter])
    return backbone, slots


def vilt(w: Arrays, heads: int) -> tuple[ViLT, Slots]:
    """The suite's ViLT with as many and as large blocks as the arrays have."""
    blocks_there = sorted({name.split(".")[1] for name in w if name.startswith("block.")}, key=int)
    width = next(array.shape[1] for name, array in w.items() if name.endswith("qkv.weight"))
    inner = next((array.shape[0] for name, array in w.items() if name.endswith("ffn.in.weight")), width)
    model = ViltModel(ViltConfig(
        vocab_size=3, hidden_size=width, num_hidden_layers=max(1, len(blocks_there)), num_attention_heads=heads, intermediate_size=inner,
        layer_norm_eps=1e-6, image_size=2, patch_size=2, max_position_embeddings=2))  # fmt: skip
    backbone, slots = ViLT(model, "golden", class_id=0, length=8), Slots()
    if "cls_token" in w:
        backbone.add_class_token()
    for depth, layer in enumerate(model.encoder.layer):
        _vilt_slots(slots, f"block.{depth}." if blocks_there else "", layer, w)
    if blocks_there:
        slots.add("token_type", [model.embeddings.token_type_embeddings.weight])
        slots.add_modules("", {"final_ln": [model.layernorm], "pooler": [model.pooler.dense]})
    return backbone, slots


def _vilt_slots(slots: Slots, start: str, layer: nn.Module, w: Arrays) -> None:
    attention = layer.attention.attention
    places = {
        "ln1": [layer.layernorm_before],
        "self.qkv": [attention.query, attention.key, attention.value],
        "self.o": [layer.attention.output.dense],
        "ln2": [layer.layernorm_after],
        "ffn.in": [layer.intermediate.dense],
        "ffn.out": [layer.output.dense],
    }
    slots.add_modules(start, {name: modules for name, modules in places.items() if f"{start}{name}.weight" in w})
    if f"{start}ln1.weight" not in w:
        layer.layernorm_before = nn.Identity()


def meter(w: Arrays, heads: int) -> tuple[METER, Slots]:
    """The suite's METER with as many and as large fusion layers as the arrays have, and towers without layers."""
    depth = 1 + max(int(name.split(".")[1]) for name in w if name.startswith("text."))
    inner, width = w["text.0.ffn.in.weight"].shape
    sizes = {"hidden_size": width, "num_attention_heads": heads, "intermediate_size": inner}
    model = MeterModel(
        RobertaConfig(**sizes, vocab_size=3, num_hidden_layers=0, max_position_embeddings=4),
        CLIPVisionConfig(**sizes, num_hidden_layers=0, image_size=2, patch_size=2),
        BertConfig(**sizes, vocab_size=3, num_hidden_layers=depth, is_decoder=True, add_cross_attention=True))  # fmt: skip
    backbone, slots = METER(model, "golden", lengths=(8, 8)), Slots()
    if "cls_token" in w:
        backbone.add_class_token()
    slots.add("token_type", [model.token_type_embeddings.weight])
    for stream in STREAMS:
        slots.add_modules("", {f"{stream}_pooler": [model.part(stream, "pooler").dense]})
        for index, layer in enumerate(model.part(stream, "layers")):
            slots.add_modules(f"{stream}.{index}.", _meter_places(layer))
    return backbone, slots


def _meter_places(layer: nn.Module) -> dict[str, list[nn.Module]]:
    found = {"ffn.in": [layer.intermediate.dense], "ffn.out": [layer.output.dense], "ffn.ln": [layer.output.LayerNorm]}
    for name, attention in (("self", layer.attention), ("cross", layer.crossattention)):
        inside, after = attention.self, attention.output
        modules = {"q": inside.query, "k": inside.key, "v": inside.value, "o": after.dense, "ln": after.LayerNorm}
        found |= {f"{name}.{letter}": [module] for letter, module in modules.items()}
    return found


def _is_method(name: str) -> bool:
    return any(step in ("apt", "adapter", "lora_q", "lora_v", "skip") or step.startswith("prompt") for step in name.split("."))


def attach(file: str, block: str, backbone: Backbone, slots: Slots) -> Method:
    """Attach the file's method as training does, and add its parameters under their golden names."""
    freeze(backbone)
    method, own = method_for(file, block), Slots()
    method.attach(backbone, None)
    for site in backbone.sites("sequence", "layer", "self", "cross", "ffn"):
        for name, parameter in _site_parameters(file, backbone, site):
            own.add(_golden_name(file, block, site, name), [parameter])
    there = part(file, block, "w")
    if "cls_token" in there:
        own.add("cls_token", [backbone.class_token])
    for name, parameters in own.slots.items():
        if name in there:
            slots.add(name, parameters)
    return method


def _site_parameters(file: str, backbone: Backbone, site: Site) -> list[tuple[str, nn.Parameter]]:
    if file == "lora":
        roles = [role for role in ("query", "value") if role in site.linears]
        layers = [(role[0], backbone.model.get_submodule(site.linears[role])) for role in roles]
        return [(f"lora_{letter}.{m}", getattr(layer, f"lora_{m}")["default"].weight) for letter, layer in layers for m in "AB"]
    return [pair for module in _modules_at(site.target) for pair in module.named_parameters()]


def _modules_at(target: SubLayer | Layer | Sequence) -> list[nn.Module]:
    if isinstance(target, Layer):
        return [] if target.replacement is None else [target.replacement]
    return [module for modules in target.taps.values() for module in modules]


def _golden_name(file: str, block: str, site: Site, name: str) -> str:
    if file.startswith("prompt"):
        return _prompt_name(block, site)
    if file == "lora":
        return name.removeprefix("lora_q.") if block == "module" else f"{_start(block, site)}{name}"
    name = name.removesuffix(".weight") if file == "apt" else name
    if block == "module":
        return {"apt": f"apt.{name}", "das": name if site.kind == "layer" else f"-{name}"}.get(file, name)
    if site.kind == "layer":
        return f"{'' if site.stream == 'fused' else f'{site.stream}_'}skip.{site.depth}.{name}"
    return f"{_start(block, site)}{'apt' if file == 'apt' else 'adapter'}.{name}"


def _prompt_name(block: str, site: Site) -> str:
    """In METER's stack named by the stream that they stand beside, which for a cross-attention is the one that it reads."""
    if block != "meter_stack":
        return "prompt"
    other = {"text": "image", "image": "text"}[site.stream]
    return f"prompt.{other if site.kind == 'cross' else site.stream}"


def _start(block: str, site: Site) -> str:
    layers = "block" if site.stream == "fused" else site.stream
    return f"{layers}.{site.depth}.{site.kind}." if block.endswith("stack") else f"{site.kind}."
