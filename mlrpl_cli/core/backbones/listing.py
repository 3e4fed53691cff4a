"""Which backbones there are, in short: what `mlrpl backbones` lists."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol, cast, runtime_checkable

from mlrpl_cli.core.backbones.backbone import BackboneOptions, Description, Family
from mlrpl_cli.core.backbones.registry import families
from mlrpl_cli.core.io.errors import MlrplError


@runtime_checkable
class Catalog(Protocol):
    """A family with more names than are told by default."""

    def listed(self, everything: bool) -> list[str]:
        """All names of weights, or those that are on this machine; looks nothing up in the network."""
        ...


@dataclass(frozen=True)
class BackboneEntry:
    """A backbone, in short."""

    name: str
    """What --backbone takes."""
    family: str
    pretraining: str | None
    """The data that it was trained on, as its maker calls them; None where it is not known."""
    image_size: int
    """Side in pixels of the images that it takes by default."""
    grid: int
    """Positions along each side of the grid at that size."""
    channels: int | None
    """D of the grid; None where only loading it tells."""
    embed_dim: int | None
    """E of the space that images and texts share."""
    licence: str | None
    """Of the weights; None where it is not known."""
    downloaded: bool | None
    """Whether the weights are on this machine."""


@dataclass(frozen=True)
class BackboneListing:
    """Backbones that can be named, those of a family together."""

    backbones: list[BackboneEntry] = field(default_factory=list)
    more: bool = False
    """Whether there are others, which `--all` lists."""
    problems: list[str] = field(default_factory=list)
    """One line for each that cannot be used."""


def list_backbones(everything: bool = False, find: str | None = None) -> BackboneListing:
    """What every family has by name: of large ones what is downloaded, all of it with `everything` or `find`.

    `find` keeps the names that hold it, in capitals or not.
    """
    wide = everything or find is not None
    listing = BackboneListing(more=not wide and any(isinstance(family, Catalog) for family in families()))
    for family in families():
        for name in _names(family, wide):
            if (find or "").casefold() not in name.casefold():
                continue
            try:
                listing.backbones.append(_entry(family.describe(BackboneOptions(name))))
            except MlrplError as error:
                listing.problems.append(str(error))
    return listing


def _names(family: Family, everything: bool) -> Iterator[str]:
    yield from cast(Catalog, family).listed(everything) if isinstance(family, Catalog) else family.names()


def _entry(told: Description) -> BackboneEntry:
    size = told.defaults.image_size
    where = told.family, told.pretraining, size, size // told.rule.stride
    return BackboneEntry(told.name, *where, told.channels, told.embed_dim, told.licence, told.downloaded)
