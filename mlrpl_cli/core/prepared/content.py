"""What a prepared folder holds: what a format reads, its classes chosen, broken images out, divided, labels hidden."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mlrpl_cli.core.config import raise_together
from mlrpl_cli.core.images.check import TAKEN, TRUNCATED, check_files
from mlrpl_cli.core.io.errors import ConfigError, DataError, agreeing, did_you_mean, first_few
from mlrpl_cli.core.io.reading import short
from mlrpl_cli.core.labels import masks
from mlrpl_cli.core.labels.classes import same_prompts, says_nothing
from mlrpl_cli.core.labels.proposals import kept
from mlrpl_cli.core.labels.records import CHECKED, Reading, Records
from mlrpl_cli.core.prepared.contents import contents_of, digests_in
from mlrpl_cli.core.prepared.division import before_of, by_content, divided, is_growing
from mlrpl_cli.core.prepared.folder import Prepared
from mlrpl_cli.core.prepared.job import Job

SHOWN_PAIRS = 5


def content_of(
    job: Job, folder: Path, reading: Reading, updated: Prepared | None = None
) -> tuple[Prepared, np.ndarray | None]:
    """What `job` makes for `folder`, and the proposals of machines, where any were asked for; not written yet.

    What images had in the folder that is `updated` they keep. Raises DataError and ConfigError as `build.prepare` does.
    """
    published = job.source.read(reading)
    chosen = _check_images(_choose_classes(published, reading), job, reading)
    contents = contents_of(chosen, by_content(job), reading.progress) if is_growing(job) else None
    records, folds = divided(chosen, job, reading, digests_in(contents), before_of(updated, job))
    proposals = None if reading.proposals is None else kept(reading.proposals, published, records)
    return replace(_hide(records, job, folder, reading), folds=folds, contents=contents), proposals


def _hide(records: Records, job: Job, folder: Path, reading: Reading) -> Prepared:
    """Draw the mask over the labels of the training and validation images."""
    observed, digest = masks.observe(records.full_labels, records.splits, job.keep, job.options.seed)
    root = folder if records.image_root == reading.workspace else records.image_root.absolute()
    given = {**vars(records), "image_root": root}
    told: dict[str, Any] = {
        "unlisted": reading.unlisted,
        "notes": reading.notes,
        "dataset": job.dataset,
        "options": job.record,
    }
    return Prepared(**given, **told, folder=folder, observed_labels=observed, mask_sha256=digest)


def _check_images(records: Records, job: Job, reading: Reading) -> Records:
    """`records` without broken images. Raises DataError that names them when they are not to be dropped.

    Images that the format has just written itself are whole.
    """
    options, count = job.options, len(records.images)
    wanted = options.check_images or (options.check_images is None and (options.drop_broken or count <= CHECKED))
    if records.image_root == reading.workspace:
        return records
    if not wanted:
        told = "" if options.check_images is False else f", since they are more than {CHECKED:,}"
        reading.progress.warn(f"{count:,} images are not checked{told}; --check-images finds the broken ones now")
        return records
    checked = check_files(records.image_root, records.images, options.allow_truncated, reading.progress)
    if checked.taken:
        reading.notes.append(f"{agreeing(len(checked.taken), TAKEN)} ({first_few(checked.taken)})")
    if not checked.broken:
        return records
    if not options.drop_broken:
        cut = TRUNCATED in checked.problems and not options.allow_truncated
        also = "; --allow-truncated takes JPEGs that lack only their last bytes" if cut else ""
        advice = f"mend them, or leave them out with --drop-broken{also}"
        checked.problems.raise_if_any(f"images below {records.image_root}", advice)
    reading.notes.append(f"{agreeing(len(checked.broken), 'broken images are left out')}: {checked.problems.summary()}")
    whole = [row for row, image in enumerate(records.images) if image not in checked.broken]
    images, splits = ([values[row] for row in whole] for values in (records.images, records.splits))
    return replace(records, images=tuple(images), splits=tuple(splits), full_labels=records.full_labels[whole])


def _choose_classes(records: Records, reading: Reading) -> Records:
    """`records` of the wanted classes, whose names CLIP can tell apart."""
    known = reading.seen | set(records.classes)
    unknown = [name for name in (*(reading.classes or ()), *reading.merged) if name not in known]
    raise_together([f"no class is called '{name}'; {did_you_mean(name, sorted(known))}" for name in unknown])
    if reading.classes is not None:
        columns = [column for column, name in enumerate(records.classes) if name in reading.classes]
        if not columns:
            raise ConfigError("--classes names no class; give some, separated by commas")
        chosen = tuple(records.classes[column] for column in columns)
        records = replace(records, classes=chosen, full_labels=records.full_labels[:, columns])
    if alike := same_prompts(records.classes):
        told = "; ".join(f"'{first}' and '{second}'" for first, second in alike[:SHOWN_PAIRS])
        first, second = alike[0]
        raise DataError(
            f"classes have names that are one to CLIP: {told}; --merge-classes '{second}={first}' makes one class of "
            "two, and --classes leaves one out"
        )
    if bare := [name for name in records.classes if says_nothing(name)]:
        reading.notes.append(
            f"names that say nothing to CLIP, of {len(bare)} classes: {first_few(map(short, bare))}; "
            f"--merge-classes '{short(bare[0])}=a name' gives one, and --classes leaves it out"
        )
    return records
