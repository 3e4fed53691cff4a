"""A fingerprint of the code that computes a run: what its rows are worth after a change.

Over what trains, what stores and batches features, what computes figures, and the modules that make the method and its
loss with what these import of their own room or package. How an image becomes features is said by the version of the
feature cache, which is in one of these. Comments, docstrings and layout do not count.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from importlib.util import find_spec, resolve_name
from pathlib import Path

from mlrpl_cli.core.heads.methods import load_method
from mlrpl_cli.core.heads.registry import LOSSES

ALWAYS = (
    "mlrpl_cli.core.training.loop",
    "mlrpl_cli.core.training.assembly",
    "mlrpl_cli.core.sweep.worker",
    "mlrpl_cli.core.evaluation.metrics",
)
"""What every run goes through, with all that these import of `ROOMS`."""
ROOMS = ("mlrpl_cli.core.heads.", "mlrpl_cli.core.features.")
NAMES_ALONE = "mlrpl_cli.core.heads.registry"
"""A line more in it changes no other run."""


@cache
def code_sha256(method: str, loss: str) -> str:
    """SHA-256 of the code of runs of a method and a loss, as it was when this process first asked.

    Raises ConfigError for a method or loss that cannot be loaded.
    """
    entry = load_method(method)
    parts = [entry.recognizer, entry.text_head, entry.rebuild, entry.groups, entry.options, LOSSES.load(loss)]
    roots = {getattr(getattr(part, "func", part), "__module__", "") for part in parts}  # a partial is of its function
    trees = modules_from(roots | {*ALWAYS})
    digest = hashlib.sha256()
    for name in sorted(trees):
        digest.update(f"{name}\n{bare(trees[name])}\n".encode())
    return digest.hexdigest()


def modules_from(roots: set[str]) -> dict[str, ast.Module]:
    """The modules of these names and all that they import, directly or not, of ROOMS or of their own packages."""
    theirs = (f"{root.split('.')[0]}." for root in roots if not root.startswith("mlrpl_cli."))
    families = (*ROOMS, *(f"{name}." for name in ALWAYS), *theirs)
    found: dict[str, ast.Module] = {}
    left = sorted(roots)
    while left:
        name = left.pop()
        if name in found or name == NAMES_ALONE or not f"{name}.".startswith(families):
            continue
        with suppress(LookupError):
            found[name] = ast.parse(source_of(name))
            left += imported(found[name], name)
    return found


def imported(tree: ast.Module, module: str) -> Iterator[str]:
    """Dotted names that a module imports; `from a import b` gives a and a.b, since b may be a module."""
    package = module if _file_of(module).name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = resolve_name("." * node.level + (node.module or ""), package) if node.level else node.module or ""
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def source_of(module: str) -> bytes:
    """The source of a module. Raises LookupError for what is none, or has none."""
    return _file_of(module).read_bytes()


def bare(tree: ast.Module) -> str:
    """The code of a module alone, as the syntax tree writes it, which is the same in every version of Python."""
    for node in ast.walk(tree):
        for name in ("body", "orelse", "finalbody"):
            if isinstance(block := getattr(node, name, None), list):
                setattr(node, name, [statement for statement in block if not _is_text(statement)])
    return ast.unparse(tree)


def _is_text(node: ast.AST) -> bool:
    """Whether a statement is a docstring."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _file_of(module: str) -> Path:
    with suppress(ImportError, ValueError, AttributeError):
        spec = find_spec(module)
        if spec and spec.origin and spec.origin.endswith(".py"):
            return Path(spec.origin)
    raise LookupError(module)
