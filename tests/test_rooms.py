"""The rooms of the package: which way imports run."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest
from conftest import REPOSITORY

from aae_toolkit.cli.commands import COMMANDS

PACKAGE = REPOSITORY / "aae_toolkit"
# From the ground up: a room imports itself and those before it.
ROOMS = (
    *("errors", "text", "progress"),
    *("machine", "distributed", "files", "config", "backbones", "data", "models", "evaluation", "training", "tuning"),
    *("export", "backends", "predict", "parity", "estimators"),
    *("html", "visualization", "bench", "report", "web"),
    "cli",
)
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE or path.stem in ROOMS)
FORBIDDEN = {("export", "training")}  # though the order would allow it


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imported(path: Path) -> set[str]:
    """Full names of the modules of the package that a module imports, anywhere within it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in names if name.startswith("aae_toolkit.")}


def test_every_folder_and_loose_module_is_a_room_that_is_named_here() -> None:
    found = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__", "__main__"}
    found |= {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert found == set(ROOMS)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_import_runs_up(path: Path) -> None:
    own = ROOMS.index(room_of(path))
    rooms = {name.split(".")[1] for name in imported(path)} & set(ROOMS)
    above = sorted(room for room in rooms if ROOMS.index(room) > own or (room_of(path), room) in FORBIDDEN)
    assert not above, f"{path.relative_to(PACKAGE)} imports {', '.join(above)}"


def test_no_module_imports_itself_through_others() -> None:
    paths = {".".join(path.relative_to(REPOSITORY).with_suffix("").parts): path for path in PACKAGE.rglob("*.py")}
    modules = {name.removesuffix(".__init__"): path for name, path in paths.items()}
    edges = {name: imported(path) & modules.keys() for name, path in modules.items()}
    finished: set[str] = set()

    def walk(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join([*trail[trail.index(name) :], name])
        if name not in finished:
            for target in sorted(edges[name]):
                walk(target, (*trail, name))
            finished.add(name)

    for name in sorted(edges):
        walk(name, ())


def test_no_command_imports_another() -> None:
    commands = {f"aae_toolkit.cli.{command.replace('-', '_')}" for command in COMMANDS}
    for name in commands:
        path = REPOSITORY.joinpath(*name.split(".")).with_suffix(".py")
        assert not imported(path) & commands, f"{name}: share through a helper module of cli/"


def test_init_files_hold_no_logic() -> None:
    for path in PACKAGE.rglob("__init__.py"):
        body = ast.parse(path.read_text(encoding="utf-8")).body
        if path.parent == PACKAGE:  # its version, and the names of the Python API that are imported when asked for
            continue
        logic = [node for node in body if not isinstance(node, ast.Import | ast.ImportFrom | ast.Assign | ast.Expr)]
        assert not logic, path


def test_no_module_has_the_name_of_one_of_pythons_own() -> None:
    names = {path.stem for path in PACKAGE.rglob("*.py")} | {path.parent.name for path in PACKAGE.rglob("__init__.py")}
    assert names & sys.stdlib_module_names == {"html"}  # a room of pages


def test_modules_and_functions_are_short_enough_to_read() -> None:
    for path in PACKAGE.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert text.count("\n") <= 300, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                assert (node.end_lineno or 0) - node.lineno < 60, f"{path}: {node.name}"
