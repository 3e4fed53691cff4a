"""What a label format is, what every reader returns, and what `prepare` may be asked for. Help reads it: no numpy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict

from mlrpl_cli.core.io.progress import Progress

if TYPE_CHECKING:
    import numpy as np

TRAIN, VALIDATION, TEST = SPLITS = ("train", "validation", "test")

SCENES = "scenes"
"""The data set that needs no download, which is the default."""


@dataclass(frozen=True)
class Records:
    """A data set before any label is hidden: N images of all splits and C classes, both in the publisher's order."""

    classes: tuple[str, ...]
    """C class names, in the order of the label columns."""
    image_root: Path
    """The folder that `images` are relative to."""
    images: tuple[str, ...]
    """N paths with forward slashes, relative to `image_root`."""
    full_labels: np.ndarray = field(repr=False)
    """(N, C) int8 of label states, as published."""
    splits: tuple[str, ...]
    """N split names: "train", "validation" or "test"."""


class Format(BaseModel):
    """A label format: its fields are its options, each of them the flag of `mlrpl prepare` of the same name.

    A field's description is the flag's help; formats that name an option alike share the flag. A format that reads
    files has a field `root`, their folder or file. Options that cannot be raise pydantic's ValidationError.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    default_keep: ClassVar[float] = 0.3
    """Proportion of label cells that stay known when none is asked for."""

    def read(self, workspace: Path, progress: Progress) -> Records:
        """All images and labels. `workspace` is the folder being prepared, empty; most readers leave it alone.

        Raises DataError, naming everything found at once, for wrong data.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class PrepareOptions:
    """What `prepare` may be asked for."""

    dataset: str = SCENES
    """Key of the registry of data sets."""
    keep: float | None = None
    """Proportion of label cells that stay known, in (0, 1]; None is 0.3, and 1 for a table, whose cells say it."""
    seed: int = 0
    """Seed of the mask and of the choice of validation images."""
    out: Path | None = None
    """The folder to write; None is prepared/DATASET-keepPERCENT-seedSEED below the current folder."""
    validation_fraction: float = 0.1
    """Share of the training images set aside for validation, in (0, 1), unless the data set has its own."""
    classes: tuple[str, ...] | None = None
    """Keep only these classes, in the data set's order; None keeps all."""
    download: bool = False
    """Fetch the data set first, into its format's `root`; when that is not given, into datasets/DATASET."""
    reading: Mapping[str, Any] = field(default_factory=dict)
    """Options of the data set's format, by name, such as {"root": "VOCdevkit", "difficult": "unknown"}."""
