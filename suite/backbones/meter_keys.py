"""The official METER checkpoint (meter_clip16_288_roberta_pretrain.ckpt): its names, told from ours.

Fusion layers, poolers, transforms and RoBERTa have the same names there; CLIP's tower has those of OpenAI's CLIP, where query, key and
value are stacked in this order.
"""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import torch
from torch import Tensor

from suite.backbones.common import misfits
from suite.errors import UserError

NAMES = {
    "vit_model.embeddings.class_embedding": "vit_model.visual.class_embedding",
    "vit_model.embeddings.position_embedding.weight": "vit_model.visual.positional_embedding",
    "vit_model.embeddings.patch_embedding.": "vit_model.visual.conv1.",
    "vit_model.pre_layrnorm.": "vit_model.visual.ln_pre.",
    "vit_model.post_layernorm.": "vit_model.visual.ln_post.",
    "vit_model.encoder.layers.": "vit_model.visual.transformer.resblocks.",
    ".self_attn.out_proj.": ".attn.out_proj.",
    ".layer_norm1.": ".ln_1.",
    ".layer_norm2.": ".ln_2.",
    ".mlp.fc1.": ".mlp.c_fc.",
    ".mlp.fc2.": ".mlp.c_proj.",
    "heads.mlm.decoder.bias": "mlm_score.bias",
    "heads.mlm.": "mlm_score.",
    "heads.itm.": "itm_score.fc.",
}
"""Part of our name -> what the checkpoint has there; tried in this order."""

STACKED = {f".self_attn.{letter}_proj.": third for third, letter in enumerate("qkv")}

UNUSED = (
    "vit_model.positional_embedding",
    "vit_model.ln_final.weight",
    "vit_model.ln_final.bias",
    "text_transformer.embeddings.position_ids",
)
"""In the checkpoint but in no forward pass: what is left of CLIP's text side, and a table of 0, 1, 2, ..."""


def read(file: str) -> dict[str, Tensor]:
    """The state dict of an official checkpoint in the folder PETLBENCH_MIRROR. Raises UserError where it is not there or cannot be read."""
    mirror = os.environ.get("PETLBENCH_MIRROR")
    if not mirror or not Path(mirror, file).is_file():
        raise UserError(f"the official checkpoint {file} is not in the folder PETLBENCH_MIRROR; it comes from github.com/zdou0830/METER")
    try:
        return torch.load(Path(mirror, file), map_location="cpu", weights_only=True)["state_dict"]
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, TypeError) as error:
        raise UserError(f"{file} in PETLBENCH_MIRROR is no METER checkpoint: {' '.join(str(error).split())[:200]}") from None


def official_name(own: str) -> tuple[str, int | None]:
    """Where a tensor of `pretrained_state` lies in the checkpoint: a name, and which third of its first axis (None: all of it)."""
    name, third = own.removeprefix("model."), None
    for part, index in STACKED.items():
        if part in name:
            name, third = name.replace(part, ".attn.in_proj_"), index
    for part, there in NAMES.items():
        name = name.replace(part, there)
    return name, third


def from_official(official: dict[str, Tensor], own: dict[str, Tensor]) -> dict[str, Tensor]:
    """The checkpoint's tensors under the names of `own`. Raises UserError listing those that are missing or unexpected,
    or naming one of another shape."""
    places = {name: official_name(name) for name in own}
    wanted = {name for name, _ in places.values()} | set(UNUSED)
    misfits("METER by its official names", wanted - official.keys(), official.keys() - wanted)
    found = {}
    for name, (there, third) in places.items():
        found[name] = tensor = official[there] if third is None else official[there].tensor_split(3)[third]
        if tensor.shape != own[name].shape:
            shape = "x".join(map(str, official[there].shape))
            raise UserError(f"the METER checkpoint's {there} has the shape {shape}, which does not fit {name}")
    return found

