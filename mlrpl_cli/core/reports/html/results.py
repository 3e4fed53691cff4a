"""What a report came to, as its command tells it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mlrpl_cli.core.runs.provenance import Provenance

Kind = Literal["run", "sweep"]


@dataclass(frozen=True)
class Page:
    """What is in a page."""

    of: Kind
    images: int
    """That figures are of; 0 where there is no test image."""
    classes: int
    curves: int
    """Classes that have curves; in a page of a sweep, its figures."""
    pictures: dict[str, int]
    """Cells that are shown, by the group of the gallery; none in a page of a sweep."""
    errors: list[dict[str, str]]
    """Images of the gallery that could not be read, each with `image` and `error`."""
    provenance: Provenance


@dataclass(frozen=True)
class Written:
    """A page that was written."""

    folder: Path
    """Of the run or sweep."""
    path: Path
    bytes: int
    page: Page
