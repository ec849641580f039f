"""Finding methods: by file alone, whatever else lies broken beside them; and what files a method depends on."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest

from suite import plugins
from suite.names import nearest
from suite.core import Method
from suite.plugins import configured, discover, source_files, source_hash
from suite.errors import UserError

METHOD = '''
from __future__ import annotations
from dataclasses import dataclass
from typing import ClassVar
from suite.core import Method


@dataclass
class Mine(Method):
    name: ClassVar[str] = "{name}"
    title: ClassVar[str] = "Mine"
    size: int = 3
'''


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Nothing found before counts, and nothing found here counts later."""
    monkeypatch.chdir(tmp_path)
    caches = (discover, source_files, source_hash, plugins._imported, plugins.package_folders)
    for cached in caches:
        cached.cache_clear()
    yield
    for cached in caches:
        cached.cache_clear()


def written(name: str, text: str) -> tuple[str, ...]:
    Path(name).write_text(text)
    return (str(Path(name).resolve()),)


def test_the_projects_methods_are_found_with_their_files() -> None:
    found = discover()
    expected = {"full", "head", "bitfit", "prompt_shallow", "prompt_deep", "lora", "adapter", "parallel_adapter", "apt", "das"}
    assert expected <= set(found.methods) and found.broken == {}
    assert found.files["apt"].name == "apt.py" and found.files["prompt_deep"] == found.files["prompt_shallow"]


def test_a_file_anywhere_defines_a_method() -> None:
    found = discover(written("mine.py", METHOD.format(name="mine")))
    assert found.get("mine")().size == 3 and found.files["mine"] == Path("mine.py").resolve()
    assert "lora" in found.methods and "mine" not in discover().methods


@pytest.mark.parametrize(("text", "error"), [
    ("x = 1\nraise ValueError('two\\nlines')", "ValueError: two lines (line 2)"),
    ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module' (line 1)"),
    ("def f(:\n    pass", "SyntaxError: invalid syntax (broken.py, line 1)"),
    ("raise SystemExit", "SystemExit (line 1)"),
    (METHOD.format(name="mine").replace("title", "titel"), "TypeError: class Mine has no `title: ClassVar[str]`"),
    (METHOD.format(name="mine").replace("size: int = 3", "size: int"), "TypeError: Mine.__init__() missing 1 required"),
    (METHOD.format(name="mine").replace("int = 3", "object = print"), "TypeError: parameter size of mine is no JSON value: Object of"),
    (METHOD.format(name="mine").replace("int = 3", "float = float('nan')"), "TypeError: parameter size of mine is no JSON value: Out"),
    (METHOD.format(name="mine") + "    overrides = {('vilt', 'easy-vqa'): {'sise': 4}}",
     "UserError: unknown parameter of mine 'sise'; did you mean 'size'?"),
    (METHOD.format(name="mine") + "    overrides = {('vilt', 'easy-vqa'): {'size': {4}}}", "TypeError: parameter size of mine is no JSON"),
    (METHOD.format(name="mine") + "    claims = ({'better': {4}},)", "TypeError: Object of type set is not JSON serializable"),
])  # fmt: skip
def test_a_broken_file_is_named_and_the_others_are_there(text: str, error: str) -> None:
    found = discover(written("broken.py", text) + written("mine.py", METHOD.format(name="good")))
    assert list(found.broken) == ["broken.py"] and found.broken["broken.py"].startswith(error)
    assert {"good", "lora"} <= set(found.methods)


def test_two_methods_of_one_name_are_refused_with_both_files() -> None:
    with pytest.raises(UserError, match=r"two methods are named 'apt': .*apt\.py and mine\.py"):
        discover(written("mine.py", METHOD.format(name="apt")))


def test_entry_points(monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclass
    class Outside(Method):
        name: ClassVar[str] = "outside"
        title: ClassVar[str] = "Outside"

    def failing() -> None:
        raise ImportError("gone")

    points = [SimpleNamespace(name="outside", value="pkg:Outside", load=lambda: Outside),
              SimpleNamespace(name="bad", value="pkg:bad", load=failing)]
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: points if group == "petlbench.methods" else [])
    found = discover()
    assert found.get("outside") is Outside and found.files["outside"] == Path(__file__).resolve()
    assert found.broken == {"entry point bad = pkg:bad": "ImportError: gone"}


def test_unknown_names() -> None:
    assert nearest("lroa", ["lora", "apt"]) == "lora" and nearest("zzz", ["lora"]) is None
    with pytest.raises(UserError, match="unknown method 'lroa'; did you mean 'lora'?"):
        discover().get("lroa")


def test_a_broken_file_that_is_asked_for_by_name_leaves_the_others() -> None:
    found = discover(written("mine.py", "import no_such_module"))
    assert found.usable(["mine", "lora", "lroa"]) == ["lora", "lroa"] and found.usable("all") == "all"
    with pytest.raises(UserError, match=r"^mine\.py: ModuleNotFoundError: No module named 'no_such_module'"):
        found.usable(["mine"])


def test_overrides_by_backbone_and_task() -> None:
    class Changed(discover().get("lora")):
        overrides = {("vilt", "easy-vqa"): {"rank": 7}}

    assert configured(Changed, "vilt", "easy-vqa").rank == 7
    assert configured(Changed, "other", "easy-vqa") == Changed()


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small project: methods/a.py -> suite/core.py, suite/parts/one.py -> (relative, in a function) suite/parts/two.py."""
    files = {
        "suite/__init__.py": "", "suite/core.py": "import os", "suite/other.py": "", "suite/parts/__init__.py": "",
        "methods/__init__.py": "", "suite/parts/one.py": "def f():\n    from .two import x", "suite/parts/two.py": "x = 1",
        "methods/a.py": "import suite.core\nfrom suite.parts import one", "methods/b.py": "from suite import core",
    }  # fmt: skip
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(plugins, "package_folders", lambda package: (tmp_path / package,) if (tmp_path / package).is_dir() else ())
    return tmp_path


def names(tree: Path, file: str) -> set[str]:
    return {found.relative_to(tree).as_posix() for found in source_files(tree / file)}


def test_source_files_are_followed_without_importing(tree: Path) -> None:
    shared = {"suite/__init__.py", "suite/core.py"}
    assert names(tree, "methods/b.py") == {"methods/b.py"} | shared
    assert names(tree, "methods/a.py") == {"methods/a.py", "suite/parts/__init__.py", "suite/parts/one.py", "suite/parts/two.py"} | shared


def test_source_hash_sees_what_is_imported_and_nothing_else(tree: Path) -> None:
    def hashes() -> tuple[str, str]:
        for cached in (source_files, source_hash, plugins._imported):
            cached.cache_clear()
        return source_hash(tree / "methods/a.py"), source_hash(tree / "methods/b.py")

    a, b = hashes()
    (tree / "suite/other.py").write_text("y = 1")
    assert hashes() == (a, b)
    (tree / "suite/parts/two.py").write_text("x = 2")
    assert hashes()[0] != a and hashes()[1] == b
    (tree / "suite/core.py").write_text("import sys")
    assert hashes()[1] != b


def hashed(file: Path) -> str:
    for cached in (source_files, source_hash, plugins._imported):
        cached.cache_clear()
    return source_hash(file)


@pytest.mark.parametrize(("file", "helper", "statement"), [
    ("lib/site-packages/pack/mine.py", "lib/site-packages/pack/parts/help.py", "from .parts import help"),
    ("lib/site-packages/pack/mine.py", "lib/site-packages/pack/parts/help.py", "import pack.parts.help"),
    ("elsewhere/mine.py", "elsewhere/help.py", "from help import x"),
    ("elsewhere/mine.py", "mine_parts/help.py", "from mine_parts.help import x"),
    ("methods/mine.py", "mine_parts/help.py", "import mine_parts.help"),
])  # fmt: skip
def test_source_hash_sees_a_plug_ins_own_modules(tree: Path, file: str, helper: str, statement: str) -> None:
    for name in (file, helper, "lib/site-packages/library.py"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
    for folder in ("lib/site-packages/pack", "lib/site-packages/pack/parts"):
        if (tree / folder).is_dir():
            (tree / folder / "__init__.py").write_text("")
    (tree / helper).write_text("x = 1")
    (tree / "lib/site-packages/library.py").write_text("x = 1")
    (tree / file).write_text(f"import library\n{statement}")
    before = hashed(tree / file)
    (tree / "lib/site-packages/library.py").write_text("x = 2")
    assert hashed(tree / file) == before, "a library beside it is none of its own"
    (tree / helper).write_text("x = 2")
    assert hashed(tree / file) != before
