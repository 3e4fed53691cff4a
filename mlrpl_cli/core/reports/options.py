"""What `visualize` may be asked for. Help reads it: no numpy, no torch."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from mlrpl_cli.core.io.schema import Folder
from mlrpl_cli.core.runs.selection import RunOptions


@dataclass(frozen=True)
class FigureOptions(RunOptions):
    """What to draw of a run."""

    run: Folder | None = None
    """Run folder, or a file of mlrpl pack. Default: the newest below ./runs."""
    out: Folder | None = None
    """Where to write. Default: figures in the run folder, or beside a file NAME.mlrpl, NAME-figures."""
    images: tuple[str, ...] = ()
    """Images, folders or patterns; without any, examples of the test images, curves and bars are drawn."""
    classes: tuple[str, ...] = ()
    """Whose attention to draw; the most probable ones of each image when empty."""
    top_k: Annotated[int, Field(ge=1)] = 3
    """How many of the most probable classes are drawn."""
    each: bool = False
    """One file an image, at its full size or at least 1,600 pixels on its long side, instead of sheets."""
