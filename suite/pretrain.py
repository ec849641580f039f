"""Makes the mini backbone's weights: masked words and image-text matching on generated scenes no task uses.

Run on purpose (`petlbench pretrain`, a frozen DVC stage): one process a core, gradients averaged, resumable and seeded by step.
"""

from __future__ import annotations

import os
import platform
import random
import shutil
import tempfile
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn.functional as F
from torch import Tensor, nn

from suite.backbones import shipped
from suite.backbones.vilt import ViLT
from suite.core import Backbone, seed_everything
from suite.data import corpus, text, wording, world
from suite.pool import end_with_parent
from suite.probe import held_out, pixels
from suite.progress import Reporter
from suite.record import UserError
from suite.stem import warm_up

WORDS, MATCH = range(2)
KINDS = {"words": WORDS, "match": MATCH}
SHOWN = 50
"""Steps between two signs of progress."""


@dataclass(frozen=True)
class Plan:
    """One optimiser step sees `ranks * scenes * texts` texts. Two objects come in at step `stages[0]`, three at `stages[1]`;
    the learning rate falls linearly over the last `decay` of the steps before `again`, and once more, from `restart` of its height,
    over all that follow; a killed run goes on from the last multiple of `save`."""

    steps: int = 10_000
    stem_steps: int = 800
    ranks: int = 2
    scenes: int = 32
    texts: int = 4
    seed: int = 0
    lr: float = 3e-3
    muon_lr: float = 2e-2
    warmup: int = 200
    decay: int = 3_000
    again: int = 8_000
    restart: float = 0.3
    hide: float = 0.35
    stages: tuple[int, int] = (300, 1_000)
    save: int = 500

    def objects(self, step: int) -> tuple[int, int]:
        """The range of object counts at this step."""
        return (1, 1 + sum(step >= first for first in self.stages))

    def scale(self, step: int) -> float:
        """Learning-rate factor: warm-up, plateau, linear decay, and a second decay from a lower height."""
        if step >= self.again:
            return self.restart * (self.steps - step) / (self.steps - self.again)
        return min((step + 1) / self.warmup, (self.again - step) / self.decay, 1.0)


@dataclass
class Texts:
    """T texts of one step. ids (T, L); lengths (T,); image (T,): their scene; kind (T,): WORDS or MATCH;
    target (T, L): the hidden ids, -100 elsewhere; fits (T, L): content words 1, wrong ones 0, elsewhere or unknown -1;
    truth (T,): 1 where the text fits."""

    ids: np.ndarray
    lengths: np.ndarray
    image: np.ndarray
    kind: np.ndarray
    target: np.ndarray
    fits: np.ndarray
    truth: np.ndarray

    def chunks(self, count: int) -> list[Texts]:
        """The same texts sorted by length, in `count` parts cut to their longest."""
        parts = np.array_split(np.argsort(self.lengths, kind="stable"), count)
        longest = [int(self.lengths[part].max()) for part in parts]
        return [Texts(self.ids[p, :n], self.lengths[p], self.image[p], self.kind[p], self.target[p, :n], self.fits[p, :n], self.truth[p])
                for p, n in zip(parts, longest)]


@cache
def content_ids() -> np.ndarray:
    """Boolean table over the vocabulary: is the piece a content word?"""
    vocabulary = text.tokenizer().get_vocab()
    table = np.zeros(len(vocabulary), bool)
    table[[vocabulary[word] for word in wording.CONTENT if word in vocabulary]] = True
    return table


def texts(scenes: world.Scenes, each: int, hide: float, seed: int) -> Texts:
    """`each` samples a scene, the first a caption; content words of `words` samples are hidden at the rate `hide`, one at least."""
    rng, dice = random.Random(seed), np.random.default_rng(seed)
    samples = [corpus.sample(scenes.objects(i), k == 0, rng) for i in range(len(scenes)) for k in range(each)]
    ids, lengths, wrong = unmark(*text.tokenize([s.text for s in samples], limit=40))
    kind, content = np.array([KINDS[s.kind] for s in samples]), content_ids()[ids]
    hidden = content & (kind == WORDS)[:, None]
    chance = np.where(hidden, dice.random(ids.shape), 2.0)
    hidden &= (chance < hide) | (chance == chance.min(1, keepdims=True))
    truth = np.array([int(s.truth) for s in samples])
    known = (kind == MATCH) & ((truth == 1) | wrong.any(1))
    fits = np.where(content & known[:, None], 1 - wrong, -1)
    image = np.repeat(np.arange(len(scenes)), each)
    return Texts(np.where(hidden, text.MASK, ids), lengths, image, kind, np.where(hidden, ids, -100), fits, truth)


def unmark(ids: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Take the marks (they are unknown to the tokenizer) out of padded ids (T, L); ids, lengths, and which tokens they stood before."""
    ids, lengths, wrong = ids.copy(), lengths.copy(), np.zeros(ids.shape, int)
    for row, at in np.argwhere(ids == text.UNK)[::-1]:
        for table in (ids, wrong):
            table[row, at:-1], table[row, -1] = table[row, at + 1 :].copy(), 0
        wrong[row, at] = 1
        lengths[row] -= 1
    return ids[:, : lengths.max()], lengths, wrong[:, : lengths.max()]


def losses(backbone: Backbone, image: Tensor, part: Texts) -> Tensor:
    """Summed losses (hidden words, matching of texts, right words, wrong words) of a chunk: (4,)."""
    ids = torch.from_numpy(part.ids)
    mask = torch.from_numpy(np.arange(part.ids.shape[1]) < part.lengths[:, None])
    embedded = backbone.model.embeddings.text_embeddings(input_ids=ids)
    features = backbone.encode(*backbone.join(embedded, image[torch.from_numpy(part.image)], mask))
    target, kind, truth, fits = (torch.from_numpy(a) for a in (part.target, part.kind, part.truth, part.fits))
    tokens, hidden, judged = features.tokens[:, : ids.shape[1]], target >= 0, kind == MATCH
    matches, pooler = backbone.heads["itm"], backbone.model.pooler
    terms = [(backbone.heads["mlm"](tokens[hidden]), target[hidden]), (matches(features.pooled[judged]), truth[judged])]
    terms += [(matches(pooler(tokens[fits == k][:, None])), fits[fits == k]) for k in (1, 0)]
    return torch.stack([F.cross_entropy(scores, wanted, reduction="sum") for scores, wanted in terms])


def counts(batch: Texts) -> Tensor:
    """How many terms each of the `losses` has: (4,), at least 1."""
    found = [batch.target >= 0, batch.kind == MATCH, batch.fits == 1, batch.fits == 0]
    return torch.tensor([part.sum() for part in found]).clamp(min=1)


def optimizers(backbone: Backbone, plan: Plan) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the layers, AdamW for everything else."""
    matrices = [p for n, p in backbone.named_parameters() if "encoder.layer" in n and p.ndim == 2]
    chosen = {id(p) for p in matrices}
    rest = [p for p in backbone.parameters() if id(p) not in chosen]
    return [torch.optim.Muon(matrices, lr=plan.muon_lr, weight_decay=0.01),
            torch.optim.AdamW(rest, lr=plan.lr, betas=(0.9, 0.98), weight_decay=0.01)]


def step_gradients(backbone: Backbone, plan: Plan, step: int, rank: int) -> Tensor:
    """Accumulate this rank's gradients of one step; mean losses (4,)."""
    scenes = world.scenes(f"pretrain/{plan.seed}/{step}/{rank}", plan.scenes, plan.objects(step))
    batch = texts(scenes, plan.texts, plan.hide, seed=(plan.seed * 10**9 + step) * 64 + rank)
    totals = counts(batch)
    image = backbone.image_tokens(pixels(scenes))
    leaf, seen = image.detach().requires_grad_(), torch.zeros(4)
    for part in batch.chunks(3):
        with torch.autocast("cpu", torch.bfloat16):
            sums = losses(backbone, leaf, part) / totals
        sums.sum().backward()
        seen += sums.detach()
    image.backward(leaf.grad)
    return seen


def train(plan: Plan, rank: int, state_path: Path) -> Backbone:
    """Train to the last step, from the newest state file if there is one; every rank returns the same weights."""
    torch.set_num_threads(1)
    seed_everything(plan.seed)
    backbone = ViLT.build("mini", pretrained=False)
    optims = optimizers(backbone, plan)
    parameters = [p for p in backbone.parameters() if p.requires_grad]
    if not state_path.is_file():
        warm_up(backbone, plan.stem_steps, plan.seed)
    first = restore(state_path, plan, backbone, optims)
    with Reporter("pre-training", [SHOWN] * ((plan.steps - first) // SHOWN), quiet=rank > 0) as shown:
        for step in range(first, plan.steps):
            for optim, base in zip(optims, (plan.muon_lr, plan.lr)):
                for group in optim.param_groups:
                    group["lr"] = base * plan.scale(step)
            seen = step_gradients(backbone, plan, step, rank)
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


def worker(rank: int, plan: Plan, folder: Path) -> None:
    """One process of the training; rank 0 leaves its final state behind."""
    if plan.ranks > 1:
        end_with_parent()
        dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=plan.ranks)
    backbone = train(plan, rank, folder / "state.pt")
    if rank == 0:
        torch.save(backbone.pretrained_state(), folder / "final.pt")
    if plan.ranks > 1:
        dist.destroy_process_group()


def make_tokenizer(scenes: int = 20_000) -> None:
    """Train the tokenizer on the pre-training text and put it beside the weights.

    The trainer breaks ties at random, so two runs give other pieces for rare words: the tokenizer is shipped, not remade.
    """
    batch, rng = world.scenes("tokenizer", scenes, (1, 3)), random.Random(0)
    samples = [corpus.sample(batch.objects(i), k == 0, rng) for i in range(scenes) for k in range(4)]
    text.train([corpus.plain(s.text) for s in samples]).save(str(text.PATH))


def finish(plan: Plan, folder: Path) -> dict[str, float]:
    """Score the final state on held-out scenes and ship it with its card; the scores."""
    backbone = ViLT.build("mini", pretrained=False)
    backbone.load_pretrained(torch.load(folder / "final.pt", weights_only=True))
    scores = held_out(backbone)
    card = {
        "backbone": "vilt", "preset": "mini", "licence": "Apache-2.0",
        "data": f"generated scenes (suite/data/world.py version {world.VERSION}), domains pretrain/*; texts of suite/data/corpus.py",
        "objective": "masked content words; image-text matching, of whole texts and of single words, false texts mostly one word away; "
                     "the patch stem was first trained to name the object at each patch (suite/stem.py)",
        "plan": asdict(plan), "texts": plan.steps * plan.ranks * plan.scenes * plan.texts,
        "hardware": f"{platform.machine()}, {plan.ranks} processes of one thread", "torch": torch.__version__, "held_out_percent": scores,
    }
    shipped.save(backbone.pretrained_state(), card, shipped.path_of("vilt-mini"))
    return scores


def main(plan: Plan = Plan(), folder: Path = Path(tempfile.gettempdir()) / "petlbench-pretrain") -> None:
    """Tokenizer, training, scores, card. A killed run goes on from its last state in `folder`. Raises UserError like `restore`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "rendezvous").unlink(missing_ok=True)
    if not text.PATH.is_file():
        make_tokenizer()
    fresh = ViLT.build("mini", pretrained=False)
    restore(folder / "state.pt", plan, fresh, optimizers(fresh, plan))  # a foreign state is refused here: errors of processes are long
    mp.start_processes(worker, (plan, folder), nprocs=plan.ranks, start_method="spawn")
    for name, score in finish(plan, folder).items():
        print(f"{name:24} {score:6.2f} %")
    shutil.rmtree(folder)  # a state left behind would pass for the result of changed texts or scenes
