"""What `prepare` and its readers are asked for, and what every reader returns. Help reads it, so it imports little."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

TRAIN = "train"
VALIDATION = "validation"
TEST = "test"
SPLITS = (TRAIN, VALIDATION, TEST)

SCENES = "scenes"
"""The data set that needs no download, which is the default."""


@dataclass(frozen=True)
class Records:
    """A data set as its publisher gives it, before any label is hidden.

    N images in the publisher's order, training images and test images together; C classes in the publisher's order.
    """

    classes: tuple[str, ...]
    """C class names, in the order of the label columns."""
    image_root: Path
    """The folder that `images` are relative to."""
    images: tuple[str, ...]
    """N paths with forward slashes, relative to `image_root`."""
    labels: np.ndarray
    """(N, C) int8 of LabelState values."""
    splits: tuple[str, ...]
    """N split names, "train" or "test" (validation is taken from train later)."""


@dataclass(frozen=True)
class ReadOptions:
    """What a reader may be asked for; a reader ignores what has no meaning for its format."""

    root: Path | None = None
    """The data set's folder, or the table file; None only for data that is rendered."""
    year: str | None = None
    """Which release, where a folder can hold several: "2007" or "2012" for VOC, "2014" or "2017" for COCO."""
    difficult: str = "absent"
    """VOC: what an object marked difficult makes of its class: "absent" (skipped, as is usual) or "unknown"."""
    annotated_only: bool = False
    """COCO: leave out the images without any annotation, as DualCoOp does."""
    coding: str | None = None
    """Table: what -1 and 0 mean: "minus-one-absent" (-1 absent, 0 unknown) or "minus-one-unknown" (-1 unknown,
    0 absent); None refuses -1."""
    image_folder: Path | None = None
    """Table: the folder that image names are relative to; None means the table's own folder."""
    test_fraction: float = 0.2
    """Table without a split column: the share of images that become the test split, in (0, 1)."""
    seed: int = 0
    """Seed of everything a reader draws: the table's test split, the rendered scenes."""
    train_images: int = 2000
    """Scenes: how many training images to render."""
    test_images: int = 1000
    """Scenes: how many test images to render."""


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
    """Fetch the data set first, into `reading.root`; when that is None, into datasets/DATASET."""
    reading: ReadOptions = field(default_factory=ReadOptions)
    """What the reader is asked for."""
