"""Warms up the convolutional patch stem before pre-training: each patch names the object whose centre it holds.

Without it masked words learn colours at once and shapes not within 250,000 texts: too few hidden words are shapes to shape the stem.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from suite.core import seed_everything
from suite.data import world
from suite.probe import pixels

NAMES = ("shape", "colour", "size")
CLASSES = (len(world.SHAPES), len(world.COLOURS), len(world.SIZES))


def centres(scenes: world.Scenes, side: int) -> tuple[Tensor, Tensor, Tensor]:
    """Of all O objects: their picture (O,), the patch that holds their centre (O,), and their values (O, 3)."""
    picture, slot = np.nonzero(np.arange(world.SLOTS) < scenes.count[:, None])
    step = world.SIDE // side
    patch = scenes.y[picture, slot] // step * side + scenes.x[picture, slot] // step
    values = np.stack([getattr(scenes, name)[picture, slot] for name in NAMES], 1)
    return torch.from_numpy(picture), torch.from_numpy(patch), torch.from_numpy(values)


def warm_up(stem: nn.Module, width: int, steps: int, seed: int, scenes: int = 96, lr: float = 2e-3) -> list[float]:
    """Train the stem, (I, 3, H, W) -> (I, width, h, w), in place; percent of shapes named right in each tenth of the steps,
    or in each step where there are fewer than ten."""
    seed_everything(seed)
    head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, sum(CLASSES)))
    parameters = [*stem.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=lr, betas=(0.9, 0.98))
    right: list[float] = []
    for step in range(steps):
        batch = world.scenes(f"stem/{seed}/{step}", scenes, (1, 3))
        maps = stem(pixels(batch))
        picture, patch, values = centres(batch, maps.shape[-1])
        scores = head(maps.flatten(2).transpose(1, 2)[picture, patch]).split(CLASSES, 1)
        loss = sum(F.cross_entropy(score, values[:, k]) for k, score in enumerate(scores))
        optimizer.zero_grad()
        loss.backward()
        for group in optimizer.param_groups:
            group["lr"] = lr * min(1.0, (steps - step) / (0.3 * steps))
        optimizer.step()
        right.append(float((scores[0].argmax(1) == values[:, 0]).float().mean()))
    return [round(100 * float(part.mean()), 1) for part in np.array_split(right, 10) if len(part)]
