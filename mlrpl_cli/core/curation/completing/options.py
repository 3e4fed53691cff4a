"""What `complete` may be asked for. Help reads it: no numpy, no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from mlrpl_cli.core.io.schema import Name, Text
from mlrpl_cli.core.labels.writers.registry import FORMATS
from mlrpl_cli.core.runs.selection import RunOnDataOptions

ALONE, TOGETHER = "alone", "together"
"""Who keeps a promise: a class, or the classes that could not alone."""
Share = Annotated[float, Field(ge=0.5, lt=1)]
"""Less than half would be kept by the contrary, too."""


@dataclass(frozen=True)
class CompleteOptions(RunOnDataOptions):
    """Which unknown cells to fill, and what has to hold of them."""

    precision: Share = 0.95
    """Share of the cells filled as present that are right, at least."""
    no_precision: Share | None = None
    """Share of the cells filled as absent that are right, at least. Default: that of --precision."""
    confidence: Share = 0.95
    """Share of these promises that is kept, in expectation: one of each class or group of classes, on either side."""
    fill_validation: bool = False
    """Fill cells of validation images, too, in place of those of training images alone: what selects an epoch and
    calibrates a run on these labels is then partly what was filled."""
    format: Name = Field(default="table", description=f"What to write: {', '.join(FORMATS)}")
    out: Path | None = None
    """File to write, for coco a folder. Default: exports/NAME-completed-FORMAT below the current folder."""
    prefix: Text | None = None
    """Text in front of each image name, such as "/data/local-files/?d=photos/" for Label Studio."""
