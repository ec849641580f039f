"""The papers' training settings, read back against the tables of papers.md."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from suite import recipes
from suite.recipes import RECIPES, find

PAPERS = Path(__file__).parents[2] / "shared/reference/papers.md"
NAMES = {"VQA": "VQA2.0", "NLVR2": "NLVR2", "F30K": "Flickr30K", "GQA": "GQA", "SNLI-VE": "SNLI-VE"}
needs_papers = pytest.mark.skipif(not PAPERS.is_file(), reason="needs the reference specification beside the checkout")


def table(heading: str) -> list[list[str]]:
    """The cells of the first table below a heading, without its head."""
    text = PAPERS.read_text().split(heading, 1)[1]
    rows = re.search(r"(?:^\|.*\n)+", text, re.MULTILINE)[0].splitlines()[2:]
    return [[cell.strip(" *") for cell in row.strip("|").split("|")] for row in rows]


def numbers(cell: str) -> list[float]:
    return [float(number) for number in re.findall(r"\d+(?:\.\d+)?(?:e-\d+)?", cell.replace("*", ""))]


@needs_papers
def test_fusion_models_are_as_the_table_says() -> None:
    rows = table("### Learning rates")
    assert [row[0] for row in rows] == ["ViLT APT", "ViLT DAS", "METER APT", "METER DAS"]
    for who, tasks, batches, rates, heads, fusion in rows:
        backbone, paper = who.lower().split()[0], who.split()[1]
        found = [RECIPES[paper, backbone, NAMES[name]] for name in tasks.split(" / ")]
        assert [recipe.batch_size for recipe in found] == numbers(batches)
        assert [recipe.lr for recipe in found] == (numbers(rates) * 3 if "all" in rates else numbers(rates))
        assert [recipe.head for recipe in found] == ([10, 1, 1] if "VQA only" in heads else numbers(heads))
        assert {recipe.fusion for recipe in found} == {1 if fusion == "-" else float(fusion)}
        assert {recipe.epochs for recipe in found} == {10} and {recipe.warmup for recipe in found} == {0.1}
        assert {recipe.precision for recipe in found} == {"fp16" if backbone == "vilt" else "fp32"}


@needs_papers
def test_language_models_are_as_the_table_says() -> None:
    seen = set()
    for model, tasks, epochs, batch, rates, head, warmup, decay in table("### 4.5 Hyper-parameters"):
        backbone = model.split("_")[0].split()[0].lower()
        names = ["ScienceQA"] if "ScienceQA" in model else [NAMES[name] for part in tasks.split(" / ") for name in part.split(", ")]
        for name in names:
            recipe = RECIPES["DVP", backbone, name]
            seen.add(("DVP", backbone, name))
            assert recipe.epochs == numbers(epochs)[0] and recipe.weight_decay == numbers(decay)[0]
            assert recipe.head == (numbers(head) or [1])[0]
            assert recipe.warmup == (numbers(warmup)[0] / recipe.epochs if "ep" in warmup else numbers(warmup)[0] / 100)
            wanted = numbers(batch)[-1] if name == "ScienceQA" else numbers(batch)[1 if backbone == "llama" and name == "SNLI-VE" else 0]
            assert recipe.batch_size == wanted
            if backbone == "llama":
                assert recipe.lr == numbers(rates)[1 if name == "ScienceQA" else 0]
                continue
            full, light = numbers(rates)[:2]
            assert recipe.lr == full and recipe.light_lr == (numbers(rates)[2] if name == "GQA" and len(numbers(rates)) > 2 else light)
    assert seen == {key for key in RECIPES if key[0] == "DVP"}


@needs_papers
def test_lavin_is_as_section_3_4_says() -> None:
    recipe, text = RECIPES["DAS", "lavin", "ScienceQA"], PAPERS.read_text()
    said = re.search(r"Train: batch 4 x accum 4 x 2 GPUs = (\d+), .*?= ([\d.e-]+), AdamW \(([\d.]+),([\d.]+)\), wd ([\d.]+), (\d+) epochs,"
                     r" warm-up (\d+), (\w+)", text)  # fmt: skip
    batch, lr, *betas, decay, epochs, warmup, schedule = said.groups()
    assert (recipe.batch_size, recipe.lr, recipe.weight_decay) == (int(batch), float(lr), float(decay))
    assert recipe.betas == tuple(map(float, betas)) and recipe.epochs == int(epochs) and recipe.schedule == schedule
    assert recipe.warmup == int(warmup) / recipe.epochs


def test_whose_settings_a_method_has() -> None:
    assert find("vilt", "VQA2.0", "lora").lr == find("vilt", "VQA2.0", "apt").lr == 5e-4 and find("vilt", "VQA2.0", "das").lr == 1e-4
    assert find("meter", "NLVR2", "das_random").lr == 5e-5 and find("meter", "NLVR2", "full").lr == 1e-5
    assert find("lavin", "ScienceQA", "lavin") is find("lavin", "ScienceQA", "das")
    assert find("clip", "imagenet", "apt") is None is find("bert", "NLVR2", "dvp") and find("vilt", "GQA", "das") is None
    assert set(recipes.PAPERS) >= {backbone for _, backbone, _ in RECIPES}
