"""Dividing what a source says into training, validation and test images, and saying what that leaves open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from mlrpl_cli.core.io.errors import DataError, counted
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
from mlrpl_cli.core.prepared.contents import digests_in
from mlrpl_cli.core.prepared.folder import NO_FOLD, Prepared
from mlrpl_cli.core.prepared.job import Job

CONTENT = "content"


class Before(NamedTuple):
    """What images had in the folder that is updated, and keep: by what their split is decided by, name or digest."""

    splits: Mapping[str, str] = {}
    folds: Mapping[str, int] = {}
    by_name: Mapping[str, str] = {}
    """Where digests decide, the splits by name: an image that was edited is nothing that a digest knows."""


NEW = Before()
"""A folder that is not updated."""


def before_of(updated: Prepared | None, job: Job) -> Before:
    """What a folder says that is updated.

    Where digests decide, one of an older mlrpl does not say them: the hash then gives the same sides again.
    """
    if updated is None:
        return NEW
    keys = (digests_in(updated.contents) or ()) if by_content(job) else updated.images
    if not keys:
        return NEW
    folds = [] if updated.folds is None else updated.folds.tolist()
    by_name = dict(zip(updated.images, updated.splits, strict=True)) if by_content(job) else {}
    had = {key: fold for key, fold in zip(keys, folds, strict=False) if fold != NO_FOLD}
    return Before(dict(zip(keys, updated.splits, strict=True)), had, by_name)


def is_growing(job: Job) -> bool:
    """Whether images are divided each by itself."""
    return isinstance(job.source, GrowingData) and not job.is_published


def by_content(job: Job) -> bool:
    """Whether it is their bytes that decide."""
    return isinstance(job.source, GrowingData) and job.source.split_by == CONTENT


def divided(
    records: Records, job: Job, reading: Reading, digests: Sequence[str] | None = None, before: Before = NEW
) -> tuple[Records, np.ndarray | None]:
    """`records` with a split for every image, and the fold of each (N,) int16, NO_FOLD for those that do not train.

    Where `digests` of the images are given, copies of an image stay together. What images had `before` stays. Without
    `job.options.folds` there are no folds. Raises DataError for groups that are on two sides, and where no training
    image is left.
    """
    shares = _shares(job)
    named = VALIDATION in records.splits
    units, choose = units_of(records.images, reading.groups, digests), _choice(records, job, reading, before)
    keys = records.images if digests is None else digests
    if isinstance(job.source, GrowingData) and not job.is_published:
        kept = _kept(records, units, keys, before)
        splits = _by_unit(records, job.source, shares, reading, kept, units, choose)
        left, least = splits.count(TRAIN), 1
        advice = "; divide them otherwise, with another --split-seed or with --stratify, or add some"
    else:
        splits, advice = divide_by_row(records.splits, shares), ""
        left = splits.count(TRAIN) + (0 if named else splits.count(VALIDATION))
        least = 2 if shares.validation and not named else 1
    if left < least:
        raise DataError(f"{job.dataset}: {counted(left, 'training image')}, at least {least} needed{advice}")
    records = replace(records, splits=splits)
    return records, _folds(records, job, units, choose, keys, before.folds) if job.options.folds else None


def _kept(records: Records, units: Sequence[Unit], keys: Sequence[str], before: Before) -> dict[int, str]:
    """The splits of the rows that had one: by their keys, and where no key of a unit is known, by a name in it."""
    kept = {row: before.splits[key] for row, key in enumerate(keys) if key in before.splits}
    for unit in units if before.by_name else ():
        if not any(row in kept or records.splits[row] for row in unit.rows):
            named = [before.by_name[name] for row in unit.rows if (name := records.images[row]) in before.by_name]
            kept |= {unit.rows[0]: named[0]} if named else {}
    return kept


def _choice(records: Records, job: Job, reading: Reading, before: Before) -> Choice:
    if not (isinstance(job.source, GrowingData) and job.source.stratify) or before.splits:
        return by_hash
    from mlrpl_cli.core.labels.stratify import stratified

    reading.notes.append(
        "images are divided by class (--stratify), which holds for these images alone: with others the same "
        "images may come to other sides, unless mlrpl prepare --update keeps them"
    )
    return stratified(records.full_labels == PRESENT)


def _folds(
    records: Records, job: Job, units: Sequence[Unit], choose: Choice, keys: Sequence[str], before: Mapping[str, int]
) -> np.ndarray:
    """(N,) int16. Images of a unit are of one fold; one that had a fold keeps it. Raises DataError for an empty one."""
    count, folds = job.options.folds or 0, np.full(len(records.images), NO_FOLD, np.int16)
    learning = [unit for unit in units if any(records.splits[row] == TRAIN for row in unit.rows)]
    for unit, fold in folds_of(learning, count, job.options.seed, choose).items():
        had = next((before[keys[row]] for row in unit.rows if keys[row] in before), fold)
        folds[[row for row in unit.rows if records.splits[row] == TRAIN]] = had
    if empty := sorted(set(range(count)) - set(folds.tolist())):
        raise DataError(
            f"{job.dataset}: no image is in {len(empty)} of {count} folds; take fewer --folds, another --seed, "
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
    kept: Mapping[int, str],
    units: Sequence[Unit],
    choose: Choice,
) -> tuple[str, ...]:
    said, images = records.splits, records.images
    check_sides(said, units, images, reading.problems, kept)
    reading.problems.raise_if_any(
        str(source.root), "correct the groups or splits of the labels, or prepare them from scratch with --replace"
    )
    free = sum(split == UNASSIGNED and row not in kept for row, split in enumerate(said))
    if 0 < free < len(said) and not kept:
        are = "is" if free == 1 else "are"
        reading.notes.append(f"{free} of {len(said)} images {are} of no split yet and {are} divided by {_rule(source)}")
    return divide(said, units, shares, choose, kept)


def _rule(source: GrowingData) -> str:
    return "class" if source.stratify else f"the hash of their {source.split_by or 'name'} (or group)"


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
