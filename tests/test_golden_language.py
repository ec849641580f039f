"""Parity with the golden vectors of language models: DVP, LaVIN and the layers of LLaVA, and the searches on them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from test_golden import compare, is_elsewhere
from test_golden_bandit import Recorded
from torch import Tensor, nn
from transformers import BertConfig, BertModel, LlamaConfig, LlamaModel, T5Config, T5Model
from vectors import SUFFIX, TOLERANCE, Arrays, Slots, blocks, part, read

from methods.dvp import DVP, DVPAdapter
from suite.backbones.bert import BERT
from suite.backbones.language import LanguageModel, Pictures
from suite.backbones.llama import LLaMA
from suite.backbones.t5 import T5
from suite.bandit import Bandit
from suite.core import freeze
from suite.layers import causal
from suite.router import Router, RouterAdapter
from suite.visual import LanguageAdapter, PromptGenerator

Tensors = dict[str, Tensor]
LEFT_OUT = {"lavin_text_module": "the form of LaVIN's adapter that reads no pictures"}
SEARCHES = ("kab", "bandit_llava")


@dataclass
class Case:
    """A block: what computes it, its parameters by golden name, the arrays as these parameters hold them."""

    module: nn.Module
    compute: Callable[[Tensors], Tensors]
    w: Arrays
    slots: Slots = field(default_factory=Slots)


class Eyes(nn.Module):
    """A vision tower that is never run, of the width of what the blocks are given."""

    vision_width = 32


def generator(block: str) -> Case:
    w = part("dvp", block, "w")
    heads = int(part("dvp", block, "cfg").get("heads", read("dvp")["cfg/heads"]))
    (inner, width), visual = w["q.weight"].shape, w["k.weight"].shape[1]
    module = PromptGenerator(width, visual, inner, heads, types=False, dropout=0.1)

    def compute(t: Tensors) -> Tensors:
        """A hidden token is one that is not there; the suite shows all of them."""
        if "ignore" not in t:
            return {"y": module.make(t["query"], t["visual"])}
        rows = zip(t["query"], t["visual"], t["ignore"].flatten(1), strict=True)
        return {"y": torch.cat([module.make(query[None], visual[~hidden][None]) for query, visual, hidden in rows])}

    case = Case(module, compute, w)
    case.slots.add_modules("", {name[0]: [child] for name, child in _generator(module).items()})
    return case


def _generator(module: PromptGenerator) -> dict[str, nn.Linear]:
    return {"q": module.query, "k": module.key, "v": module.value, "o": module.out}


def adapter(block: str) -> Case:
    w = part("dvp", block, "w")
    module = LanguageAdapter(*w["down.weight"].shape[::-1], silu=block == "adapter_llama")
    case = Case(module, lambda t: {"y": module(t["x"], t["x"])}, w)
    case.slots.add_modules("", {"down": [module.down], "up": [module.up]})
    return case


def bert(block: str) -> Case:
    w = part("dvp", block, "w")
    layers = len({name.split(".")[1] for name in w if name.startswith("layer.")})
    sizes = {"hidden_size": 32, "num_hidden_layers": layers, "num_attention_heads": 4, "intermediate_size": 64, "layer_norm_eps": 1e-12}
    own = BERT(BertModel(BertConfig(vocab_size=3, **sizes), add_pooling_layer=False), "golden", Eyes())
    case, cfg = Case(own, lambda t: {}, w), part("dvp", block, "cfg")
    attached(case, own, "adapter.0.up.bias" in w, cfg)
    for depth, layer in enumerate(own.model.encoder.layer):
        inside, after, output = layer.attention.self, layer.attention.output, layer.output
        places = {"self.q": inside.query, "self.k": inside.key, "self.v": inside.value, "self.o": after.dense, "self.ln": after.LayerNorm,
                  "ffn.in": layer.intermediate.dense, "ffn.out": output.dense, "ffn.ln": output.LayerNorm}  # fmt: skip
        case.slots.add_modules(f"layer.{depth}.", {name: [module] for name, module in places.items()})
    if cfg:
        case.compute = lambda t: {"cls_feats": own.encode(t["text"], t["mask"], Pictures(t["visual"], None)).pooled}
    else:
        case.compute = lambda t: {"y": own.layers[0](t["x"], t["mask"].bool())}
    return case


def t5(block: str) -> Case:
    w = part("dvp", block, "w")
    config = T5Config(vocab_size=3, d_model=32, d_kv=8, d_ff=64, num_layers=3, num_decoder_layers=3, num_heads=4)
    own = T5(T5Model(config), "golden", Eyes())

    def compute(t: Tensors) -> Tensors:
        encoded, mask = own.encode(t["text"], t["mask"])
        return {"decoder_feats": own.decode(t["start"], encoded, mask, Pictures(t["visual"], None)).pooled}

    case = Case(own, compute, w)
    attached(case, own, "enc_adapter.0.up.bias" in w, part("dvp", block, "cfg"))
    for name, stack in (("enc", own.model.encoder), ("dec", own.model.decoder)):
        case.slots.add(f"{name}.final_ln.weight", [stack.final_layer_norm.weight])
        for depth, layer in enumerate(stack.block):
            for at, part_of in enumerate(layer.layer):
                case.slots.add(f"{name}.{depth}.ln{at + 1}.weight", [part_of.layer_norm.weight])
            kinds = [("self", layer.layer[0].SelfAttention)] + ([("cross", layer.layer[1].EncDecAttention)] if name == "dec" else [])
            for kind, attention in kinds:
                for letter in "qkvo":
                    case.slots.add(f"{name}.{depth}.{kind}.{letter}.weight", [getattr(attention, letter).weight])
            dense = layer.layer[-1].DenseReluDense
            case.slots.add(f"{name}.{depth}.ffn.in.weight", [dense.wi.weight])
            case.slots.add(f"{name}.{depth}.ffn.out.weight", [dense.wo.weight])
        case.slots.add(f"{name}.0.self.rel_bias", [stack.block[0].layer[0].SelfAttention.relative_attention_bias.weight])
    return case


def attached(case: Case, own: LanguageModel, adapters: bool, cfg: Arrays) -> None:
    """DVP as training attaches it; its parameters join the case's."""
    freeze(own)
    layer = int(cfg.get("insert_layer", 0))
    (DVPAdapter if adapters else DVP)().attach(own, {"layer": layer})
    if cfg:
        (made,) = own.sequence.taps[f"visual.{layer}"]
        case.slots.add("token_type", [made.types.weight])
        case.slots.add_modules("xattn.", {name: [child] for name, child in _generator(made).items()})
    counts = {"encoder": 0, "decoder": 0, "layer": 0}
    for site in own.sites("self", "cross", "ffn") if adapters else ():
        part_of = site.name.split(".")[0]
        start = {"encoder": "enc_", "decoder": "dec_", "layer": ""}[part_of]
        (tap,) = site.target.taps["output"]
        case.slots.add_modules(f"{start}adapter.{counts[part_of]}.", {"down": [tap.down], "up": [tap.up]})
        counts[part_of] += 1


class Ahead(nn.Module):
    """What LLaVA's adapters are: z + up(relu(down(z))), where the sub-layer or the replacement of a layer reads."""

    def __init__(self, w: Arrays, start: str):
        super().__init__()
        self.adapter = LanguageAdapter(*w[f"{start}down.weight"].shape[::-1])

    def forward(self, u: Tensor) -> Tensor:
        return self.adapter(u, u)


def llama(block: str) -> Case:
    """A layer of LLaVA or LaVIN. LaVIN turns neighbouring coordinates, the suite those half a head apart: queries and keys are sorted."""
    w, kept = part("das", block, "w"), block.endswith("layer")
    inner = w["mlp.gate.weight"].shape[0] if kept else 8
    own = LLaMA(LlamaModel(LlamaConfig(vocab_size=3, hidden_size=32, num_hidden_layers=1, num_attention_heads=4, intermediate_size=inner,
                                       rms_norm_eps=1e-5)), "golden")  # fmt: skip
    freeze(own)
    layer, case = own.model.layers[0], Case(own, lambda t: {}, dict(w))
    case.compute = lambda t: {"y": own.layers[0](t["x"], causal(t["x"], None), rotary=own._rotary(t["x"]))}
    case.slots.add("rms1.weight", [layer.input_layernorm.weight])
    if kept:
        places = {f"self.{letter}": getattr(layer.self_attn, f"{letter}_proj") for letter in "qkvo"}
        places |= {f"mlp.{name}": getattr(layer.mlp, f"{name}_proj") for name in ("gate", "up", "down")}
        for name, module in places.items():
            case.slots.add(f"{name}.weight", [module.weight])
        case.slots.add("rms2.weight", [layer.post_attention_layernorm.weight])
    if block.startswith("lavin"):
        for letter in "qk" if kept else "":
            heads = case.w[f"self.{letter}.weight"].reshape(4, 4, 2, 32)
            case.w[f"self.{letter}.weight"] = heads.transpose(0, 2, 1, 3).reshape(32, 32)
    for kind, start in {"layer": (("self", "self.adapter."), ("ffn", "mlp.adapter.")), "skip": (("layer", "skip."),)}[block.split("_")[1]]:
        _adapt(case, own, kind, start)
    return case


def _adapt(case: Case, own: LLaMA, kind: Any, start: str) -> None:
    if f"{start}down.weight" not in case.w:
        return
    (site,) = own.sites(kind)
    position = "skip" if kind == "layer" else "input"
    if f"{start}router.weight" in case.w:
        inner = len(case.w[f"{start}down.bias"])
        module = site.attach(position, (Router if kind == "layer" else RouterAdapter)(32, inner))
        case.slots.add_modules(start, {name: [getattr(module, name)] for name in ("down", "up_b", "up_d", "router")})
    else:
        module = site.attach(position, Ahead(case.w, start))
        case.slots.add_modules(start, {name: [getattr(module.adapter, name)] for name in ("down", "up")})


def router(block: str) -> Case:
    w = part("das", block, "w")
    module = RouterAdapter(32, len(w["down.bias"]))
    case = Case(module, lambda t: {"with_residual": module(t["x"]), "delta": Router.forward(module, t["x"])}, w)
    case.slots.add_modules("", {name: [getattr(module, name)] for name in ("down", "up_b", "up_d", "router")})
    return case


BUILD: dict[str, Callable[[str], Case]] = {
    "xattn": generator, "xattn_llama": generator, "xattn_mask": generator, "adapter": adapter, "adapter_llama": adapter,
    "bert_adapter_layer": bert, "bert_stack": bert, "bert_adapter_stack": bert, "t5_stack": t5, "t5_adapter_stack": t5,
    "lavin_layer": llama, "lavin_skip": llama, "llava_layer": llama, "llava_skip": llama, "lavin_module": router,
}  # fmt: skip
HERE = [pair for pair in blocks() if is_elsewhere(*pair)]


@pytest.mark.parametrize("dtype", TOLERANCE, ids=["float64", "float32"])
@pytest.mark.parametrize(("file", "block"), [pair for pair in HERE if pair[1] in BUILD])
def test_golden_block(file: str, block: str, dtype: torch.dtype) -> None:
    if not part(file, block, f"out{SUFFIX[dtype]}"):
        pytest.skip("the official code computes this in float32 alone")
    torch.set_num_threads(1)
    case = BUILD[block](block)
    case.module.to(dtype).eval()
    case.slots.load(case.w)
    compare(file, block, dtype, case.slots, case.compute)


def test_golden_blocks_of_language_models_are_covered() -> None:
    assert {block for _, block in HERE if block not in ("meta", "cfg")} == BUILD.keys() | LEFT_OUT.keys() | set(SEARCHES)


def test_golden_llava_bandit() -> None:
    """The rule with all ranks' rewards in one batch: a rank's mean moves the scores, the mean over all is the baseline."""
    trace, cfg = part("das", "bandit_llava", "trace"), part("das", "bandit_llava", "cfg")
    bandit = Bandit(int(cfg["n"]), np.random.default_rng(0), "sigmoid", rate=0.1)
    for before, subsets, losses, after in zip(
        *(trace[f"update_{name}"] for name in ("scores_before", "selects", "losses", "scores_after")), strict=True
    ):
        np.testing.assert_allclose(bandit.preferences, before, atol=1e-8)
        bandit.update(subsets.tolist(), np.exp(-losses.astype(float)).mean(0).tolist())
        np.testing.assert_allclose(bandit.preferences, after, atol=1e-8)


class Replay:
    """core.Trial that replays the recorded search of DVP."""

    epochs, steps_per_epoch = 2, 6

    def __init__(self) -> None:
        self.recorded, self.trace = part("dvp", "kab", "trace"), {}
        self.rng = np.random.default_rng(0)
        self.layers, self.batches = [], 0
        self.scores = iter(zip(self.recorded["sampled"].ravel().tolist(), self.recorded["scores"].ravel().tolist(), strict=True))

    def train_step(self, choice: int) -> float:
        self.layers.append(choice)
        return 0.0

    def new_batch(self) -> None:
        self.batches += 1

    def reward_score(self, choice: int) -> float:
        layer, score = next(self.scores)
        assert choice == layer
        return score


def test_golden_dvp_search(monkeypatch: pytest.MonkeyPatch) -> None:
    """DVP.search, shown the recorded scores, ends with the official preferences and layer."""
    trial, cfg = Replay(), part("dvp", "kab", "cfg")

    def recorded(arms: int, _: Any, probability: Any, rate: float) -> Recorded:
        assert rate == pytest.approx(float(cfg["step_size"]))
        bandit = Recorded(arms, [[layer] for layer in trial.recorded["sampled"].ravel().tolist()], part("dvp", "kab", "in")["alpha0"])
        bandit.probability, bandit.rate = probability, rate
        return bandit

    monkeypatch.setattr("methods.dvp.Bandit", recorded)
    method = DVP()
    method._arms, method._draws = int(cfg["num_layers"]), int(cfg["search_sample"])
    assert method.search(trial) == {"layer": int(part("dvp", "kab", "out")["best_layer"])}
    np.testing.assert_allclose(trial.trace["preferences"], trial.recorded["alpha_after"][-1], atol=1e-7)
    assert trial.trace["updates"] == trial.batches == len(trial.layers) == 12 and set(trial.layers) <= set(range(4))
