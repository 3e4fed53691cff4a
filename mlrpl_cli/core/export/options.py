"""What `export-labels` may be asked for. Help reads it: no numpy, no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from mlrpl_cli.core.config import CheckedOptions, Device, Which
from mlrpl_cli.core.io.schema import Folder, Name, Text
from mlrpl_cli.core.labels.writers.registry import FORMATS

OF_A_RUN = ("threshold", "checkpoint", "device", "workers")
"""Options that mean something only with a run."""


@dataclass(frozen=True)
class ExportOptions(CheckedOptions):
    """Which labels to write, of which images, and how."""

    format: Name = Field(description=f"One of {', '.join(FORMATS)}")
    data: Folder | None = None
    """Prepared folder. Default: the newest below ./prepared; with a run, the one that it was trained on."""
    out: Path | None = None
    """File to write, for coco a folder. Default: exports/NAME-FORMAT below the current folder."""
    labels: Literal["full", "observed"] | None = None
    """"full" (as published) or "observed" (what training may see). Default: full."""
    split: tuple[Literal["train", "validation", "test"], ...] = ()
    """Only images of these splits. Default: all."""
    prefix: Text | None = None
    """Text in front of each image name, such as "/data/local-files/?d=photos/" for Label Studio."""
    run: Folder | None = None
    """Run folder whose predictions are written in place of the labels."""
    threshold: Annotated[float | None, Field(ge=0, le=1)] = None
    """With a run, a class is present when its probability is above this. Default: as the run decides, unsure cells
    unknown; 0.5 for a run without held-out cells."""
    checkpoint: Which | None = None
    """Of the run, "best" or "last". Default: best."""
    device: Device | None = None
    """What the run computes on, "cpu", "cuda" or "auto". Default: auto."""
    workers: Annotated[int | None, Field(ge=0)] = None
    """Threads that decode images for the run. Default: one for each core, at most 8."""
