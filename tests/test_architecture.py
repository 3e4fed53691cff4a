"""The house: rooms with a sentence on the door, and imports that run one way.

What is read here is the source, so an import inside a function counts too.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "mlrpl_cli"
CORE = PACKAGE / "core"
FILES = sorted(PACKAGE.rglob("*.py"))

# From the bottom up. A room of core may import the rooms of the layers below its own, and none beside it.
LAYERS = (
    ("io",),
    ("config",),
    ("cluster",),
    ("scenes", "images", "backbones"),
    ("labels",),
    ("prepared", "features", "heads"),
    ("runs",),
    ("evaluation", "prediction"),
    ("training",),
    ("decisions",),
    ("sweep", "export"),
    ("curation",),
    ("reports",),
    ("review",),
    ("commands", "api"),
    ("app",),
    ("__main__",),
)
LEVEL = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}
ROOMS = [path for path in sorted(CORE.rglob("__init__.py")) if path != CORE / "__init__.py"]
MOST_FILES = 12
"""Modules of a folder beside its `__init__`: what one still sees at a glance."""

HELPERS_OF_COMMANDS = {"console", "drawn", "options", "result_types", "results", "words"}
CLIP_LIBRARIES = {"open_clip", "clip", "torchvision"}


def imported(path: Path) -> Iterator[str]:
    """Dotted names that a file imports; `from a import b` gives a.b, since b may be a module."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import; write the full name"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def top_levels(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imported(path)}


def room_of(dotted: str) -> str | None:
    """`mlrpl_cli.core.labels.masks` → "labels"; None for the two packages' own names and for other libraries."""
    parts = [part for part in dotted.split(".")[1:] if part != "core"]
    return parts[0] if dotted.startswith("mlrpl_cli.") and parts and not parts[0].startswith("__v") else None


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)


def forbidden(room: str, other: str) -> bool:
    return room != other and LEVEL[other] >= LEVEL[room]


MODULES = [path for path in FILES if path not in (PACKAGE / "__init__.py", CORE / "__init__.py")]


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_room_imports_only_what_is_below_it(path: Path) -> None:
    room = room_of(name_of(path))
    assert room in LEVEL, f"{path.name} has no place in LAYERS yet"
    others = {other for name in imported(path) if (other := room_of(name))}
    assert not {other for other in others if forbidden(room, other)}


def test_modules_import_each_other_in_no_circle() -> None:
    known = {name_of(path): path for path in MODULES}
    graph = {
        name: {other for found in imported(path) for other in (found, found.rpartition(".")[0]) if other in known}
        for name, path in known.items()
    }
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def test_core_itself_holds_only_the_configuration() -> None:
    assert {path.name for path in CORE.glob("*.py")} == {"config.py", "__init__.py"}


@pytest.mark.parametrize("door", ROOMS, ids=lambda path: path.parent.name)
def test_the_door_of_a_room_says_what_comes_in_and_what_goes_out(door: Path) -> None:
    tree = ast.parse(door.read_text(encoding="utf-8"))
    said = ast.get_docstring(tree) or ""
    assert len(tree.body) == 1, "a room's __init__ holds its docstring alone"
    assert all(word in said for word in ("In: ", "Out: ")) or door.parent.name == "formats"
    assert len(list(door.parent.glob("*.py"))) - 1 <= MOST_FILES


def test_core_knows_no_command_line() -> None:
    guilty = [path for path in CORE.rglob("*.py") if top_levels(path) & {"typer", "rich"}]
    assert not guilty


def test_click_is_imported_nowhere() -> None:
    """Typer carries its own Click, and another one beside it is not the same."""
    assert not [path for path in FILES if "click" in top_levels(path)]


def test_clip_libraries_are_imported_in_one_place() -> None:
    """They take seconds, so what needs them asks `library` for them; the tokenizer takes one file of theirs."""
    guilty = [path for path in FILES if top_levels(path) & CLIP_LIBRARIES]
    assert guilty == [CORE / "backbones" / "open_clip" / "library.py"]


def test_commands_do_not_import_each_other() -> None:
    for path in (PACKAGE / "commands").glob("*.py"):
        siblings = {name.split(".")[2] for name in imported(path) if name.startswith("mlrpl_cli.commands.")}
        assert siblings <= HELPERS_OF_COMMANDS, path.name


def test_the_rule_catches_what_it_forbids() -> None:
    assert forbidden("labels", "prepared")
    assert forbidden("io", "config")
    assert forbidden("evaluation", "prediction")
    assert not forbidden("training", "evaluation")
    assert not forbidden("app", "io")
