"""A fingerprint of the code that computes a run: what its rows are worth after a change.

Over what trains, what stores and batches features, what computes figures, and the modules that make the method and its
loss with what these import of their own room or distribution. How an image becomes features is said by the version of
the feature cache, which is in one of these. Comments, docstrings and layout do not count.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable
from functools import cache

from mlrpl_cli.core.heads.methods import load_method
from mlrpl_cli.core.heads.registry import LOSSES, METHODS
from mlrpl_cli.core.runs.modules import Home, and_above, home_of, module_of, modules_from, modules_of

ALWAYS = (
    "mlrpl_cli.core.training.loop",
    "mlrpl_cli.core.training.assembly",
    "mlrpl_cli.core.sweep.worker",
    "mlrpl_cli.core.sweep.data",
    "mlrpl_cli.core.sweep.folds.joining",
    "mlrpl_cli.core.prepared.held_out",
    "mlrpl_cli.core.labels.masks",
    "mlrpl_cli.core.evaluation.evaluate",
    "mlrpl_cli.core.evaluation.metrics",
)
"""What every run goes through, with all that these import of `ROOMS`."""
ROOMS = ("mlrpl_cli.core.heads", "mlrpl_cli.core.features")
NAMES_ALONE = "mlrpl_cli.core.heads.registry"
"""A line more in it changes no other run."""
_OURS = Home(frozenset({*ROOMS, *ALWAYS}))


@cache
def code_sha256(method: str, loss: str) -> str:
    """SHA-256 of the code of runs of a method and a loss, as it was when this process first asked.

    Raises ConfigError for a method or loss that cannot be loaded.
    """
    trees = code_modules(method, loss)
    digest = hashlib.sha256()
    for name in sorted(trees):
        digest.update(f"{name}\n{bare(trees[name])}\n".encode())
    return digest.hexdigest()


def code_of_losses(method: str, losses: Iterable[str]) -> str:
    """`code_sha256` of runs whose folds may have losses of their own."""
    found = [code_sha256(method, loss) for loss in sorted(set(losses))]
    return found[0] if len(found) == 1 else hashlib.sha256("".join(found).encode()).hexdigest()


def code_modules(method: str, loss: str) -> dict[str, ast.Module]:
    """The modules whose code computes runs of a method and a loss, by name. Raises ConfigError as `code_sha256`."""
    entry = load_method(method)
    parts = [entry.recognizer, entry.text_head, entry.rebuild, entry.groups, entry.options, LOSSES.load(loss)]
    functions = (getattr(part, "func", part) for part in parts)  # a partial is of its function
    home = Home(frozenset(module_of(function).partition(".")[0] for function in functions))
    roots = modules_of(parts)
    for registry, name in ((METHODS, method), (LOSSES, loss)):
        module = registry[name].partition(":")[0]
        roots |= {*and_above(module)}
        home |= Home() if _is_ours(module) else home_of(module, registry.distribution(name))

    def followed(module: str) -> bool:
        return module != NAMES_ALONE and (_OURS if _is_ours(module) else home).has(module)

    return modules_from({*ALWAYS, *(root for root in roots if not _is_ours(root) or _OURS.has(root))}, followed)


def _is_ours(module: str) -> bool:
    return module.partition(".")[0] == "mlrpl_cli"


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
