"""Dividing what a source says into training, validation and test images, and saying what that leaves open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from mlrpl_cli.core.io.errors import DataError
from mlrpl_cli.core.io.files import sha256_of_file
from mlrpl_cli.core.io.progress import track
from mlrpl_cli.core.labels.own import GrowingData, OwnData
from mlrpl_cli.core.labels.records import TEST, TRAIN, UNASSIGNED, VALIDATION, Reading, Records
from mlrpl_cli.core.labels.splits import (
    Choice,
    Shares,
    Unit,
    by_hash,
    check_sides,
    divide,
    divide_by_row,
    folds_of,
    units_of,
)
from mlrpl_cli.core.labels.states import PRESENT
from mlrpl_cli.core.prepared.folder import NO_FOLD
from mlrpl_cli.core.prepared.job import Job

CONTENT = "content"


class Before(NamedTuple):
    """What images had in the folder that is updated, by name, and keep."""

    splits: Mapping[str, str] = {}
    folds: Mapping[str, int] = {}


NEW = Before()
"""A folder that is not updated."""


def divided(records: Records, job: Job, reading: Reading, before: Before = NEW) -> tuple[Records, np.ndarray | None]:
    """`records` with a split for every image, and the fold of each (N,) int16, NO_FOLD for those that do not train.

    What images had `before` stays. Without `job.options.folds` there are none. Raises DataError for groups that are on
    two sides, and where no training image is left.
    """
    shares = _shares(job)
    named = VALIDATION in records.splits
    units, choose = _units(records, job, reading), _choice(records, job, reading, before)
    if isinstance(job.source, GrowingData) and not job.is_published:
        splits = _by_unit(records, job.source, shares, reading, before.splits, units, choose)
        left, least = splits.count(TRAIN), 1
        advice = "; divide them otherwise, with another --split-seed or with --stratify, or add some"
    else:
        splits, advice = divide_by_row(records.splits, shares), ""
        left = splits.count(TRAIN) + (0 if named else splits.count(VALIDATION))
        least = 2 if shares.validation and not named else 1
    if left < least:
        raise DataError(f"{job.dataset}: {left} training images, at least {least} are needed{advice}")
    records = replace(records, splits=splits)
    return records, _folds(records, job, units, choose, before.folds) if job.options.folds else None


def _units(records: Records, job: Job, reading: Reading) -> list[Unit]:
    by_content = isinstance(job.source, GrowingData) and job.source.split_by == CONTENT
    return units_of(records.images, reading.groups, _digests(records, reading) if by_content else None)


def _choice(records: Records, job: Job, reading: Reading, before: Before) -> Choice:
    if not (isinstance(job.source, GrowingData) and job.source.stratify) or before.splits:
        return by_hash
    from mlrpl_cli.core.labels.stratify import stratified

    reading.notes.append(
        "images are divided by class (--stratify), which holds for these images alone: with others the same "
        "images may come to other sides, unless mlrpl prepare --update keeps them"
    )
    return stratified(records.full_labels == PRESENT)


def _folds(records: Records, job: Job, units: Sequence[Unit], choose: Choice, before: Mapping[str, int]) -> np.ndarray:
    """(N,) int16. Images of a unit are of one fold; one that had a fold keeps it. Raises DataError for an empty one."""
    count, folds = job.options.folds or 0, np.full(len(records.images), NO_FOLD, np.int16)
    learning = [unit for unit in units if any(records.splits[row] == TRAIN for row in unit.rows)]
    for unit, fold in folds_of(learning, count, job.options.seed, choose).items():
        had = next((before[records.images[row]] for row in unit.rows if records.images[row] in before), fold)
        folds[[row for row in unit.rows if records.splits[row] == TRAIN]] = had
    if empty := sorted(set(range(count)) - set(folds.tolist())):
        raise DataError(
            f"{job.dataset}: {len(empty)} of {count} folds have no image; take fewer --folds, another --seed, "
            "or --stratify"
        )
    return folds


def _shares(job: Job) -> Shares:
    test, seed = (job.source.test_fraction, job.source.split_seed) if isinstance(job.source, OwnData) else (0, 0)
    return Shares(test, seed, job.validation_fraction, job.options.seed)


def _by_unit(
    records: Records,
    source: GrowingData,
    shares: Shares,
    reading: Reading,
    before: Mapping[str, str],
    units: Sequence[Unit],
    choose: Choice,
) -> tuple[str, ...]:
    said, images = records.splits, records.images
    # A name may stand for another image by now; what a content's hash says of it stays the same by itself.
    by_content = source.split_by == CONTENT
    kept = {} if by_content else {row: before[name] for row, name in enumerate(images) if name in before}
    check_sides(said, units, images, reading.problems, kept)
    reading.problems.raise_if_any(
        str(source.root), "correct the groups or splits of the labels, or prepare them from scratch with --replace"
    )
    free = sum(split == UNASSIGNED and row not in kept for row, split in enumerate(said))
    if 0 < free < len(said) and not kept:
        reading.notes.append(f"{free} of {len(said)} images are of no split yet and are divided by {_rule(source)}")
    return divide(said, units, shares, choose, kept)


def _rule(source: GrowingData) -> str:
    return "class" if source.stratify else f"the hash of their {source.split_by or 'name'} (or group)"


def _digests(records: Records, reading: Reading) -> list[str]:
    """SHA-256 of each image's bytes. Raises DataError for one that cannot be read."""
    names = track(reading.progress, records.images, "hashing images", len(records.images))
    try:
        return [sha256_of_file(records.image_root / name) for name in names]
    except OSError as error:
        raise DataError(f"cannot read {error.filename}: {error.strerror}; check the images") from error


def notes_on(records: Records, job: Job) -> list[str]:
    """What cannot be done with what is there, and what changes that: a sentence for each split without an image."""
    notes = list[str]()
    asked = _shares(job)
    if job.options.folds:
        return notes
    if TEST not in records.splits:
        told = "there are no test images: mlrpl eval will have nothing to measure"
        notes.append(told + _advice(job, asked.test, "--split-seed"))
    if VALIDATION not in records.splits:
        told = "there are no validation images: mlrpl train keeps its last epoch, since it cannot choose the best"
        notes.append(told + _advice(job, asked.validation, "--seed"))
    return notes


def _advice(job: Job, share: float, seed: str) -> str:
    """What to type where a share of the images was wanted and, by chance, none came of it."""
    if job.is_published or not share:
        return ""
    return f"; by the hash a share of {share:g} of few images can be none: another {seed}, or --stratify, gives some"
