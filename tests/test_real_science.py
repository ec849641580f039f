"""ScienceQA as a task: prompts, pictures or none, letters, options, break-downs, floors."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from mirrored import photograph, put_tokenizer, view
from PIL import Image
from test_science_qa import problem
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from torch import nn
from transformers import PreTrainedTokenizerFast

from suite import backbones, cost
from suite.assemble import assemble, optimizer
from suite.core import Backbone, Batch
from suite.data import seen
from suite.data.science_qa import ScienceQa
from suite.data.text import tokenizer
from suite.errors import UserError
from suite.plugins import discover
from suite.recipe import Recipe
from suite.tasks.base import SEARCH_PARTS
from suite.tasks.real_science import LETTERS, TASKS, RealScience, prompt, uninformed
from suite.tasks.science import NONE

FOUR = {
    "4": problem(question="Which?"), "5": problem(question="Which?", image="image.png", answer=1, choices=["Ohio", "Texas", "Iowa"]),
    "11": problem(question="Who?", hint="Read this.", subject="natural science", grade="grade7"),
    "15": problem(question="Why?", image="image.png", hint="Look.", choices=["a", "b", "c", "d", "e"], answer=4, grade="grade12",
                  subject="language science"),
}  # fmt: skip


@pytest.fixture(autouse=True)
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PETLBENCH_MIRROR", str(tmp_path))
    seen.tokenizer.cache_clear()
    put_tokenizer(tmp_path)
    torch.set_num_threads(1)


def task(home: Path, problems: dict[str, dict[str, Any]] = FOUR, length: int = 64, **changes: object) -> RealScience:
    """Of these problems in every split, whose ids begin with the split's letter; bound to a mini language model."""
    parts = {part: {f"{part[0]}{key}": row for key, row in problems.items()} for part in ("train", "val", "test")}
    folder = home / "scienceqa"
    folder.mkdir(exist_ok=True)
    (folder / "problems.json").write_text(json.dumps({key: row for found in parts.values() for key, row in found.items()}))
    (folder / "pid_splits.json").write_text(json.dumps({part: list(found) for part, found in parts.items()}))
    for part, found in parts.items():
        for number, (key, row) in enumerate(found.items()):
            if row["image"]:
                photograph(folder / "images" / part / key / row["image"], (80 + 8 * number, 70), number)
    reader = ScienceQa("scienceqa", dict.fromkeys(("train", "validation", "test"), len(problems)))
    own = RealScience(reader, Recipe(1, 2, warmup=0.0), dataset="ScienceQA", backbones=("llama", "lavin"))
    return own.bound(view(length=length, **changes), own.recipe)


def batch_of(own: RealScience, *keys: str) -> Batch:
    """The rows of the test split that have these numbers."""
    rows = [list(FOUR).index(key) for key in keys]
    return own.collate(own.split("test"), torch.tensor(rows).numpy(), None)


def model(own: RealScience, backbone: str, method: str = "head") -> nn.Module:
    found = discover().get(method)()
    return assemble(found, backbone, own, 0, preset="mini", plan=None, pretrained=False).eval()


def test_what_the_model_reads(tmp_path: Path) -> None:
    texts = task(tmp_path).split("test").texts
    assert texts[0] == "Question: Which?\nContext: N/A\nOptions: (A) Ohio (B) Texas\nAnswer: The answer is"
    assert texts[3] == "Question: Why?\nContext: Look.\nOptions: (A) a (B) b (C) c (D) d (E) e\nAnswer: The answer is"


@pytest.mark.parametrize("ending", ["", " and a half"])
def test_a_long_context_is_cut_so_that_the_whole_fits(ending: str, tmp_path: Path) -> None:
    """Not a word more than needed, and nothing of question and options."""
    words = [f"word{n}" for n in range(60)]
    long, short = problem(hint="\n".join(words)), problem(hint="Read this.")
    own = task(tmp_path, {"1": long, "2": short | {"answer": 1}}, length=80, ending=ending)
    cut, whole = own.split("test").texts
    assert whole == prompt(short["question"], short["hint"], short["choices"])
    kept = cut.partition("Context: ")[2].partition("\nOptions")[0].split("\n")
    assert kept == words[: len(kept)] and 0 < len(kept) < 60 and cut.replace("\n".join(kept), "Read this.") == whole
    more = cut.replace(kept[-1], f"{kept[-1]}\n{words[len(kept)]}")
    fitting, longer = tokenizer_of(own)([cut + ending, more + ending])
    assert len(fitting) <= 80 < len(longer)
    assert seen.tokens(own.view, [cut])[0].tolist() == [fitting]


def tokenizer_of(own: RealScience) -> Callable[[list[str]], list[list[int]]]:
    return lambda texts: seen.tokenizer(own.view.tokenizer, own.view.words)(texts)["input_ids"]


def test_a_question_that_is_too_long_without_its_context_is_told(tmp_path: Path) -> None:
    own = task(tmp_path, {"1": problem(hint="Read."), "2": problem(answer=1)}, length=30)
    with pytest.raises(UserError, match="^scienceqa: question t1 is too long for 30 tokens, even without its context$"):
        own.split("test")


@pytest.mark.parametrize(("change", "told"), [
    ({"subject": "art"}, "a subject or grade is damaged: KeyError: 'art'"), ({"grade": "grade13"}, "a subject or grade is damaged"),
    ({"choices": list("abcdef")}, "question r1 has 6 options, not 2 to 5"), ({"choices": ["a"]}, "question r1 has 1 options, not 2 to 5"),
])  # fmt: skip
def test_what_is_not_as_published_is_told(change: dict[str, object], told: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=told.replace("r1", "t1")) as error:
        task(tmp_path, {"1": problem(**change), "2": problem(answer=1)}, length=200).split("train")
    assert "\n" not in str(error.value)


def test_rows_without_a_picture_point_to_none_and_are_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own, opened = task(tmp_path), []
    original = Image.open
    monkeypatch.setattr(Image, "open", lambda path: opened.append(Path(path).parent.name) or original(path))
    batch = batch_of(own, "15", "4", "5", "11", "5")
    assert sorted(opened) == ["t15", "t5"] and batch.pixels.shape == (2, 3, 64, 64) and batch.picture_sizes is None
    assert batch.image_index.tolist()[1] == batch.image_index.tolist()[3] == -1 and batch.image_index[2] == batch.image_index[4]
    for row, key in ((0, "15"), (2, "5")):
        with original(tmp_path / f"scienceqa/images/test/t{key}/image.png") as image:
            assert torch.equal(batch.pixels[batch.image_index[row]], seen.picture(own.view, image))
    opened.clear()
    batch = batch_of(own, "4", "11")
    assert batch.pixels is None and batch.image_index.tolist() == [-1, -1] and not opened


@pytest.mark.parametrize("backbone", ["llama", "lavin"])
def test_a_row_reads_the_same_in_every_batch(backbone: str, tmp_path: Path) -> None:
    """With pictures and without, longer and shorter, alone and together."""
    own = task(tmp_path)
    trained = model(own, backbone, "visual_prompt_adapter" if backbone == "llama" else "head")
    with torch.no_grad():
        together = trained.predict(batch_of(own, *FOUR))
        alone = torch.cat([trained.predict(batch_of(own, key)) for key in FOUR])
        blind = trained.predict(replace(batch_of(own, *FOUR), pixels=None, image_index=torch.full((4,), -1)))
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)
    changed = (together - blind).abs().amax(1) > 1e-4
    assert changed.tolist() == [False, True, False, True], "the picture is seen where there is one"


def test_letters_start_as_the_language_models_own(tmp_path: Path) -> None:
    own = task(tmp_path)
    trained = model(own, "llama")
    rows = [tokenizer().token_to_id(letter.lower()) for letter in LETTERS]
    assert torch.equal(trained.head.weight, trained.backbone.heads["lm"].weight[rows]) and not trained.head.bias.any()
    batch = batch_of(own, "15")
    with torch.no_grad():
        words = trained.backbone.heads["lm"](trained.backbone(batch).pooled)
        torch.testing.assert_close(trained.predict(batch), words[:, rows])


def sentence_pieces(home: Path) -> int:
    """A tokenizer of LLaMA's kind: spaces are a part of the word behind them, nothing stands at the end; its number of words."""
    pieces = Tokenizer(models.BPE(unk_token="<unk>"))
    pieces.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    trainer = trainers.BpeTrainer(vocab_size=120, special_tokens=["<unk>", "<s>", "</s>"], show_progress=False)
    texts = [f"{prompt('Which?', '', list('vwxyz'))} {letter}" for letter in LETTERS]
    pieces.train_from_iterator([*texts, *(f"x {letter} y" for letter in LETTERS for _ in range(40))], trainer)
    pieces.post_processor = processors.TemplateProcessing("<s> $A", None, [("<s>", 1)])
    own = PreTrainedTokenizerFast(tokenizer_object=pieces, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    own.save_pretrained(home / "pieces")
    return len(own)


def test_a_letter_is_the_token_that_follows_the_text(tmp_path: Path) -> None:
    """And the read-out is the token before it, where nothing is put behind a text."""
    own = task(tmp_path, length=200, tokenizer="pieces", words=sentence_pieces(tmp_path))
    texts, letters = own.split("test").texts, own._letters()
    assert len(set(letters)) == 5
    for letter, number in zip(LETTERS, letters, strict=True):
        for text, longer in zip(tokenizer_of(own)(texts), tokenizer_of(own)([f"{text} {letter}" for text in texts]), strict=True):
            assert longer == [*text, number]
    batch = batch_of(own, *FOUR)
    ends = backbones.load("llama").build("mini", pretrained=False, vision=False).end(batch.input_ids, batch.text_mask)
    assert ends.tolist() == [len(ids) - 1 for ids in tokenizer_of(own)(texts)]


def test_only_what_is_offered_can_be_chosen(tmp_path: Path) -> None:
    own = task(tmp_path)
    trained, batch = model(own, "llama"), batch_of(own, *FOUR)
    assert batch.labels.tolist() == [[0, 1, 1, 0, 0, 0], [1, 1, 1, 1, 0, 0], [0, 1, 1, 0, 0, 0], [4, 1, 1, 1, 1, 1]]
    with torch.no_grad():
        every = trained.head(trained.backbone(batch).pooled)
        scores = trained.predict(batch)
    for row, count in enumerate((2, 3, 2, 5)):
        torch.testing.assert_close(scores[row, :count], every[row, :count])
        assert (scores[row, count:] == NONE).all()
    offered = [nn.functional.cross_entropy(every[row, :count][None], batch.labels[row, :1]) for row, count in enumerate((2, 3, 2, 5))]
    torch.testing.assert_close(own.loss(trained.backbone, trained.head, batch), torch.stack(offered).mean())


def test_scores_have_room_in_half_precision(tmp_path: Path) -> None:
    own = task(tmp_path)
    parts = (model(own, "llama").backbone, lambda pooled: pooled[:, :5].half(), batch_of(own, *FOUR))
    assert own.loss(*parts).isfinite() and own.predict(*parts).dtype is torch.float32


@pytest.mark.parametrize(("backbone", "method"), [("llama", "visual_prompt_adapter"), ("lavin", "lavin"), ("llama", "dvp_adapter")])
def test_a_step_of_training_lowers_the_loss(backbone: str, method: str, tmp_path: Path) -> None:
    own = task(tmp_path)
    found = discover().get(method)()
    plan = found.example_plan(backbones.load(backbone).build("mini", pretrained=False))
    trained = assemble(found, backbone, own, 0, preset="mini", plan=plan, pretrained=False).eval()
    batch, steps = batch_of(own, *FOUR), optimizer(trained, own.recipe, 1e-3)
    losses = []
    for _ in range(4):
        losses.append(trained.loss(batch))
        steps.zero_grad()
        losses[-1].backward()
        steps.step()
    assert losses[-1] < losses[0] and all(p.grad is not None for p in trained.head.parameters())


def test_break_downs_are_as_published(tmp_path: Path) -> None:
    """A question with text and picture counts in both contexts. Right here: those of the rows 4 and 15."""
    own, outputs = task(tmp_path), []
    for batch in own.batches("test", 0):
        right = nn.functional.one_hot(batch.labels[:, 0], 5).float()
        wrong = [row for row, index in enumerate(batch.ids.tolist()) if index in (1, 2)]
        outputs.append(right.index_copy(0, torch.tensor(wrong), right[wrong].roll(1, 1)))
    metrics, correct, clusters = own.score("test", outputs)
    assert correct == [True, False, False, True] and len(set(clusters)) == 4
    assert metrics == {
        "accuracy": 50.0, "context_text": 50.0, "context_image": 50.0, "context_none": 100.0, "subject_natural": 0.0,
        "subject_social": 50.0, "subject_language": 100.0, "grade_1_6": 50.0, "grade_7_12": 50.0,
    }  # fmt: skip


def columns(rows: list[tuple[str, str, int]]) -> dict[str, list[Any]]:
    """Of (question, options of a letter each, right place)."""
    return {"text": [row[0] for row in rows], "options": [list(row[1]) for row in rows], "label": [row[2] for row in rows]}


def test_floors_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Most often right is the first place, of three the second; to "Which?" the answer was t twice, and o once. No view is needed."""
    train = [("Which?", "oti", 1), ("Which?", "to", 0), ("Which?", "ot", 0), ("Who?", "ot", 0), ("How?", "oti", 1)]
    test = [("Which?", "ot", 1), ("Which?", "oti", 0), ("Why?", "oti", 1), ("Why?", "ot", 0), ("Who?", "to", 1)]
    own = replace(task(tmp_path), view=None)
    monkeypatch.setattr(own, "columns", lambda name: columns({"train": train, "test": test}[name]))
    assert own.floors() == {"majority": 40.0, "blind": 80.0} == own.floors()


def test_the_commonest_place_may_not_be_offered() -> None:
    train = columns([("What?", "abc", 2), ("What?", "abc", 2), ("What?", "ab", 1)])
    assert uninformed(train, columns([("What?", "abcde", 0), ("What?", "ab", 0)])) == {"majority": [2, 1], "blind": [2, 1]}


def test_search_parts_keep_what_belongs_to_their_rows(tmp_path: Path) -> None:
    own = task(tmp_path, FOUR | {"16": problem(question="When?", hint="It is late.", choices=["a", "b", "c", "d"], answer=3)})
    whole, parts = own.split("train"), [own.split(name) for name in SEARCH_PARTS]
    assert [len(part) for part in parts] == [4, 1]
    for part in parts:
        for row, text in enumerate(part.texts):
            was = whole.texts.index(text)
            assert part.groups[row] == whole.groups[was] and torch.equal(part.offered[row], whole.offered[was])
            assert part.images.paths[part.image_of[row, 0]] == whole.images.paths[whole.image_of[was, 0]]


def blank_loss(backbone: Backbone, own: RealScience) -> torch.Tensor:
    return own.loss(backbone, own.head(backbone), own.blank((16, 64, 64)))


def test_costs_need_neither_data_nor_tokenizer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PETLBENCH_MIRROR")
    reader = ScienceQa("scienceqa", {"train": 12_726, "validation": 4_241, "test": 4_241})
    own = RealScience(reader, Recipe(20, 3), dataset="ScienceQA")
    backbone = backbones.load("lavin").build("mini", pretrained=False)
    assert torch.equal(own.head(backbone).weight, backbone.heads["lm"].weight[:5]) and own.sequences() == 12_726
    batch = own.blank((16, 64, 64))
    assert batch.input_ids.shape == (3, 16) and batch.labels.tolist() == [[0, 1, 1, 1, 1, 1]] * 3
    assert blank_loss(backbone, own).isfinite()
    one = cost.rows(batch, 1)
    assert own.predict(backbone, own.head(backbone), one).shape == (1, 5)
    meta = backbones.load("lavin").build("mini", pretrained=False, device="meta")
    with torch.device("meta"):
        assert own.head(meta).weight.device.type == "meta" and blank_loss(meta, own).shape == ()


def test_a_missing_tokenizer_is_told(tmp_path: Path) -> None:
    own = task(tmp_path, tokenizer="none/here")
    for ask in (lambda: own.split("test"), lambda: model(own, "llama")):
        with pytest.raises(UserError, match="^tokenizer none/here is neither reachable nor below PETLBENCH_MIRROR") as error:
            ask()
        assert "\n" not in str(error.value)


def test_the_task_has_the_papers_sizes() -> None:
    own = TASKS["scienceqa"]()
    assert (own.name, own.dataset, own.backbones, own.presets) == ("scienceqa", "ScienceQA", ("llama", "lavin"), ("paper",))
    assert own.sizes["train"] == 12_726 and own.view is None
