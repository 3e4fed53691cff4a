"""Which images learn when a fold is held out. Copies of an image never stand on both sides.

Axes: N images.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from mlrpl_cli.core.io.errors import DataError
from mlrpl_cli.core.labels.records import TEST, TRAIN, VALIDATION
from mlrpl_cli.core.prepared.folder import Prepared


@dataclass(frozen=True)
class HeldOut:
    """Row numbers of the images of each side, ascending; an image may be on none."""

    training: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def held_out(folds: np.ndarray, contents: np.ndarray, fold: int, validating: int | None = None) -> HeldOut:
    """The images of `fold` test, those of the fold `validating` validate, if there is one, and the others train.

    `folds` (N,) is the fold of each image, and `contents` (N,) a number for what its file holds. Copies of test images
    neither train nor validate, and copies of validation images do not train. Raises DataError where no image is left
    that trains, or none that validates.
    """
    test = folds == fold
    free = ~test & ~np.isin(contents, contents[test])
    validation = free & (folds == validating) if validating is not None else np.zeros(len(folds), bool)
    training = free & ~validation & ~np.isin(contents, contents[validation])
    for side, images in (("train", training), *([("validate", validation)] if validating is not None else [])):
        if not images.any():
            raise DataError(f"fold {fold} leaves no image to {side} on but copies; add other images")
    return HeldOut(*map(np.flatnonzero, (training, validation, test)))


def copies_apart(folds: np.ndarray, contents: np.ndarray) -> int:
    """How many contents (N,) lie in several folds (N,)."""
    places = np.unique(np.stack([contents, folds]), axis=1)
    return int((np.unique(places[0], return_counts=True)[1] > 1).sum())


def part_of(prepared: Prepared, rows: Mapping[str, np.ndarray]) -> Prepared:
    """The images of `rows`, which has those of each split, in their order in `prepared`; without folds."""
    split_at = {row: split for split in (TRAIN, VALIDATION, TEST) for row in rows.get(split, np.empty(0, int)).tolist()}
    chosen = sorted(split_at)
    images, splits = tuple(prepared.images[row] for row in chosen), tuple(split_at[row] for row in chosen)
    full, observed = (labels[chosen] for labels in (prepared.full_labels, prepared.observed_labels))
    part = replace(prepared, images=images, splits=splits, full_labels=full, observed_labels=observed)
    return replace(part, folds=None, contents=None)
