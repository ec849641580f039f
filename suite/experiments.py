"""The papers' tables as data: which methods, backbones and tasks each has, and what stands for its datasets here."""

from __future__ import annotations

from suite.record import Strict


class Key(Strict):
    """Where a published figure stands in results/reported, beside its paper, table, backbone and method."""

    task: str
    metric: str


class Measure(Strict):
    """A column: a task here and the dataset that it stands for, which the paper profile has as the task `real`. metric: one of the task's
    further metrics (None: its headline)."""

    task: str
    dataset: str
    real: str
    metric: str | None = None
    figure: Key | None = None


class Line(Strict):
    """A row: a method here (None: only published), and its name in the published table (None: only here)."""

    method: str | None
    published: str | None = None


class Place(Strict):
    """A part of the table: a backbone here, the published one, and its rows in the published order. tasks: those of the table's that it
    runs (None: all); on_demand: of these the ones that stand in the table only where the grid has them; real: in the
    paper profile (None: all)."""

    backbone: str
    published: str
    lines: tuple[Line, ...]
    tasks: tuple[str, ...] | None = None
    on_demand: tuple[str, ...] = ()
    real: tuple[str, ...] | None = None


class Experiment(Strict):
    """One table of a paper. subject: the paper's method, without which there is no such table.

    table: its name in results/reported. costs: where published costs stand: `trainable`, `extra_macs`, `ms`; average: the published
    average. real_measures: further columns of the paper profile. also: (paper, table) of figures that fit no place of the table and are
    told below it. note: how it was set up here;
    unpublished: why figures are absent; contradictions: where what was published does not fit together, told below the table.
    """

    name: str
    paper: str
    title: str
    subject: str
    table: str
    places: tuple[Place, ...]
    measures: tuple[Measure, ...]
    real_measures: tuple[Measure, ...] = ()
    costs: dict[str, Key] = {}
    average: Key | None = None
    also: tuple[tuple[str, str], ...] = ()
    note: str = ""
    unpublished: str
    contradictions: tuple[str, ...] = ()

    def of(self, place: Place) -> dict[str, int]:
        """`tasks` of a part of the table."""
        return {task: counts for task, counts in self.tasks.items() if place.tasks is None or task in place.tasks}

    def at(self, profile: str) -> Experiment:
        """The table of a profile: the paper's has the papers' datasets where others have what stands for them."""
        if profile != "paper":
            return self
        places = [place.model_copy(update={"tasks": place.real, "on_demand": ()}) for place in self.places]
        measures = [m.model_copy(update={"task": m.real}) for m in (*self.measures, *self.real_measures)]
        return self.model_copy(update={"places": tuple(places), "measures": tuple(measures)})

    @property
    def tasks(self) -> dict[str, int]:
        """The tasks here, in the order of the columns, and what each counts in the average: once where its headline has a column, else
        as often as it has columns, which the headline is the mean of (retrieval)."""
        columns: dict[str, list[str | None]] = {}
        for measure in self.measures:
            columns.setdefault(measure.task, []).append(measure.metric)
        return {task: 1 if None in metrics else len(metrics) for task, metrics in columns.items()}


def _lines(*pairs: tuple[str | None, str | None]) -> tuple[Line, ...]:
    return tuple(Line(method=method, published=published) for method, published in pairs)


def _only_here(*methods: str) -> tuple[Line, ...]:
    return _lines(*((method, None) for method in methods))


_FULL, _HEAD, _DEEP, _LORA = ("full", "Full Tuning"), ("head", "Classifier Only"), ("prompt_deep", "Deep Prompt"), ("lora", "LoRA")
_PA, _ADAPTER, _APT = ("parallel_adapter", "Scaled PA"), ("adapter", "Adapter"), ("apt", "APT")
_SHALLOW = ("prompt_shallow", None)
_FUSION = (
    Measure(task="world-vqa", dataset="VQA2.0", real="vqa2", figure=Key(task="VQA2.0", metric="accuracy")),
    Measure(task="world-nlvr2", dataset="NLVR2", real="nlvr2", figure=Key(task="NLVR2", metric="accuracy")),
    Measure(task="world-retrieval", metric="ir_r1", dataset="Flickr30K", real="flickr30k", figure=Key(task="Flickr30K", metric="IR R@1")),
    Measure(task="world-retrieval", metric="tr_r1", dataset="Flickr30K", real="flickr30k", figure=Key(task="Flickr30K", metric="TR R@1")),
)
_MEANS = "Average: mean of the four columns, as in APT's table. "
_OUR_READING = "APT has no official code here: one APT for each attention output is our reading. "
_BODY = "the paper itself could not be read, only its abstract and its repository's README"

APT_MAIN = Experiment(
    name="apt-main", paper="APT", title="APT: main comparison", subject="apt", table="main comparison",
    places=(
        Place(backbone="vilt", published="ViLT", lines=_lines(_FULL, _HEAD, _SHALLOW, _DEEP, _LORA, _PA, _ADAPTER, _APT)),
        Place(backbone="meter", published="METER", lines=_lines(_FULL, _HEAD, _SHALLOW, _DEEP, _LORA, _ADAPTER, _PA, _APT)),
    ),
    measures=_FUSION,
    costs={"trainable": Key(task="all", metric="updated parameters"), "extra_macs": Key(task="all", metric="additional FLOPs")},
    average=Key(task="average of the four", metric="Avg."), also=(("APT", "abstract"),), note=_MEANS,
    unpublished="the published table does not have it",
    contradictions=(
        "The abstract's gain of 7.01 points is that of no column of the table: on METER 7.88 (VQA2.0), 15.18, 9.98, 5.20, on average 9.56.",
        "METER's Scaled PA: the published 3.82 M parameters need a bottleneck of 102, the published 1.12 G one of 96.",
        "Full tuning: the published 115.43 and 323.31 M are not the models' parameters without a head, nor with that of a task.",
        "METER's deep prompts: the published 3.68 M parameters need prompts of their own in self- and in cross-attention, the released code"
        " has them in cross-attention only, and no count gives 13.05 G (docs/paper-costs.md).",
        "The released files hold other sizes than the table: 50 prompts for APT on ViLT, LoRA of rank 204 and 27, Scaled PA of 204.",
        "The released code trains APT's scale on ViLT and freezes it on METER.",
    ),
)  # fmt: skip

_SETS = "the paper's data sets"
_OTHERS = ("aircraft", "caltech101", "oxford-pets", "stanford-cars", "flowers102", "food101", "sun397", "dtd", "eurosat", "ucf101")
_CLIP_ROWS = _only_here("zero_shot", "linear_probe", "full", "head", "coop", "vpt", "prompt_deep", "lora", "adapter", "apt")

APT_CLIP = Experiment(
    name="apt-clip", paper="APT", title="APT: classification with CLIP", subject="apt", table="CLIP",
    places=(Place(backbone="clip", published="CLIP", lines=_CLIP_ROWS),),
    measures=(
        *(Measure(task="world-classes", metric=metric, dataset=_SETS, real="imagenet-new") for metric in ("base", "new", None)),
        Measure(task="digits", dataset=_SETS, real="imagenet"),
    ),
    real_measures=tuple(Measure(task=f"{name}-new", dataset=name, real=f"{name}-new") for name in _OTHERS),
    note=_OUR_READING, unpublished=f"no published figure was found: the README has no table of CLIP, and {_BODY}",
)  # fmt: skip

APT_GENERATION = Experiment(
    name="apt-generation", paper="APT", title="APT: generation with StableDiffusion", subject="apt", table="StableDiffusion", places=(
        Place(backbone="stable_diffusion", published="StableDiffusion", lines=_only_here("full", "lora", "adapter", "apt")),
    ),
    measures=(
        Measure(task="world-subject", metric="dino", dataset="the paper's subjects", real="dreambooth"),
        Measure(task="world-subject", metric="clip_i", dataset="the paper's subjects", real="dreambooth"),
        Measure(task="world-subject", metric="clip_t", dataset="the paper's subjects", real="dreambooth"),
        Measure(task="world-subject", dataset="petlbench's own", real="dreambooth"),
    ),
    note=_OUR_READING + "So is the protocol. ",
    unpublished=f"no published figure was found: the README has no table of StableDiffusion, and {_BODY}",
)  # fmt: skip

_DAS_ROWS = _only_here("full", "head", "prompt_deep", "lora", "parallel_adapter", "adapter", "das", "das_random")
_OF_APT = "The rows, and their order, are those of APT's table: DAS's own could not be read. "

DAS_MAIN = Experiment(
    name="das-main", paper="DAS", title="DAS: main comparison", subject="das", table="main comparison",
    places=(Place(backbone="vilt", published="ViLT", lines=_DAS_ROWS), Place(backbone="meter", published="METER", lines=_DAS_ROWS)),
    measures=_FUSION, also=(("DAS", "abstract"),), note=_OF_APT + _MEANS, unpublished=f"no published table was found: {_BODY}",
    contradictions=(
        "APT and DAS train METER on NLVR2 at 1e-5 and 5e-5, ViLT on VQA2.0 at 5e-4 and 1e-4, and scale parallel adapters"
        " by 4 and 1.",
    ),
)  # fmt: skip


def _science(kind: str, figure: str) -> Measure:
    return Measure(task="world-science", metric=f"context_{kind}", dataset="ScienceQA", real="scienceqa", figure=_science_key(figure))


def _science_key(figure: str) -> Key:
    return Key(task="ScienceQA", metric=f"accuracy / {figure}")


DAS_SCIENCE = Experiment(
    name="das-science", paper="DAS", title="DAS: ScienceQA", subject="das", table="ScienceQA",
    places=(
        Place(backbone="lavin", published="LaVIN (LLaMA-7B)", lines=_lines(
            ("lavin", "LaVIN-7B"), (None, "DAS2-7B"), (None, "DAS4-7B"), ("das", "DAS6-7B"), ("das_random", None))),
    ),
    measures=(
        _science("text", "context Text"), _science("image", "context Image"), _science("none", "context No"),
        Measure(task="world-science", dataset="ScienceQA", real="scienceqa", figure=_science_key("Avg")),
    ),
    real_measures=tuple(
        Measure(task="scienceqa", metric=metric, dataset="ScienceQA", real="scienceqa", figure=_science_key(figure))
        for metric, figure in (
            ("subject_natural", "subject Natural science"), ("subject_social", "subject Social science"),
            ("subject_language", "subject Language science"), ("grade_1_6", "grade G1-6"), ("grade_7_12", "grade G7-12"))
    ),
    costs={"trainable": Key(task="ScienceQA", metric="updated parameters"), "ms": Key(task="ScienceQA", metric="inference time")},
    note="The number in a published name is that of the layers skipped, of 32; DAS here skips about as large a share as DAS6."
    " The published break-downs by subject and by grade have columns in the paper profile only. ",
    unpublished="the published table does not have it",
    contradictions=(
        "The README's table of November 2023 had DAS4-7B and DAS6-7B with 44.26 M parameters and 90.36 and 90.24 %; the one of January"
        " 2024, shown here, replaced them by DAS2, DAS4 and DAS6 with 4.2 to 5.0 M and 89.41, 89.15 and 87.29 %. The older one's changes in"
        " FLOPs stand a row too high: 18.61 % is that of 678 G, printed beside 729 G.",
    ),
)  # fmt: skip

_DVP_ROWS = _only_here(
    "full", "head", "adapter", "lora", "visual_prompt", "visual_prompt_adapter", "dvp", "dvp_first", "dvp_random", "dvp_adapter",
)


def _reader(backbone: str, published: str) -> Place:
    """A language model that is not offered choices."""
    on_demand = ("world-gqa", "world-ve")
    return Place(backbone=backbone, published=published, lines=_DVP_ROWS, tasks=("world-vqa-4000", *on_demand), on_demand=on_demand,
                 real=("vqa2", "gqa", "snli-ve"))  # fmt: skip


DVP_MAIN = Experiment(
    name="dvp-main", paper="DVP", title="DVP: main comparison", subject="dvp", table="main comparison",
    places=(
        _reader("bert", "BERT-base"),
        _reader("t5", "T5-base"),
        Place(backbone="llama", published="LLaMA-7B", lines=_DVP_ROWS, tasks=("world-science",)),
    ),
    measures=(
        Measure(task="world-vqa-4000", dataset="VQA2.0", real="vqa2"), Measure(task="world-gqa", dataset="GQA", real="gqa"),
        Measure(task="world-ve", dataset="SNLI-VE", real="snli-ve"), Measure(task="world-science", dataset="ScienceQA", real="scienceqa"),
    ),
    also=(("DVP", "abstract"),), note="The rows are petlbench's: DVP's own could not be read."
    " LLaMA has ScienceQA's analogue here, BERT and T5 VQA2.0's and, on demand, the other two; averages are over what a backbone has. ",
    unpublished=f"no published table was found: {_BODY}",
    contradictions=(
        "The abstract's 80 % fewer FLOPs is neither that of the language model alone, 91 to 92 %, nor that with the image tower, about half"
        " for BERT and T5 and 91 % for LLaMA (docs/paper-costs.md).",
        "DVP's released search takes its rewards from evaluation splits: test-dev of GQA, dev and test of SNLI-VE.",
    ),
)  # fmt: skip

EXPERIMENTS = (APT_MAIN, APT_CLIP, APT_GENERATION, DAS_MAIN, DAS_SCIENCE, DVP_MAIN)
"""In the order of the page."""
STANDS_FOR = {task: m.dataset for experiment in EXPERIMENTS for m in experiment.measures for task in (m.task, m.real)}
"""Task -> the dataset of the papers that it is, or whose place it takes."""
