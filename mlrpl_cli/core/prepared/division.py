"""Dividing what a source says into training, validation and test images, and saying what that leaves open."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from mlrpl_cli.core.io.errors import DataError
from mlrpl_cli.core.io.files import sha256_of_file
from mlrpl_cli.core.io.progress import track
from mlrpl_cli.core.labels.own import GrowingData, OwnData
from mlrpl_cli.core.labels.records import TEST, TRAIN, UNASSIGNED, VALIDATION, Reading, Records
from mlrpl_cli.core.labels.splits import Shares, check_sides, divide, divide_by_row, units_of
from mlrpl_cli.core.labels.states import PRESENT
from mlrpl_cli.core.prepared.job import Job

CONTENT = "content"


def divided(records: Records, job: Job, reading: Reading, before: Mapping[str, str] | None = None) -> Records:
    """`records` with a split for every image; `before` are those that images had, which stay.

    Raises DataError for groups that are on two sides, and where no training image is left.
    """
    shares = _shares(job)
    named = VALIDATION in records.splits
    if isinstance(job.source, GrowingData) and not job.is_published:
        splits = _by_unit(records, job.source, shares, reading, before or {})
        left, least = splits.count(TRAIN), 1
        advice = "; divide them otherwise, with another --split-seed or with --stratify, or add some"
    else:
        splits, advice = divide_by_row(records.splits, shares), ""
        left = splits.count(TRAIN) + (0 if named else splits.count(VALIDATION))
        least = 2 if shares.validation and not named else 1
    if left < least:
        raise DataError(f"{job.dataset}: {left} training images, at least {least} are needed{advice}")
    return replace(records, splits=splits)


def _shares(job: Job) -> Shares:
    test, seed = (job.source.test_fraction, job.source.split_seed) if isinstance(job.source, OwnData) else (0, 0)
    return Shares(test, seed, job.options.validation_fraction, job.options.seed)


def _by_unit(
    records: Records, source: GrowingData, shares: Shares, reading: Reading, before: Mapping[str, str]
) -> tuple[str, ...]:
    said, images = records.splits, records.images
    by_content = source.split_by == CONTENT
    digests = _digests(records, reading) if by_content else None
    # A name may stand for another image by now; what a content's hash says of it stays the same by itself.
    kept = {} if by_content else {row: before[name] for row, name in enumerate(images) if name in before}
    units = units_of(images, reading.groups, digests)
    check_sides(said, units, images, reading.problems, kept)
    reading.problems.raise_if_any(
        str(source.root), "correct the groups or splits of the labels, or prepare them from scratch with --replace"
    )
    free = sum(split == UNASSIGNED and row not in kept for row, split in enumerate(said))
    if 0 < free < len(said) and not kept:
        reading.notes.append(f"{free} of {len(said)} images are of no split yet and are divided by {_rule(source)}")
    choose = {}
    if source.stratify and not kept:
        from mlrpl_cli.core.labels.stratify import stratified

        choose = {"choose": stratified(records.full_labels == PRESENT)}
        reading.notes.append(
            "images are divided by class (--stratify), which holds for these images alone: with others the same "
            "images may come to other sides, unless mlrpl prepare --update keeps them"
        )
    return divide(said, units, shares, kept=kept, **choose)


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
    notes = []
    asked = _shares(job)
    if TEST not in records.splits:
        notes.append(
            "there are no test images: mlrpl eval will have nothing to measure"
            + _advice(job, asked.test, "--split-seed")
        )
    if VALIDATION not in records.splits:
        told = "there are no validation images: mlrpl train keeps its last epoch, since it cannot choose the best"
        notes.append(told + _advice(job, asked.validation, "--seed"))
    return notes


def _advice(job: Job, share: float, seed: str) -> str:
    """What to type where a share of the images was wanted and, by chance, none came of it."""
    if job.is_published or not share:
        return ""
    return f"; by the hash a share of {share:g} of few images can be none: another {seed}, or --stratify, gives some"
