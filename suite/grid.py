"""Which cells there are, and the key of each: a hash over everything its result depends on."""

from __future__ import annotations

import dataclasses
import inspect
import platform
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite import tune
from suite.binding import Means, bindable, settled
from suite.hashes import weights_hash, with_tokenizer
from suite.plugins import Catalogue, configured, discover, one_line, source_hash
from suite.errors import UserError
from suite.record import PROTOCOL, Cell, Record, Status
from suite.settings import Settings, chosen
from suite.store import digest

if TYPE_CHECKING:
    from suite.core import Method, Task

LIBRARIES = ("torch", "transformers", "diffusers", "peft")
"""Their versions are part of every key."""

NOTED = ("petlbench", *LIBRARIES, "mmengine", "numpy", "datasets")


@dataclass(frozen=True)
class Origin:
    """Where results come from, the same for a whole run."""

    commit: str | None
    dirty: bool | None
    versions: dict[str, str]
    machine: str

    @classmethod
    def here(cls, preset: str) -> Origin:
        """This checkout, this environment, the machine that backbones of this size run on."""
        from suite.cost import machine

        commit, changes = _git("rev-parse", "HEAD"), _git("status", "--porcelain")
        return cls(commit, None if changes is None else bool(changes), versions(NOTED), machine(preset))


@dataclass(frozen=True)
class Job:
    """One cell and all that a worker needs.

    base: hash of what every seed and every cost of the method on this backbone and task depends on. size: how long it takes,
    relative to others. refusal: the status and reason of a cell that is not run. doubt: what is wrong with its learning rate.
    official: it searches as the papers' code does. means: of the machine, for tasks of the papers' size.
    """

    cell: Cell
    key: str
    base: str
    preset: str
    title: str
    metric: str
    claims: tuple[dict[str, Any], ...]
    parameters: dict[str, Any]
    lr: float
    epochs: int | None
    data_hash: str
    weights_hash: str
    files: tuple[str, ...]
    size: int
    searches: bool
    trains_backbone: bool
    refusal: tuple[Status, str] | None = None
    doubt: str | None = None
    official: bool = False
    means: Means = Means()

    def record(self, status: Status, **content: Any) -> Record:
        """The record of this cell."""
        shared = {"key": self.key, "cell": self.cell, "title": self.title, "metric": self.metric, "claims": list(self.claims)}
        return Record(**{"hyper_parameters": {"method": self.parameters, "lr": self.lr}} | shared | content, status=status)


def versions(names: Iterable[str]) -> dict[str, str]:
    """Installed versions, without importing anything; what is not installed is left out."""
    found: dict[str, str] = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found | ({"python": platform.python_version()} if found else {})


def _git(*command: str) -> str | None:
    try:
        return subprocess.run(["git", *command], capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def cells(settings: Settings, files: tuple[str, ...] = ()) -> list[Job]:
    """All cells of the grid in a fixed order, those that make no sense or lack data included, with the reason.

    files: method files beside the installed ones. Raises UserError for unknown names and, where weights and data are shipped
    (mini, smoke), for damaged ones; in the paper profile, and of a backbone that only optional tasks have, such a cell is `missing`.
    """
    from suite import backbones, tasks

    catalogue = discover(files)
    names = methods(catalogue, settings)
    wanted_tasks = [task for task in map(tasks.load, chosen("task", settings.tasks, tasks.names())) if takers(task, settings)]
    data: dict[str, _Data] = {}
    found: list[Job] = []
    for backbone in chosen("backbone", settings.backbones, backbones.names()):
        own = [task for task in wanted_tasks if backbone in takers(task, settings)]
        place = _Place(settings, backbone, own) if own else None
        for task in own:
            part = data[task.name] = data.get(task.name) or _Data(settings, task)
            for name in names:
                found += _seeds(settings, catalogue, name, place, part, files)
    return found


def methods(catalogue: Catalogue, settings: Settings) -> list[str]:
    """The methods that these settings ask for. Raises UserError for unknown names."""
    names = chosen("method", catalogue.usable(settings.methods), list(catalogue.methods))
    return [name for name in names if settings.methods != "all" or _wanted(catalogue.methods[name].group, settings)]


def fitting(backbone: str, name: str | None, preset: str = "mini") -> Task:
    """The task of this name, or the backbone's first one, of this size where it has one.

    Raises UserError for unknown names and a task that the backbone does not run.
    """
    from suite import backbones, tasks

    chosen("backbone", [backbone], backbones.names())
    chosen("task", [name] if name else "all", tasks.names())
    own = [task for task in map(tasks.load, tasks.names()) if backbone in (*task.backbones, *task.also)]
    own.sort(key=lambda task: (preset not in task.presets, backbone not in task.backbones))  # those of the group `real` come last
    found = [task for task in own if name in (None, task.name)]
    if not found:
        raise UserError(f"{backbone} does not run {name}; its tasks are {', '.join(task.name for task in own)}")
    return found[0]


def takers(task: Task, settings: Settings) -> tuple[str, ...]:
    """The backbones that run the task by these settings: those of `also` where it is named or the group `real` is asked for."""
    named = settings.tasks != "all"
    if not named and not (settings.preset in task.presets and _wanted(task.group, settings)):
        return ()
    return (*task.backbones, *(task.also if named or _wanted("real", settings) else ()))


def _wanted(group: str, settings: Settings) -> bool:
    return not group or group in settings.groups


class _Place:
    """A backbone of the grid: built once, for its hash and for `not_applicable`. lack: why it cannot be had, unless it has to be there.

    Where none of its tasks has data of its size it is built without weights and memory.
    """

    def __init__(self, settings: Settings, name: str, own: Sequence[Task]):
        from suite import backbones
        from suite.core import seed_everything

        self.name, self.lack, self.hash = name, None, "missing"
        kind = backbones.load(name)
        self.source = source_hash(Path(inspect.getfile(kind)))
        if not any(settings.preset in task.presets for task in own):
            self.built = kind.build(settings.preset, pretrained=False, device="meta")
            return
        needed = settings.profile != "paper" and any(name in task.backbones for task in own)
        seed_everything(0)  # parts that no checkpoint holds are part of the hash
        try:
            self.built = kind.build(settings.preset)
        except UserError as error:
            if needed:
                raise
            self.lack, self.built = str(error), kind.build(settings.preset, pretrained=False, device="meta")
            return
        self.hash = weights_hash(self.built)
        if settings.profile == "paper" and kind.view:
            self.lack, self.hash = with_tokenizer(kind.view, self.hash)
            self.built = kind.build(settings.preset, pretrained=False, device="meta")  # the weights are no longer needed here


class _Data:
    """A task of the grid. lack: why its data cannot be had. size: sequences of an epoch."""

    def __init__(self, settings: Settings, task: Task):
        from suite.backbones import shipped

        self.name, self.lack, self.task = task.name, None, task
        self.source = source_hash(Path(inspect.getfile(type(self.task))))
        self.tokenizer = shipped.sha256(shipped.TOKENIZER) if shipped.TOKENIZER.is_file() else "missing"
        self.hash, self.size = "missing", 0
        if settings.preset not in self.task.presets:
            self.lack = f"{self.name} has no data at the {settings.preset}'s size"
            return
        try:
            self.hash, self.size = self.task.data_hash(), self.task.sequences()
        except UserError as error:
            if settings.profile != "paper" and not task.group:  # data of optional groups has to be fetched
                raise
            self.lack = str(error)


def _seeds(settings: Settings, catalogue: Catalogue, name: str, place: _Place, data: _Data, files: tuple[str, ...]) -> list[Job]:
    """The cells of one method on one backbone and task."""
    method = configured(catalogue.get(name), place.name, data.name)
    lr = tune.learning_rate(place.name, data.name, name, trains_backbone=method.trains_backbone, preset=settings.preset)
    searches = method.search is not None
    means = Means(settings.precision, settings.micro_batch, settings.gpus) if data.task.dataset else Means()
    task, refusal = bindable(data.task, place.name, name, means)
    epochs, said = settings.epochs or task.recipe.epochs, settled(task)
    shared = {
        "preset": settings.preset, "title": method.title, "metric": data.task.metric, "claims": method.claims, "lr": lr,
        "parameters": dataclasses.asdict(method), "epochs": settings.epochs, "official": settings.official_protocol and searches,
        "data_hash": data.hash, "weights_hash": place.hash,
        "files": files, "refusal": refusal or _refusal(method, place, data),
        "searches": searches, "trains_backbone": method.trains_backbone,
        "size": data.size * epochs * (2 if searches else 1), "means": means,
    }  # fmt: skip
    sources = [source_hash(catalogue.files[name]), place.source, data.source, data.tokenizer]
    base = base_key(shared | {"settled": said}, [name, place.name, data.name, settings.profile], sources)
    doubt = None if settings.profile == "smoke" else tune.doubt(
        place.name, data.name, name, trains_backbone=method.trains_backbone, key=base, preset=settings.preset)  # fmt: skip
    cells = [Cell(method=name, backbone=place.name, task=data.name, seed=seed, profile=settings.profile) for seed in settings.seeds]
    return [Job(cell=cell, key=cell_key(base, cell, lr), base=base, doubt=doubt, **shared) for cell in cells]


def base_key(parts: Mapping[str, Any], names: Sequence[str], sources: Sequence[str]) -> str:
    """sha256 over what the results of a method on a backbone and task depend on, learning rate and seed aside.

    sources: the hashes of the files of method, backbone and task with what they import, and of the tokenizer.
    """
    inputs = {name: parts[name] for name in ("preset", "parameters", "epochs", "official", "data_hash", "weights_hash")}
    if parts.get("settled"):
        inputs |= {"settled": parts["settled"], "means": dataclasses.asdict(parts["means"])}
    return digest({"names": list(names), "sources": list(sources), "protocol": PROTOCOL, "versions": versions(LIBRARIES), **inputs})


def cell_key(base: str, cell: Cell, lr: float) -> str:
    """sha256 over all that a cell's result depends on (design.md section 5): the same key, the same bits."""
    return digest({"base": base, "cell": cell.model_dump(), "lr": lr})


def _refusal(method: Method, place: _Place, data: _Data) -> tuple[Status, str] | None:
    try:
        reason = method.not_applicable(place.built, data.name)
    except Exception as error:  # a method's own code
        return "failed", f"not_applicable raised {one_line(error)}"
    if reason:
        return "n/a", reason
    lack = data.lack or place.lack
    return ("missing", lack) if lack else None


@dataclass(frozen=True)
class CellTask:
    """A cell to train. checkpoints: its own folder, or None where a cell is too short to resume."""

    job: Job
    origin: Origin
    checkpoints: Path | None = None


@dataclass(frozen=True)
class CostTask:
    """A cost to measure: of the method of `job` with a plan."""

    job: Job
    key: str
    plan: dict[str, Any] | None
    latency: bool
    memory: bool


def cost_tasks(jobs: Sequence[Job], records: Mapping[str, Record], settings: Settings) -> list[CostTask]:
    """The costs of the grid on this machine: one for each method, backbone, task and plan that the records (by key) found."""
    from suite import cost, macs
    from suite.backbones import shipped

    here, found = cost.machine(settings.preset), {}
    counters = [shipped.sha256(Path(file)) for file in (cost.__file__, macs.__file__)]
    for job in jobs:
        record = records.get(job.key)
        if record is None or (record.status != "ok" and (job.searches or record.status != "missing")):
            continue
        parts = {"plan": record.plan, "machine": here, "counters": counters, **settings.costs.model_dump()}
        key = digest({"base": job.base, **parts})
        found.setdefault(key, CostTask(job, key, record.plan, settings.costs.latency, settings.costs.memory))
    return list(found.values())
