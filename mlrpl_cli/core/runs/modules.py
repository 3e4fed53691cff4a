"""The modules that a run's code lies in: found by their names and followed through their imports, none imported."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import Distribution, distributions
from importlib.util import find_spec, resolve_name
from pathlib import Path, PurePath
from types import ModuleType
from typing import Any


@dataclass(frozen=True)
class Home:
    """Which modules are of someone, and are followed: those of a distribution, or of a folder."""

    names: frozenset[str] = frozenset()
    """Names of packages, or of modules outside one, with all that is below them."""
    folders: frozenset[Path] = frozenset()
    """Folders whose modules and packages are all of them."""

    def has(self, module: str) -> bool:
        """Whether a module of that name is of them."""
        if any(f"{module}.".startswith(f"{name}.") for name in self.names):
            return True
        return bool(self.folders) and _folder_of(module.partition(".")[0]) in self.folders

    def __or__(self, other: Home) -> Home:
        return Home(self.names | other.names, self.folders | other.folders)


def home_of(module: str, distribution: Distribution | None) -> Home:
    """The home of a module: all that its distribution says that it holds, and the package that it lies in.

    Where the distribution does not say, as when it was installed to be edited, and where there is none: also all that
    lies beside that package, unless other distributions are installed there.
    """
    top = module.partition(".")[0]
    declared = _top_names(distribution) if distribution else frozenset()
    folder = None if top in declared else _folder_of(top)
    own = distribution.name if distribution else None
    if folder is None or any(other.name != own for other in distributions(path=[str(folder)])):
        return Home(declared | {top})
    return Home(declared | {top}, frozenset({folder}))


def modules_from(roots: Iterable[str], followed: Callable[[str], bool]) -> dict[str, ast.Module]:
    """The syntax trees of these modules and of all those `followed` that they import, directly or not, by name."""
    found: dict[str, ast.Module] = {}
    left = sorted(roots)
    while left:
        name = left.pop()
        if name in found:
            continue
        with suppress(LookupError, ValueError, SyntaxError, OSError):  # what is no module, or cannot be imported
            found[name] = ast.parse(source_of(name))
            left += filter(followed, imported(found[name], name))
    return found


def modules_of(value: Any) -> set[str]:
    """The modules that a function, a class or another object is of, with its closure, arguments and attributes."""
    found, seen, left = set(), {}, [value]
    while left:
        value = left.pop()
        if id(value) not in seen:
            seen[id(value)] = value  # kept, so that no other object gets its place
            found |= {value.__name__} if isinstance(value, ModuleType) else {module_of(value)}
            left += _inside(value)
    return found


def module_of(value: Any) -> str:
    """The name of the module that defines a function, a class or the class of another object."""
    own = value if isinstance(value, type) or hasattr(value, "__qualname__") else type(value)
    return str(getattr(own, "__module__", ""))


def _inside(value: Any) -> list[Any]:
    """The objects that a value is made of, as far as they can be seen."""
    match value:
        case ModuleType() | type() | str() | bytes() | int() | float() | None:
            return []
        case partial():
            return [value.func, *value.args, *value.keywords.values()]
        case dict():
            return [*value.values()]
        case list() | tuple() | set() | frozenset():
            return [*value]
    bound = [getattr(value, name, None) for name in ("__self__", "__func__")]
    return [*bound, *_cells(value), getattr(value, "__dict__", None)]


def _cells(value: Any) -> Iterator[Any]:
    """What a function closes over."""
    for cell in getattr(value, "__closure__", None) or ():
        with suppress(ValueError):  # one that is still empty
            yield cell.cell_contents


def imported(tree: ast.Module, module: str) -> Iterator[str]:
    """Dotted names that a module imports, with those of the packages that they are in.

    `from a import b` gives a and a.b, since b may be a module.
    """
    package = module if _file_of(module).name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from and_above(alias.name)
        elif isinstance(node, ast.ImportFrom):
            base = resolve_name("." * node.level + (node.module or ""), package) if node.level else node.module or ""
            yield from and_above(base)
            yield from (f"{base}.{alias.name}" for alias in node.names)


def and_above(module: str) -> Iterator[str]:
    """a.b.c: a, a.b and a.b.c, which are all executed when it is imported."""
    parts = module.split(".")
    yield from (".".join(parts[: count + 1]) for count in range(len(parts)))


def source_of(module: str) -> bytes:
    """The source of a module. Raises LookupError for what is none, or has none."""
    return _file_of(module).read_bytes()


def _top_names(distribution: Distribution) -> frozenset[str]:
    """The packages of a distribution, and its modules outside a package, as far as it says them."""
    declared = (distribution.read_text("top_level.txt") or "").split()
    listed = [PurePath(file).parts[0].removesuffix(".py") for file in distribution.files or () if file.suffix == ".py"]
    return frozenset(name for name in [*declared, *listed] if name.isidentifier())


def _folder_of(top: str) -> Path | None:
    """The folder that a package, or a module outside one, lies in."""
    with suppress(LookupError):
        file = _file_of(top)
        return (file.parent if file.name == "__init__.py" else file).parent.resolve()
    return None


def _file_of(module: str) -> Path:
    with suppress(ImportError, ValueError, AttributeError):
        spec = _spec_of(module)
        if spec and spec.origin and spec.origin.endswith(".py"):
            return Path(spec.origin)
    raise LookupError(module)


def _spec_of(module: str) -> ModuleSpec | None:
    """Where a module is. `find_spec` of one in a package would import the package."""
    package, dot, _ = module.rpartition(".")
    if not dot:
        return find_spec(module)
    above = _spec_of(package)
    places = above.submodule_search_locations if above else None
    return None if places is None else PathFinder.find_spec(module, places)
