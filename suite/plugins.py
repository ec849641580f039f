"""Finds the methods: every file of `baselines/` and `methods/`, and the entry points `petlbench.methods`. No list to edit."""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import importlib
import importlib.metadata
import importlib.util
import inspect
import json
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from suite.names import unknown
from suite.errors import UserError

if TYPE_CHECKING:
    from suite.core import Method

METHOD_PACKAGES = ("baselines", "methods")
PROJECT_PACKAGES = ("suite", *METHOD_PACKAGES)
GROUP = "petlbench.methods"
LIBRARIES = {"site-packages", "dist-packages"}
LISTS = {"suite/tasks/__init__.py", "suite/backbones/__init__.py"}
"""Files that say where a task or backbone lies and change no result: part of no hash, so that a new task makes nothing run again."""


def one_line(error: BaseException) -> str:
    """`Type: message` in one line."""
    message = " ".join(str(error).split())
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


@dataclass
class Catalogue:
    """What was found. methods: classes by name; files: where each was found; broken: file -> one-line error."""

    methods: dict[str, type[Method]] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)

    def get(self, name: str) -> type[Method]:
        """The method of this name; raises UserError with the nearest name."""
        if name not in self.methods:
            raise unknown("method", name, self.methods)
        return self.methods[name]

    def usable(self, wanted: Any) -> Any:
        """`all`, or the list of names without those of broken files; raises UserError with the files' errors where none is left."""
        if wanted == "all":
            return wanted
        lost = {name: f"{label}: {error}" for label, error in self.broken.items() if (name := _stem(label)) not in self.methods}
        left = [name for name in wanted if name not in lost]
        if not left:
            raise UserError("; ".join(lost[name] for name in wanted))
        return left

    def add(self, cls: type[Method], file: Path) -> None:
        """Take in one method; raises UserError where its name is taken."""
        if cls.name in self.methods:
            if self.methods[cls.name] is cls:
                return
            raise UserError(f"two methods are named {cls.name!r}: {shown(self.files[cls.name])} and {shown(file)}")
        self.methods[cls.name], self.files[cls.name] = cls, file


@cache
def discover(files: tuple[str, ...] = ()) -> Catalogue:
    """All methods: of the packages, of the entry points, and of these further files. A file that raises is in `broken`."""
    catalogue = Catalogue()
    for file in _method_files(files):
        _guarded(catalogue, shown(file), lambda file=file: [(cls, file) for cls in _classes(_import(file))])
    for point in importlib.metadata.entry_points(group=GROUP):
        _guarded(catalogue, f"entry point {point.name} = {point.value}", lambda point=point: _of_entry_point(point.load()))
    return catalogue


def configured(cls: type[Method], backbone: str, task: str) -> Method:
    """The method with its hyper-parameters for a backbone and task; that they fit was seen when it was found."""
    return cls(**cls.overrides.get((backbone, task), {}))


def _stem(label: str) -> str:
    """The method that a broken file would have had, by its name: methods/mine.py -> mine."""
    return label.split()[2] if label.startswith("entry point ") else Path(label).stem


def _guarded(catalogue: Catalogue, label: str, load: Any) -> None:
    try:
        found = load()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a plug-in may raise anything, SystemExit too; the others still run
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename.endswith(label)]
        catalogue.broken[label] = one_line(error) + (f" (line {lines[-1]})" if lines else "")
        return
    for cls, file in found:
        catalogue.add(cls, file)


def _method_files(extra: tuple[str, ...]) -> Iterator[Path]:
    for package in METHOD_PACKAGES:
        for folder in package_folders(package):
            yield from sorted(file for file in folder.glob("*.py") if not file.name.startswith("_"))
    yield from (Path(file).resolve() for file in extra)


@cache
def package_folders(package: str) -> tuple[Path, ...]:
    """Where a top-level package lies, without importing it; empty where it is not there."""
    spec = importlib.util.find_spec(package)
    return tuple(Path(place).resolve() for place in (spec.submodule_search_locations or ())) if spec else ()


def _import(file: Path) -> ModuleType:
    for package in METHOD_PACKAGES:
        if file.parent in package_folders(package):
            return importlib.import_module(f"{package}.{file.stem}")
    name = f"petlbench_method_{hashlib.sha256(str(file).encode()).hexdigest()[:8]}_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file.name} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _classes(module: ModuleType) -> list[type[Method]]:
    """The methods a module defines, in its order; imported ones belong to their own file."""
    from suite.core import Method

    found = [value for value in vars(module).values() if inspect.isclass(value) and issubclass(value, Method)]
    found = [cls for cls in found if cls.__module__ == module.__name__ and not cls.__name__.startswith("_")]
    for cls in found:
        _check(cls)
    return found


def _check(cls: type[Method]) -> None:
    for needed in ("name", "title"):
        if not isinstance(getattr(cls, needed, None), str):
            raise TypeError(f"class {cls.__name__} has no `{needed}: ClassVar[str]`")
    for values in ({}, *cls.overrides.values()):  # every hyper-parameter has a default, and all can be stored
        _check_fields(cls, values)
    json.dumps(cls.claims, allow_nan=False)


def _check_fields(cls: type[Method], values: dict[str, Any]) -> None:
    """Raises what is wrong with the method's fields, these of them changed; UserError for one that it does not have."""
    names = [f.name for f in dataclasses.fields(cls)]
    for name in values:
        if name not in names:
            raise unknown(f"parameter of {cls.name}", name, names)
    for name, value in dataclasses.asdict(cls(**values)).items():
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise TypeError(f"parameter {name} of {cls.name} is no JSON value: {error}") from error


def _of_entry_point(value: Any) -> list[tuple[type[Method], Path]]:
    if isinstance(value, ModuleType):
        return [(cls, Path(str(value.__file__)).resolve()) for cls in _classes(value)]
    _check(value)
    return [(value, Path(inspect.getfile(value)).resolve())]


def shown(file: Path) -> str:
    """The path as a user reads it: below the working directory where it lies there."""
    return str(file.relative_to(Path.cwd())) if file.is_relative_to(Path.cwd()) else str(file)


@cache
def source_files(path: Path) -> tuple[Path, ...]:
    """The file and what it imports of the project, of its own package, from beside it and from the working directory, transitively.

    Read with `ast`: nothing is imported. Installed libraries are left out; their versions are part of the keys.
    """
    seen: set[Path] = set()
    todo = [path.resolve()]
    while todo:
        file = todo.pop()
        if file not in seen:
            seen.add(file)
            todo += _imported(file)
    return tuple(sorted(seen))


@cache
def source_hash(path: Path) -> str:
    """sha256 over the names and contents of `source_files(path)`; the same wherever the project lies."""
    total = hashlib.sha256()
    for name, file in sorted((_project_name(file), file) for file in source_files(path)):
        if name in LISTS:
            continue
        total.update(f"{name} {hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return total.hexdigest()


def _project_name(file: Path) -> str:
    for package in PROJECT_PACKAGES:
        for folder in package_folders(package):
            if file.is_relative_to(folder):
                return f"{package}/{file.relative_to(folder).as_posix()}"
    return file.relative_to(_home(file)).as_posix()


def _home(file: Path) -> Path:
    """The folder that a file is imported from: above its packages."""
    folder = file.parent
    while (folder / "__init__.py").is_file():
        folder = folder.parent
    return folder


@cache
def _imported(file: Path) -> list[Path]:
    """The files that one file's import statements name, libraries aside, wherever in the file they stand."""
    package = _project_name(file).removesuffix(".py").split("/")[:-1]
    found: list[Path] = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"), str(file))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                found += _files_of(alias.name.split("."), file)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = above + (node.module.split(".") if node.module else [])
            for parts in (base, *([*base, alias.name] for alias in node.names)):
                found += _files_of(parts, file)
    return found


def _files_of(parts: list[str], importer: Path) -> list[Path]:
    """The files that importing this dotted name runs: the packages above it and itself; empty for a library."""
    found: list[Path] = []
    for folder in _folders(parts[0], importer) if parts else ():
        for depth in range(1, len(parts) + 1):
            place = folder.joinpath(*parts[1:depth])
            found += [file for file in (place / "__init__.py", place.with_suffix(".py")) if file.is_file()]
    return found


def _folders(top: str, importer: Path) -> list[Path]:
    """Where a top-level name may lie: the project's package, the importer's own one, beside the importer, the working directory."""
    if top in PROJECT_PACKAGES:
        return list(package_folders(top))
    home = _home(importer)
    own = importer.relative_to(home).parts[0] == top
    return [root / top for root in dict.fromkeys((home, Path.cwd())) if (own and root == home) or not LIBRARIES & set(root.parts)]
