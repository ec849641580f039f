"""Stable Diffusion (Rombach et al. 2022, arXiv:2112.10752): a UNet that takes noise out of a picture under a text.

Weights, configuration and the UNet's own forward lie in `diffusers`; suite/backbones/unet.py gives it the positions of `layers.py`.
`mini` has no VAE: blocks of 2 x 2 pixels are its latent channels.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, DDIMScheduler, DDPMScheduler, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

from suite.backbones import common, shipped, unet
from suite.backbones.hub import from_hub
from suite.core import Batch, Features, Kind, Prefix, Site
from suite.data.text import CLS, PAD, SEP, tokenizer
from suite.view import View


@dataclass(frozen=True)
class Preset:
    """A size. unet, text, vae, schedule: for UNet2DConditionModel, CLIPTextConfig, AutoencoderKL (none: no VAE) and the schedulers.

    empty: ids of the text that says nothing. checkpoint: shipped file or hub repository. word_std, position_std: of freshly initialised
    word and position embeddings. papers: see `papers_input`.
    """

    unet: dict[str, Any]
    text: dict[str, Any]
    schedule: dict[str, Any]
    empty: tuple[int, ...]
    checkpoint: str
    vae: dict[str, Any] = field(default_factory=dict)
    word_std: float = 0.02
    position_std: float = 0.02
    papers: tuple[int, int, int] | None = None


BLOCK = 2
"""Side of the pixel blocks that are `mini`'s latent channels."""
PARTS = {UNet2DConditionModel: "unet", CLIPTextModel: "text_encoder", AutoencoderKL: "vae"}
"""Folders of a checkpoint on the hub."""
_PLAIN, _CROSS = "DownBlock2D", "CrossAttnDownBlock2D"

PRESETS = {
    "mini": Preset(
        unet={
            "sample_size": 16, "in_channels": 3 * BLOCK**2, "out_channels": 3 * BLOCK**2, "block_out_channels": (48, 64),
            "down_block_types": (_PLAIN, _CROSS), "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"), "layers_per_block": 1,
            "attention_head_dim": 4, "norm_num_groups": 8, "cross_attention_dim": 96,
        },
        text={
            "hidden_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 384, "max_position_embeddings": 32,
            "pad_token_id": PAD, "bos_token_id": CLS, "eos_token_id": SEP,
        },
        schedule={"beta_schedule": "squaredcos_cap_v2", "prediction_type": "v_prediction", "timestep_spacing": "trailing"},
        empty=(CLS, SEP), checkpoint="stable_diffusion-mini", word_std=0.5, position_std=0.3,
    ),
    "paper": Preset(
        unet={"sample_size": 64, "cross_attention_dim": 768},
        text={"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072},
        schedule={"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "clip_sample": False, "steps_offset": 1},
        vae={
            "block_out_channels": (128, 256, 512, 512), "down_block_types": ("DownEncoderBlock2D",) * 4,
            "up_block_types": ("UpDecoderBlock2D",) * 4, "layers_per_block": 2, "sample_size": 512,
        },
        empty=(49406, *76 * (49407,)), checkpoint="stable-diffusion-v1-5/stable-diffusion-v1-5", papers=(77, 512, 512),
    ),
}  # fmt: skip


class StableDiffusion(common.Pretrained):
    """Sites of stream `latent`, in every transformer block of the UNet in the order of the forward: `layer.<i>.self`, `.cross`, `.ffn`.

    model: the UNet, which is all that methods may train; text_model, vae: frozen. There is no read-out: tasks use `text_states`,
    `latents`, `noise`, `target`, `predict` and `sample`. Latents z are (B, C, h, w), what the UNet works on.
    """

    name: ClassVar[str] = "stable_diffusion"
    sizes: ClassVar[dict[str, Preset]] = PRESETS
    view: ClassVar[View] = View("openai/clip-vit-large-patch14", 49_408, length=77, side=512, padded=True)

    def __init__(self, model: UNet2DConditionModel, text_model: CLIPTextModel, vae: AutoencoderKL | None, schedule: dict[str, Any],
                 empty: tuple[int, ...], preset: str):  # fmt: skip
        super().__init__(model, preset)
        self.text_model, self.vae, self.empty = text_model, vae, empty
        with torch.device("cpu"):
            self.schedule = DDPMScheduler.from_config(schedule)
        self.blocks = unet.describe(model)

    @classmethod
    def build(cls, preset: str, pretrained: bool = True, device: str = "cpu") -> StableDiffusion:
        """See Backbone. `mini` is shipped, `paper` (Stable Diffusion 1.5) comes from the hub or PETLBENCH_MIRROR.

        Raises UserError for an unknown preset and for weights that are missing or damaged.
        """
        size = cls.size_of(preset)
        if pretrained and "/" in size.checkpoint:
            return cls(*_from_hub(size.checkpoint), size.schedule, size.empty, preset).to(device)
        with torch.device(device):
            backbone = cls(*fresh(size), size.schedule, size.empty, preset)
        if pretrained:
            backbone.load_pretrained(shipped.load(shipped.path_of(size.checkpoint)))
        return backbone.to(device)

    def pretrained_state(self) -> dict[str, Tensor]:
        """What a weight file holds: `model.*` and `text_model.*`."""
        parts = {"model": self.model, "text_model": self.text_model}
        return {f"{part}.{key}": tensor for part, module in parts.items() for key, tensor in module.state_dict().items()}

    def papers_input(self) -> tuple[int, int, int] | None:
        """77 text tokens, and 512 x 512 pixels, which are 64 x 64 latents."""
        return PRESETS[self.preset].papers

    def sites(self, *kinds: Kind) -> list[Site]:
        found = []
        for depth, (block, length) in enumerate(self.blocks):
            for kind, part in block.items():
                linears = {role: f"{part.path}.{below}" for role, below in part.linears.items()}
                width = part.owner.norm1.normalized_shape[0]
                found.append(Site(f"layer.{depth}.{kind}", kind, "latent", depth, width, "before", part, self, linears, length))
        return [site for site in found if site.kind in kinds]

    def always_trained(self) -> list[nn.Parameter]:
        return []

    def prefix(self) -> Prefix:
        """The text encoder."""
        return Prefix(list(self.text_model.parameters()), texts=lambda ids, mask: self.text_states(ids))

    def forward(self, batch: Batch) -> Features:
        raise NotImplementedError("a diffusion model has no read-out of a picture with a text; use predict or sample")

    def text_states(self, ids: Tensor) -> Tensor:
        """(B, N) -> (B, N, T), behind the text encoder's last norm. It is causal: padding, which is behind a text, needs no mask.

        Raises UserError where a text has more tokens than positions.
        """
        self.check_length(ids.shape[1], self.text_model.config.max_position_embeddings)
        return self.text_model(input_ids=ids).last_hidden_state

    def latents(self, pixels: Tensor) -> Tensor:
        """Pictures (I, 3, H, W) in [-1, 1] -> z; the mean of what the VAE gives, where there is one.

        Raises UserError for another size, number of channels or type.
        """
        self.check_pictures(pixels, self.model.config.sample_size * self.shrinkage)
        if self.vae is None:
            return F.pixel_unshuffle(pixels, BLOCK)
        return self.vae.encode(pixels).latent_dist.mean * self.vae.config.scaling_factor

    def pixels(self, latents: Tensor) -> Tensor:
        """z -> pictures (B, 3, H, W) in [-1, 1]."""
        shown = F.pixel_shuffle(latents, BLOCK) if self.vae is None else self.vae.decode(latents / self.vae.config.scaling_factor).sample
        return shown.clamp(-1, 1)

    @property
    def shrinkage(self) -> int:
        """Pixels of a picture's side to one of its latents'."""
        return BLOCK if self.vae is None else 2 ** (len(self.vae.config.block_out_channels) - 1)

    @property
    def timesteps(self) -> int:
        """How many there are; 0 has the least noise."""
        return self.schedule.config.num_train_timesteps

    def noise(self, latents: Tensor, timesteps: Tensor, noise: Tensor) -> Tensor:
        """z with as much of `noise` (like z) as the timesteps (B,) say."""
        return self.schedule.add_noise(latents, noise, timesteps)

    def target(self, latents: Tensor, timesteps: Tensor, noise: Tensor) -> Tensor:
        """What `predict` should say of it: the noise, or the velocity of Salimans and Ho (2022, arXiv:2202.00512)."""
        if self.schedule.config.prediction_type == "epsilon":
            return noise
        return self.schedule.get_velocity(latents, noise, timesteps)

    def predict(self, noisy: Tensor, timesteps: Tensor, text_states: Tensor, mask: Tensor | None = None) -> Tensor:
        """One pass of the UNet, like z. timesteps (B,), text_states (B, N, T), mask (B, N): tokens that are there (None: all)."""
        return self.model(noisy, timesteps, text_states, encoder_attention_mask=mask).sample

    def step(self, batch: Batch) -> Tensor:
        """`predict` on blank input of the batch's size: what a step costs. Text encoder and VAE run once a picture, not once a step."""
        count, _, height, width = batch.pixels.shape
        config = self.model.config
        noisy = batch.pixels.new_zeros(count, config.in_channels, height // self.shrinkage, width // self.shrinkage)
        states = batch.pixels.new_zeros(*batch.input_ids.shape, config.cross_attention_dim)
        return self.predict(noisy, batch.input_ids.new_zeros(count), states, batch.text_mask)

    @torch.no_grad()
    def sample(self, text_states: Tensor, mask: Tensor | None, steps: int, generators: list[torch.Generator], guidance: float) -> Tensor:
        """Pictures (B, 3, H, W) of the texts by DDIM (Song et al. 2021, arXiv:2010.02502) with classifier-free guidance (1: none).

        text_states (B, N, T), mask (B, N): see `predict`. generators: one for each text, of its first noise.
        """
        config = self.model.config
        shape, device = (config.in_channels, config.sample_size, config.sample_size), text_states.device
        z = torch.stack([torch.randn(shape, generator=generator, device=generator.device) for generator in generators]).to(device)
        texts, masks = self._guided(text_states, mask) if guidance != 1 else (text_states, mask)
        with torch.device("cpu"):
            solver = DDIMScheduler.from_config(self.schedule.config)
            solver.set_timesteps(steps)
        for t in solver.timesteps:
            times = t.to(device).expand(len(texts))
            found = self.predict(z if guidance == 1 else torch.cat([z, z]), times, texts, masks)
            if guidance != 1:
                free, told = found.chunk(2)
                found = free + guidance * (told - free)
            z = solver.step(found, t, z).prev_sample
        return self.pixels(z)

    def _guided(self, states: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """States and mask with those of the empty text in front, (2 B, N, T)."""
        count, length = states.shape[:2]
        ids = torch.tensor(self.empty, device=states.device).expand(1, -1)
        empty = self.text_states(ids).expand(count, -1, -1)
        missing = length - empty.shape[1]
        if not missing and mask is None:
            return torch.cat([empty, states]), None
        shown = torch.arange(length, device=states.device).expand(count, -1) < empty.shape[1]
        return torch.cat([F.pad(empty, (0, 0, 0, missing)), states]), torch.cat([shown, common.visible(states, mask)])


BACKBONE = StableDiffusion


def fresh(size: Preset) -> tuple[UNet2DConditionModel, CLIPTextModel, AutoencoderKL | None]:
    """UNet, text encoder and VAE with random weights."""
    vocabulary = {} if size.vae else {"vocab_size": tokenizer().get_vocab_size()}
    text = CLIPTextModel(CLIPTextConfig(**vocabulary | size.text))
    nn.init.normal_(text.embeddings.token_embedding.weight, std=size.word_std)
    nn.init.normal_(text.embeddings.position_embedding.weight, std=size.position_std)
    return UNet2DConditionModel(**size.unet), text, AutoencoderKL(**size.vae) if size.vae else None


def _from_hub(repository: str) -> tuple[UNet2DConditionModel, CLIPTextModel, AutoencoderKL]:
    return tuple(from_hub(kind, repository, folder) for kind, folder in PARTS.items())
