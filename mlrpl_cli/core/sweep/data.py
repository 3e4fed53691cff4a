"""The data of a sweep as all of its runs have them: which images are measured, and what the rows are of.

Axes: N images that take part, C classes.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mlrpl_cli.core.config import TrainConfig
from mlrpl_cli.core.evaluation.metrics import measurable, rare
from mlrpl_cli.core.io.errors import ConfigError, DataError, counted
from mlrpl_cli.core.labels.records import TEST, TRAIN, VALIDATION
from mlrpl_cli.core.prepared.folder import NO_FOLD, Prepared, read_prepared
from mlrpl_cli.core.prepared.held_out import HeldOut, copies_apart, held_out, part_of
from mlrpl_cli.core.runs.contents import copies, digests_of, numbered
from mlrpl_cli.core.sweep.folds.assignment import folds_of

Fold = int | None
"""The number of a fold; None for a sweep that is measured on the test split."""


@dataclass(frozen=True)
class SweepData:
    """What takes part in a sweep, and which of its images no figure counts: the copies of those that it learns from."""

    prepared: Prepared
    """Masks are drawn over its training and validation images, as `prepare` draws them. With folds all images train."""
    sha256: str
    """Of the classes, the images' names and content, their splits or folds, and their published labels."""
    kept: np.ndarray
    """(N,) bool: no copy of a training image and, of test images, none of a validation image. With folds, all."""
    folds: np.ndarray | None = None
    """(N,) int16: the fold of each image."""
    contents: np.ndarray | None = None
    """(N,) with folds: a number for what each image holds."""
    notes: tuple[str, ...] = ()
    """Sentences on the images that are left out, and on copies."""

    @property
    def fold_numbers(self) -> tuple[Fold, ...]:
        """Those of the folds, ascending; None alone for the test split."""
        return (None,) if self.folds is None else tuple(np.unique(self.folds).tolist())

    def rows(self, split: str) -> np.ndarray:
        """Row numbers of the images of a split that are kept, ascending."""
        rows = self.prepared.rows(split)
        return rows[self.kept[rows]]

    def sides(self, fold: Fold, tuning: bool = False) -> HeldOut:
        """The images of each side of a run; without folds, those of the splits.

        In `tuning` the fold behind `fold` validates: no label of `fold` has a say in its setting. Raises DataError
        for a fold beside which nothing is left.
        """
        if self.folds is None or self.contents is None:
            return HeldOut(self.prepared.rows(TRAIN), self.rows(VALIDATION), self.rows(TEST))
        numbers = self.fold_numbers
        validating = numbers[(numbers.index(fold) + 1) % len(numbers)] if tuning else None
        return held_out(self.folds, self.contents, int(fold or 0), validating)

    @property
    def learning(self) -> np.ndarray:
        """Rows of the images that any run learns from."""
        return np.flatnonzero(np.array(self.prepared.splits) != TEST)

    @property
    def scored(self) -> np.ndarray:
        """Rows of the images that figures are of."""
        return self.rows(TEST) if self.folds is None else self.learning

    @property
    def measured(self) -> Prepared:
        """The images that figures are of as test images, in their order; without folds, others that are kept, too."""
        others = {} if self.folds is not None else {split: self.rows(split) for split in (TRAIN, VALIDATION)}
        return part_of(self.prepared, {**others, TEST: self.scored})

    def check(self, tune: bool, least_positives: int) -> None:
        """Raise DataError where no class can be measured, or tuned by, and ConfigError for too few folds to tune."""
        name, full = self.prepared.folder, self.prepared.full_labels
        if tune and self.folds is not None and len(self.fold_numbers) < 3:
            raise ConfigError(
                "tuning over folds needs at least 3: one is scored, the next one validates and the others train; "
                "add --no-tune, or use more folds"
            )
        wanted = [(TEST, self.scored, "prepare it with some")]
        for fold in self.fold_numbers:
            validating = self.sides(fold, tuning=tune).validation
            wanted += [(VALIDATION, validating, "add --no-tune, or prepare it with some")] if tune else []
        for split, rows, advice in wanted:
            if not measurable(full[rows]).any():
                lacks = f"no class with both a present and an absent cell among its {split} images"
                alone = "" if split not in self.prepared.splits else " that is no copy of those it learns from"
                lacks = lacks if len(rows) else f"no {split} image{alone}"
                raise DataError(f"{name} has {lacks}, so no method can be measured there; {advice}")
        scored = full[self.scored]
        if not (measurable(scored) & ~rare(scored, least_positives)).any():
            raise DataError(
                f"{name} has no class with {counted(least_positives, 'present cell')} among the images that are "
                "scored; lower --least-positives"
            )


def read_data(folder: Path, config: TrainConfig | None = None, folds: Path | None = None) -> SweepData:
    """The data of a sweep over a prepared folder; the feature cache of `config` remembers what its images hold.

    With `folds`, as `folds_of` has them, the images that are of a fold take part, whatever their split. Raises
    DataError for a folder or folds that are damaged and for an image that cannot be read.
    """
    prepared, config = read_prepared(folder), config or TrainConfig()
    if folds is not None:
        return _with_folds(prepared, folds_of(prepared, folds), config)
    digests = digests_of(prepared, np.arange(len(prepared.images)), config.cache, config.workers)
    kept, known = np.ones(len(digests), bool), set[str]()
    for split in (TRAIN, VALIDATION, TEST):
        rows = prepared.rows(split)
        own = [digests[row] for row in rows]
        kept[rows] = ~copies(own, known)
        known.update(own)
    others = {TEST: "training or validation images", VALIDATION: "training images"}
    notes = (
        f"{lost} of {counted(len(rows), f'{split} image')} are copies of {of}: left out of every figure"
        for split, of in others.items()
        if (lost := int((~kept[rows := prepared.rows(split)]).sum()))
    )
    return SweepData(prepared, _sha256(prepared, prepared.splits, digests), kept, notes=tuple(notes))


def _with_folds(prepared: Prepared, folds: np.ndarray, config: TrainConfig) -> SweepData:
    rows, count = np.flatnonzero(folds != NO_FOLD), len(folds)
    folds = folds[rows]
    part = part_of(prepared, {TRAIN: rows})
    part = replace(part, observed_labels=part.full_labels, folds=folds)
    digests = digests_of(part, np.arange(len(rows)), config.cache, config.workers)
    contents, notes = numbered(digests), list[str]()
    if len(rows) < count:
        notes.append(f"{count - len(rows)} of {counted(count, 'image')} are of no fold: left out of everything")
    if apart := copies_apart(folds, contents):
        notes.append(f"{counted(apart, 'image')} with copies in other folds: no copy of an image trains what scores it")
    sha256 = _sha256(part, folds.tolist(), digests)
    return SweepData(part, sha256, np.ones(len(rows), bool), folds, contents, tuple(notes))


def _sha256(prepared: Prepared, sides: object, digests: list[str]) -> str:
    told = json.dumps([prepared.classes, prepared.images, sides, digests])
    return hashlib.sha256(told.encode() + prepared.full_labels.tobytes()).hexdigest()
