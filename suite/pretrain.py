"""Makes the mini backbones' weights, each by its objective (suite/objectives), on generated data no task uses.

Run on purpose (`petlbench pretrain NAME`, frozen DVC stages): one process a core, gradients averaged, resumable and seeded by step.
"""

from __future__ import annotations

import os
import platform
import random
import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from suite import objectives
from suite.backbones import shipped
from suite.core import Backbone, seed_everything
from suite.data import corpus, text, world
from suite.errors import UserError
from suite.names import unknown
from suite.objectives.base import Objective, Plan
from suite.pool import end_with_parent
from suite.progress import Reporter

SHOWN = 50
"""Steps between two signs of progress."""


def optimizers(backbone: Backbone, objective: Objective) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the layers, AdamW for everything else."""
    matrices, plan = objective.matrices(backbone), objective.plan
    chosen = {id(p) for p in matrices}
    rest = [p for p in backbone.parameters() if p.requires_grad and id(p) not in chosen]
    return [torch.optim.Muon(matrices, lr=plan.muon_lr, weight_decay=0.01),
            torch.optim.AdamW(rest, lr=plan.lr, betas=(0.9, 0.98), weight_decay=0.01)]


def train(objective: Objective, rank: int, state_path: Path) -> Backbone:
    """Train to the last step, from the newest state file if there is one; every rank returns the same weights."""
    plan = objective.plan
    torch.set_num_threads(1)
    seed_everything(plan.seed)
    backbone = objective.build()
    optims = optimizers(backbone, objective)
    parameters = [p for p in backbone.parameters() if p.requires_grad]
    if not state_path.is_file():
        objective.prepare(backbone)
    first = restore(state_path, plan, backbone, optims)
    with Reporter("pre-training", [SHOWN] * ((plan.steps - first) // SHOWN), quiet=rank > 0) as shown:
        for step in range(first, plan.steps):
            for optim, base in zip(optims, (plan.muon_lr, plan.lr)):
                for group in optim.param_groups:
                    group["lr"] = base * plan.scale(step)
            seen = objective.gradients(backbone, step, rank)
            average(parameters, plan.ranks)
            nn.utils.clip_grad_norm_(parameters, 1.0)
            for optim in optims:
                optim.step()
                optim.zero_grad()
            if rank == 0 and (step + 1 - first) % SHOWN == 0:
                shown.step(SHOWN, "losses " + " ".join(f"{x:.3f}" for x in seen.tolist()))
            if rank == 0 and (step + 1) % plan.save == 0:
                save_state(state_path, step + 1, plan, backbone, optims)
    return backbone


def average(parameters: list[nn.Parameter], ranks: int) -> None:
    """Mean of the gradients over the processes."""
    for p in parameters:
        p.grad = torch.zeros_like(p) if p.grad is None else p.grad
    if ranks == 1:
        return
    flat = torch.cat([p.grad.flatten() for p in parameters])
    dist.all_reduce(flat)
    for p, part in zip(parameters, flat.div_(ranks).split([p.numel() for p in parameters])):
        p.grad.copy_(part.view_as(p))


def save_state(path: Path, step: int, plan: Plan, backbone: Backbone, optims: list[torch.optim.Optimizer]) -> None:
    """Write what a killed run needs, atomically."""
    draft = path.with_suffix(".tmp")
    state = {"step": step, "plan": asdict(plan), "model": backbone.state_dict(), "optims": [o.state_dict() for o in optims]}
    torch.save(state, draft)
    os.replace(draft, path)


def restore(path: Path, plan: Plan, backbone: Backbone, optims: list[torch.optim.Optimizer]) -> int:
    """Load the state file if it is there; the step to go on with. Raises UserError where it is of another plan or architecture."""
    if not path.is_file():
        return 0
    state = torch.load(path, weights_only=True)
    shapes = [{name: tensor.shape for name, tensor in model.items()} for model in (state["model"], backbone.state_dict())]
    if state.get("plan") != asdict(plan) or shapes[0] != shapes[1]:
        raise UserError(f"{path} is the state of another pre-training, by its plan or its architecture: remove it to start anew")
    backbone.load_state_dict(state["model"])
    for optim, saved in zip(optims, state["optims"]):
        optim.load_state_dict(saved)
    return state["step"]


def worker(rank: int, name: str, folder: Path) -> None:
    """One process of the training; rank 0 leaves its final state behind."""
    objective = objectives.all_of()[name]
    ranks = objective.plan.ranks
    if ranks > 1:
        end_with_parent()
        dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=ranks)
    backbone = train(objective, rank, folder / "state.pt")
    if rank == 0:
        objective.settle(backbone)
        torch.save(backbone.pretrained_state(), folder / "final.pt")
    if ranks > 1:
        dist.destroy_process_group()


def make_tokenizer(scenes: int = 20_000) -> None:
    """Train the tokenizer on the pre-training text and put it beside the weights.

    The trainer breaks ties at random, so two runs give other pieces for rare words: the tokenizer is shipped, not remade.
    """
    batch, rng = world.scenes("tokenizer", scenes, (1, 3)), random.Random(0)
    samples = [corpus.sample(batch.objects(i), k == 0, rng) for i in range(scenes) for k in range(4)]
    text.train([corpus.plain(s.text) for s in samples]).save(str(text.PATH))


def finish(objective: Objective, folder: Path) -> dict[str, float]:
    """Score the final state on held-out data and ship it with its card; the scores."""
    backbone = objective.build()
    backbone.load_pretrained(torch.load(folder / "final.pt", weights_only=True))
    scores = objective.scores(backbone)
    card = {
        "backbone": objective.backbone, "preset": "mini", "licence": "Apache-2.0", **objective.told, "plan": asdict(objective.plan),
        **objective.seen(), "hardware": f"{platform.machine()}, {objective.plan.ranks} processes of one thread",
        "torch": torch.__version__, "held_out_percent": scores,
    }
    shipped.save(backbone.pretrained_state(), card, shipped.path_of(f"{objective.backbone}-mini"))
    return scores


def main(name: str, folder: Path = Path(tempfile.gettempdir()) / "petlbench-pretrain") -> None:
    """Tokenizer, training, scores, card. A killed run goes on from its last state below `folder`. Raises UserError for an unknown name,
    and like `restore`."""
    known = objectives.all_of()
    if name not in known:
        raise unknown("pre-trained backbone", name, known)
    objective, folder = known[name], folder / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "rendezvous").unlink(missing_ok=True)
    if not text.PATH.is_file():
        make_tokenizer()
    fresh = objective.build()
    # a foreign state is refused here: errors of processes are long
    restore(folder / "state.pt", objective.plan, fresh, optimizers(fresh, objective))
    mp.start_processes(worker, (name, folder), nprocs=objective.plan.ranks, start_method="spawn")
    for score, value in finish(objective, folder).items():
        print(f"{score:24} {value:6.2f} %")
    shutil.rmtree(folder)  # a state left behind would pass for the result of changed texts or scenes
