"""What every reader returns: images, classes and labels in the package's own coding."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

TRAIN = "train"
VALIDATION = "validation"
TEST = "test"
SPLITS = (TRAIN, VALIDATION, TEST)


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
