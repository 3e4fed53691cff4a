"""Making a prepared folder, and making it again: nothing that was made from other inputs is replaced unless asked."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np

from mlrpl_cli.core.io.errors import ConfigError, DataError, counted
from mlrpl_cli.core.io.files import atomic_folder
from mlrpl_cli.core.io.progress import Progress, Silent
from mlrpl_cli.core.io.schema import flag
from mlrpl_cli.core.labels import masks, sources
from mlrpl_cli.core.labels.records import PrepareOptions, Reading
from mlrpl_cli.core.prepared.content import content_of
from mlrpl_cli.core.prepared.contents import digests_in
from mlrpl_cli.core.prepared.differences import Changes, changes_between, option_differences
from mlrpl_cli.core.prepared.division import by_content, is_growing, notes_on
from mlrpl_cli.core.prepared.folder import (
    Prepared,
    is_prepared,
    options_of,
    read_prepared,
    read_proposals,
    write_manifest,
)
from mlrpl_cli.core.prepared.job import Job, check, real, recorded, target

FREE_OF_UPDATE = ("out", "check_images", "drop_broken")
"""Options that an update may be given beside those that are recorded."""


@dataclass(frozen=True)
class Made:
    """A prepared folder, and what became of the one that was there."""

    prepared: Prepared
    is_written: bool
    """False where what stood there is up to date."""
    changes: Changes | None = None
    """What is other than in the folder that was updated; None where none was."""


def prepare(options: PrepareOptions, progress: Progress | None = None) -> Prepared:
    """Write the prepared folder that `options` describe and return it.

    A prepared folder that stands at the target stays as it is when it is the same. Raises ConfigError for options that
    cannot be, all at once, and for a folder made from others; DataError for what is wrong with the data, and for a
    folder whose content is other by now. With `options.replace`, either is replaced once the new one is complete.
    """
    return _make(check(options), progress or Silent()).prepared


def update(folder: Path, given: Mapping[str, Any] | None = None, progress: Progress | None = None) -> Made:
    """Prepare again what a folder was prepared from, with its options; images that it has keep their splits.

    New images are divided as `labels.splits` says, by the recorded options, and published sets by their protocol.
    `given` are those of FREE_OF_UPDATE. Raises ConfigError for other options, and what `prepare` raises.
    """
    given = dict(given or {})
    if others := [name for name in (*given, *given.get("reading", ())) if name not in (*FREE_OF_UPDATE, "reading")]:
        raise ConfigError(
            f"--update takes the options that {folder} was prepared with, beside which {', '.join(map(flag, others))} "
            "cannot be given; leave that out, or prepare with all options and another --out"
        )
    before = read_prepared(folder)
    return _make(check(replace(recorded(before), **given)), progress or Silent(), before)


def make(given: Mapping[str, Any], folder: Path | None = None, progress: Progress | None = None) -> Made:
    """`update` of `folder` with the options that were `given`, by their names; without a folder `prepare`."""
    if folder is not None:
        return update(folder, given, progress)
    return _make(check(PrepareOptions(**given)), progress or Silent())


def prepare_once(options: PrepareOptions, progress: Progress | None = None, dry_run: bool = False) -> None:
    """Prepare, unless the folder is there already, made with the same options. With `dry_run` nothing is written.

    What is read is not looked at again. Raises ConfigError, which names what differs, for a folder made with others,
    and what `prepare` raises.
    """
    job = check(options)
    if is_prepared(job.out):
        _refuse_other_options(job, job.out, "name another folder with --out, or remove this one to prepare it again")
    elif not dry_run:
        prepare(options, progress)


class _UpToDateError(Exception):
    """Ends the writing of a folder that would be the one that is there."""


def _make(job: Job, progress: Progress, before: Prepared | None = None) -> Made:
    """The folder of `job`; `before` is the one that is updated."""
    folder = target(job)
    in_place = before is not None and real(folder) == real(before.folder)
    may_replace = in_place or job.options.replace
    if not may_replace:
        _refuse_other_options(job, folder, "--out names another folder, and --replace replaces this one")
    if job.options.download and job.root is not None:
        sources.download(job.dataset, job.root, progress)
    stored = before if in_place else _stored(folder, progress)
    with suppress(_UpToDateError), atomic_folder(folder) as workspace:
        options = job.options
        reading = Reading(workspace, progress, options.classes, options.merge_classes, list(job.notes))
        prepared, proposals = content_of(job, folder, reading, before)
        if stored is not None and _is_same(stored, prepared, proposals, in_place):
            raise _UpToDateError
        if stored is not None and not may_replace:
            raise DataError(_changed(folder, changes_between(stored, prepared)))
        prepared = write_manifest(workspace, prepared, proposals)
        stored = None
    changes = changes_between(before, prepared) if before else None
    for warning in [*notes_on(prepared, job), *_notes_on_names(changes, job)]:
        progress.warn(warning)
    if stored is not None:
        progress.note(f"{folder} is up to date: nothing was written")
    return Made(stored or prepared, stored is None, changes)


def _notes_on_names(changes: Changes | None, job: Job) -> list[str]:
    """What helps where names change that decide the splits."""
    if not changes or not changes.renamed or not is_growing(job) or by_content(job):
        return []
    return [
        f"{counted(changes.renamed, 'image')} added, and as many removed, of the same sizes in bytes: if those were "
        "renamed, some may have changed sides, since names decide; --split-by content, with another --out, keeps "
        "renamed images where they are"
    ]


def _refuse_other_options(job: Job, folder: Path, advice: str) -> None:
    """Raise ConfigError, which names what differs, where a folder was prepared with other options."""
    if is_prepared(folder) and (differing := "; ".join(option_differences(options_of(folder), job.record, folder))):
        raise ConfigError(f"{folder} was prepared with other options: {differing}; {advice}")


def _stored(folder: Path, progress: Progress) -> Prepared | None:
    """What stands at the target; None where there is nothing, or nothing that can be read, which is prepared again."""
    if not is_prepared(folder):
        return None
    try:
        return read_prepared(folder)
    except DataError:
        progress.note(f"{folder} is damaged, or of another version, and is prepared again")
        return None


def _is_same(stored: Prepared, prepared: Prepared, proposals: np.ndarray | None, is_update: bool) -> bool:
    """Whether a folder would hold what is stored: the same options, images, splits, labels, mask and proposals.

    What the images hold is compared where it decides their splits; a folder of an older mlrpl does not say it, and an
    update writes it down.
    """
    if any(option_differences(stored.options, prepared.options, stored.folder)):
        return False
    had, has = (digests_in(one.contents) for one in (stored, prepared))
    if had != has and (had is not None or is_update):
        return False
    told = ((one.sha256, one.mask_sha256) for one in (stored, prepared))
    if len(set(told)) > 1 or (stored.proposals is None) != (proposals is None):
        return False
    return proposals is None or np.array_equal(read_proposals(stored), proposals)


def _changed(folder: Path, changes: Changes) -> str:
    """Why a folder is not replaced, and what to type."""
    what, update = str(changes) if changes else "what machines propose", f"mlrpl prepare --update {quote(str(folder))}"
    return (
        f"{folder} was prepared from other content than there is now: {what}; {update} takes it and keeps the splits, "
        "--replace divides anew, --out keeps both"
    )


def hide_again(prepared: Prepared, keep: float, seed: int) -> Prepared:
    """`prepared` with the mask of another `keep` and `seed` over its published labels; its splits stay.

    The mask is the one that `prepare` draws for that keep and seed. Raises ConfigError for what `mask_problem` finds.
    """
    observed, checksum = masks.observe(prepared.full_labels, prepared.splits, keep, seed)
    options = {**prepared.options, "keep": keep, "seed": seed}
    return replace(prepared, observed_labels=observed, mask_sha256=checksum, options=options)
