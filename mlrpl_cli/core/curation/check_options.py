"""What `check` may be asked for. Help reads it: no numpy, no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from mlrpl_cli.core.io.schema import Folder, Name
from mlrpl_cli.core.labels.writers.registry import FORMATS
from mlrpl_cli.core.runs.selection import RunOnDataOptions

TABLE, BELOW = "table", 0.5
OF_CORRECTED = ("below", "top", "format", "out")
"""Options that mean something only where labels are written."""


@dataclass(frozen=True)
class CheckOptions(RunOnDataOptions):
    """What to show of the labels that look wrong, and what to write."""

    most: Annotated[int, Field(ge=0)] = 20
    """How many known cells are shown, those whose label looks most wrong."""
    csv: Path | None = None
    """File for all known cells, ranked. Default: none."""
    attention: Folder | None = None
    """Folder for pictures of the shown cells: the image and where the run looks for the class. Default: none."""
    drop: bool = False
    """Write labels in which the cells that look wrong are unknown."""
    flip: bool = False
    """Write labels in which the cells that look wrong have the other state."""
    below: Annotated[float | None, Field(ge=0, le=1)] = None
    """Cells look wrong whose label is right with a probability below this. Default: 0.5."""
    top: Annotated[int | None, Field(ge=1)] = None
    """So many cells look wrong, the first of the ranking, in place of --below."""
    format: Annotated[
        Name | None, Field(description=f"Of the labels, one of {', '.join(FORMATS)}. Default: {TABLE}")
    ] = None
    out: Path | None = None
    """Where to write the labels. Default: exports/NAME-dropped-FORMAT, or -flipped-, below the current folder."""
