"""Imports run one way. What is read here is the source, so an import inside a function counts too."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "mlrpl_cli"
FILES = sorted(PACKAGE.rglob("*.py"))

# From the bottom up. A unit (a module of core, or a package with all its modules) may import what is below its
# layer. Within a layer of SIBLINGS it imports nothing, in the other layers it may import its neighbours.
LAYERS = (
    (
        *("errors", "labels", "reading", "files", "locks", "progress", "runtime", "processes"),
        *("download", "archives", "tensorfiles"),
    ),
    ("config",),
    ("data", "models", "losses", "metrics", "localization", "comparison", "visualization"),
    ("bank", "frozen"),
    ("stored",),
    ("checkpoint", "features"),
    ("evaluation", "run_setup"),
    ("trainer",),
    ("training", "inference"),
    ("sweep",),
    ("commands",),
    ("app",),
    ("__main__",),
)
SIBLINGS = (2, 3, 6, 8)
LEVEL = {unit: level for level, units in enumerate(LAYERS) for unit in units}

HELPERS_OF_COMMANDS = {"console", "options"}
ONLY_IN_PROVIDER = {"open_clip", "clip"}
PROVIDER = PACKAGE / "core" / "models" / "provider.py"


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


def unit_of(dotted: str) -> str | None:
    """`mlrpl_cli.core.data.masks` → "data"; None for the two packages' own names and for other libraries."""
    parts = [part for part in dotted.split(".")[1:] if part != "core"]
    return parts[0] if dotted.startswith("mlrpl_cli.") and parts and not parts[0].startswith("__v") else None


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)


def forbidden(unit: str, other: str) -> bool:
    if unit == other:
        return False
    level, below = LEVEL[unit], LEVEL[other]
    return below > level or (below == level and level in SIBLINGS)


MODULES = [path for path in FILES if path not in (PACKAGE / "__init__.py", PACKAGE / "core" / "__init__.py")]


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_imports_only_what_is_below_it(path: Path) -> None:
    unit = unit_of(name_of(path))
    assert unit in LEVEL, f"{path.name} has no place in LAYERS yet"
    others = {other for name in imported(path) if (other := unit_of(name))}
    assert not {other for other in others if forbidden(unit, other)}


def test_core_knows_no_command_line() -> None:
    guilty = [path for path in (PACKAGE / "core").rglob("*.py") if top_levels(path) & {"typer", "rich"}]
    assert not guilty


def test_click_is_imported_nowhere() -> None:
    """Typer carries its own Click, and another one beside it is not the same."""
    assert not [path for path in FILES if "click" in top_levels(path)]


def test_clip_libraries_are_imported_by_the_provider_alone() -> None:
    assert not [path for path in FILES if path != PROVIDER and top_levels(path) & ONLY_IN_PROVIDER]


def test_commands_do_not_import_each_other() -> None:
    for path in (PACKAGE / "commands").glob("*.py"):
        siblings = {name.split(".")[2] for name in imported(path) if name.startswith("mlrpl_cli.commands.")}
        assert siblings <= HELPERS_OF_COMMANDS, path.name


def test_the_rule_catches_what_it_forbids() -> None:
    assert forbidden("data", "models")
    assert forbidden("errors", "config")
    assert forbidden("inference", "training")
    assert not forbidden("features", "checkpoint")
    assert not forbidden("app", "errors")
