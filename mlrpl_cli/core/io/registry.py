"""Registries: our names in a dict literal, and the names that installed packages add to them by an entry point."""

from __future__ import annotations

import sys
from collections import UserDict
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from importlib.metadata import Distribution, EntryPoint, entry_points
from pkgutil import resolve_name
from typing import Any

from mlrpl_cli.core.io.errors import ConfigError, MlrplError, did_you_mean, first_few, one_line


class Registry(UserDict[str, str]):
    """Name → "module:object", resolved by `load` alone: listing the names imports nothing.

    A package adds names by entry points of `group`. Two that claim one name, or one that claims ours, are told when
    that name is loaded, so that every other name can still be used.
    """

    def __init__(self, kind: str, group: str, own: Mapping[str, str], reserved: Collection[str] = ()) -> None:
        """`kind` is what messages call an entry; `reserved` are names of ours that are not loaded from here."""
        super().__init__(own)
        self.kind, self.group, self.reserved = kind, group, reserved

    def __iter__(self) -> Iterator[str]:
        yield from dict.fromkeys([*self.data, *self._added()])

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __contains__(self, name: object) -> bool:
        return name in self.data or name in self._added()

    def __missing__(self, name: str) -> str:
        return self._added()[name][0].value

    def load(self, name: str) -> Any:
        """The object of that name.

        Raises ConfigError for an unknown name, one that two have, and one whose object cannot be imported.
        """
        if name not in self:
            raise ConfigError(f"no {self.kind} is called '{name}'; {did_you_mean(name, self)}")
        added = self._added().get(name, ())
        if added and (name in self.data or name in self.reserved or len(added) > 1):
            ours = ["mlrpl"] if name in self.data or name in self.reserved else []
            owners = first_few([*ours, *map(_owner, added)])
            raise ConfigError(f"{self.kind} '{name}' is claimed by {owners}; uninstall all but one, or rename it there")
        reference, owner = self[name], self.owner(name)
        try:
            return resolve_name(reference)
        except (Exception, SystemExit) as error:  # whatever a module does that someone else wrote
            told = error if isinstance(error, MlrplError) else f"{type(error).__name__}: {one_line(error)}"
            wrong = f"{self.kind} '{name}' of {owner} cannot be loaded from '{reference}': {told}"
            raise ConfigError(f"{wrong}; {f'update or uninstall {owner}' if added else 'correct its entry'}") from error

    def owner(self, name: str) -> str:
        """The distribution that a name is of: "mlrpl", or another one and its version."""
        return "mlrpl" if name in self.data else _owner(self._added()[name][0])

    def distribution(self, name: str) -> Distribution | None:
        """The installed distribution that adds a name; None for a name of ours."""
        return None if name in self.data else self._added()[name][0].dist

    def _added(self) -> Mapping[str, tuple[EntryPoint, ...]]:
        return _declared(self.group, tuple(sys.path))


@cache
def _declared(group: str, path: tuple[str, ...]) -> Mapping[str, tuple[EntryPoint, ...]]:
    """The entry points of a group by name, as the distributions on the import `path` declare them."""
    found: dict[str, tuple[EntryPoint, ...]] = {}
    for entry in entry_points(group=group):
        found[entry.name] = (*found.get(entry.name, ()), entry)
    return found


def _owner(entry: EntryPoint) -> str:
    """The distribution that declares an entry point."""
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else "a distribution without a name"
