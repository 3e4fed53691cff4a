"""The data of a sweep as all of its runs have them: which images are measured, and what the rows are of.

Axes: N images of the prepared folder.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mlrpl_cli.core.config import TrainConfig
from mlrpl_cli.core.io.errors import counted
from mlrpl_cli.core.labels.records import TEST, TRAIN, VALIDATION
from mlrpl_cli.core.prepared.folder import Prepared, read_prepared
from mlrpl_cli.core.runs.contents import copies, digests_of


@dataclass(frozen=True)
class SweepData:
    """A prepared folder, and which of its images no figure counts: the copies of those that it learns from."""

    prepared: Prepared
    """All that lies in the folder: masks are drawn over it, as `prepare` draws them."""
    sha256: str
    """Of the classes, the images' names and content, their splits and their published labels."""
    kept: np.ndarray
    """(N,) bool: no copy of a training image and, of test images, none of a validation image."""

    def rows(self, split: str) -> np.ndarray:
        """Row numbers of the images of a split that are kept, ascending."""
        rows = self.prepared.rows(split)
        return rows[self.kept[rows]]

    @property
    def measured(self) -> Prepared:
        """The prepared folder without its copies: what figures are of."""
        rows, told = np.flatnonzero(self.kept), self.prepared
        images, splits = (tuple(names[row] for row in rows) for names in (told.images, told.splits))
        full, observed = told.full_labels[rows], told.observed_labels[rows]
        kept = replace(told, images=images, splits=splits, full_labels=full, observed_labels=observed)
        return replace(kept, folds=None, contents=None)

    @property
    def notes(self) -> list[str]:
        """A sentence for each split with copies, which counts them."""
        of = {TEST: "training or validation images", VALIDATION: "training images"}
        return [
            f"{lost} of {counted(len(rows), f'{split} image')} are copies of {others}: left out of every figure"
            for split, others in of.items()
            if (lost := int((~self.kept[rows := self.prepared.rows(split)]).sum()))
        ]


def read_data(folder: Path, config: TrainConfig | None = None) -> SweepData:
    """The data of a sweep over a prepared folder; the feature cache of `config` remembers what its images hold.

    Raises DataError for a folder that is damaged and for an image that cannot be read.
    """
    prepared = read_prepared(folder)
    config = config or TrainConfig()
    digests = digests_of(prepared, np.arange(len(prepared.images)), config.cache, config.workers)
    told = json.dumps([prepared.classes, prepared.images, prepared.splits, digests])
    sha256 = hashlib.sha256(told.encode() + prepared.full_labels.tobytes()).hexdigest()
    kept, known = np.ones(len(digests), bool), set[str]()
    for split in (TRAIN, VALIDATION, TEST):
        rows = prepared.rows(split)
        own = [digests[row] for row in rows]
        kept[rows] = ~copies(own, known)
        known.update(own)
    return SweepData(prepared, sha256, kept)
