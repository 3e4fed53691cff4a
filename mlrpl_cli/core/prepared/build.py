"""From a data set and options to a prepared folder: read, hide labels, set validation images aside, write."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mlrpl_cli.core.config import raise_together
from mlrpl_cli.core.images.check import TAKEN, TRUNCATED, check_files
from mlrpl_cli.core.io.errors import ConfigError, DataError, did_you_mean, first_few
from mlrpl_cli.core.io.files import atomic_folder
from mlrpl_cli.core.io.progress import Progress, Silent
from mlrpl_cli.core.io.reading import LONGEST_PATH, path_from, relative_path, short, shown
from mlrpl_cli.core.labels import masks, sources
from mlrpl_cli.core.labels.classes import same_prompts, says_nothing
from mlrpl_cli.core.labels.formats import registry
from mlrpl_cli.core.labels.proposals import kept
from mlrpl_cli.core.labels.records import (
    CHECKED,
    SCENES,
    SPLITS,
    TEST,
    TRAIN,
    VALIDATION,
    Format,
    PrepareOptions,
    Reading,
    Records,
)
from mlrpl_cli.core.labels.states import PRESENT, STATES
from mlrpl_cli.core.prepared import folder as manifest
from mlrpl_cli.core.prepared.folder import Prepared, is_prepared, options_of, write_manifest

SHOWN_PAIRS = 5
NOT_RECORDED = frozenset({"out", "download", "check_images"})
"""Options that do not decide the content."""
OUR_ENTRIES = frozenset(
    {manifest.MANIFEST, manifest.IMAGES, manifest.FULL, manifest.OBSERVED, manifest.PROPOSALS, "images"}
)


def prepare(options: PrepareOptions, progress: Progress | None = None) -> Prepared:
    """Write the prepared folder that `options` describe and return it.

    A prepared folder that stands at the target is replaced once the new one is complete.
    Raises ConfigError for options that cannot be, all at once, and DataError for what is wrong with the data.
    """
    progress = progress or Silent()
    job = _check(options)
    folder = _target(job)
    if options.download and job.root is not None:
        sources.download(job.dataset, job.root, progress)
    with atomic_folder(folder) as workspace:
        reading = Reading(workspace, progress, options.classes, options.merge_classes, list(job.notes))
        published = job.source.read(reading)
        records = _check_images(_choose_classes(published, reading), job, reading)
        proposals = None if reading.proposals is None else kept(reading.proposals, published, records)
        prepared = _hide(records, job, folder, reading)
        prepared = write_manifest(workspace, prepared, proposals)
        if is_prepared(folder) and any(_differences(options_of(folder), prepared.options, folder)):
            progress.note(f"{folder} was prepared with other options and is replaced; --out keeps both")
    if not prepared.rows(TEST).size:
        progress.note("there are no test images: mlrpl eval will have nothing to measure")
    return prepared


def prepare_once(options: PrepareOptions, progress: Progress | None = None, dry_run: bool = False) -> None:
    """Prepare, unless the folder is there already, made with the same options. With `dry_run` nothing is written.

    Raises ConfigError, which names what differs, for a folder made with others, and what `prepare` raises.
    """
    job = _check(options)
    if not is_prepared(job.out):
        if not dry_run:
            prepare(options, progress)
    elif differing := "; ".join(_differences(options_of(job.out), job.record, job.out)):
        advice = "name another folder with --out, or remove this one to prepare it again"
        raise ConfigError(f"{job.out} was prepared with other options: {differing}; {advice}")


def hide_again(prepared: Prepared, keep: float, seed: int) -> Prepared:
    """`prepared` with the mask of another `keep` and `seed` over its published labels; its splits stay.

    The mask is the one that `prepare` draws for that keep and seed. Raises ConfigError for what `mask_problem` finds.
    """
    observed, checksum = masks.observe(prepared.full_labels, prepared.splits, keep, seed)
    options = {**prepared.options, "keep": keep, "seed": seed}
    return replace(prepared, observed_labels=observed, mask_sha256=checksum, options=options)


def states_of_splits(prepared: Prepared) -> dict[str, dict[str, int]]:
    """How many cells are present, absent and unknown to training in each split that has images, by those names."""
    observed = {split: prepared.observed_labels[prepared.rows(split)] for split in SPLITS if split in prepared.splits}
    return {
        split: {name: int((labels == state).sum()) for name, state in STATES.items()}
        for split, labels in observed.items()
    }


def rarest_classes(prepared: Prepared, most: int = 5) -> dict[str, int]:
    """The classes with the fewest known positives among the training images, and how many those are, in order."""
    positives = (prepared.observed_labels[prepared.rows(TRAIN)] == PRESENT).sum(axis=0)
    return {prepared.classes[column]: int(positives[column]) for column in np.argsort(positives, kind="stable")[:most]}


class _Job(NamedTuple):
    """Options that can be, their defaults filled in."""

    options: PrepareOptions
    dataset: str
    source: Format
    keep: float
    out: Path
    notes: tuple[str, ...]
    """What was found out rather than asked."""

    @property
    def root(self) -> Path | None:
        """Where the format reads; None for one that reads no files."""
        return getattr(self.source, "root", None)

    @property
    def record(self) -> dict[str, Any]:
        """The options that decide the content, as JSON holds them, paths as seen from the prepared folder."""
        given = {name: value for name, value in vars(self.options).items() if name not in NOT_RECORDED}
        record = {**given, "dataset": self.dataset, "keep": self.keep, "reading": self.source.model_dump()}
        return json.loads(json.dumps(record, default=partial(relative_path, start=self.out)))


def _check(options: PrepareOptions) -> _Job:
    """Raises ConfigError for everything that cannot be, at once."""
    problems, source = [], Format()  # which stands in while there is none of the data set
    given, notes, dataset = dict(options.reading), list[str](), options.dataset or SCENES
    try:
        if options.dataset is None and "root" in given:
            dataset, why = registry.recognise(Path(given["root"]))
            notes.append(f"read as {dataset}: {why}")
        if options.download:
            sources.archives_of(dataset)
            given.setdefault("root", registry.DATASETS_FOLDER / dataset)
        elif "root" not in given and (found := registry.find_root(dataset)):
            given["root"] = found
            notes.append(f"{dataset} is read from {found}")
        source = registry.make_format(dataset, given)
    except ConfigError as error:
        problems.append(str(error))
    keep = source.usual_keep() if options.keep is None else options.keep
    if problem := masks.mask_problem(keep, options.seed):
        problems.append(problem)
    if options.drop_broken and options.check_images is False:
        problems.append("--drop-broken needs the images to be checked; leave --no-check-images out")
    if not 0 < (fraction := options.validation_fraction) < 1:
        problems.append(f"the validation fraction must be between 0 and 1, both excluded, not {fraction:g}")
    raise_together(problems)
    name = f"{dataset}-keep{100 * keep:.6g}-seed{options.seed}"
    return _Job(options, dataset, source, keep, options.out or manifest.PREPARED / name, tuple(notes))


def _differences(old: object, new: Mapping[str, Any], folder: Path) -> Iterator[str]:
    """A phrase for each option of `new` that `old`, of the manifest at `folder`, says otherwise."""
    found = old if isinstance(old, dict) else {}
    for name, value in new.items():
        before = found.get(name, False if isinstance(value, bool) else None)  # it may be too old for an option
        if isinstance(value, dict):
            yield from _differences(before, value, folder)
        elif before != value and not _is_same_path(before, value, folder):
            yield f"{name} was {_told(before, folder)}, not {_told(value, folder)}"


def _is_same_path(old: object, new: object, folder: Path) -> bool:
    """Whether both are paths to one place: manifests of mlrpl 0.1.0 hold absolute ones."""
    if not isinstance(old, str) or not isinstance(new, str) or not os.path.isabs(old):
        return False
    return _real(Path(old)) == _real(path_from(folder, new))


def _told(value: object, folder: Path) -> str:
    if not isinstance(value, str) or len(value) > LONGEST_PATH:
        return shown(value)
    return str(path_from(folder, value)) if value.startswith("../") else value


def _target(job: _Job) -> Path:
    """Where to write. Raises DataError rather than replace anything that `prepare` did not make."""
    # The folder a link points to is replaced, not the link.
    folder = _real(job.out) if os.path.islink(job.out) else job.out
    if job.root is not None and _real(job.root).is_relative_to(_real(folder)):
        raise DataError(f"{folder} holds the data set {job.root} itself; name another folder with --out")
    if not os.path.isdir(folder):
        if os.path.lexists(folder):
            raise DataError(f"{folder} is a file; name a folder with --out")
        return folder
    try:
        entries = {path.name for path in folder.iterdir()}
    except OSError as error:
        raise DataError(f"cannot list {folder}: {error.strerror}; name another folder with --out") from error
    if entries and not is_prepared(folder):
        raise DataError(f"{folder} is not empty and not a prepared folder; name another one with --out")
    if foreign := sorted(entries - OUR_ENTRIES):
        advice = "move that away, or name another folder with --out"
        raise DataError(f"{folder} holds more than mlrpl prepare wrote ({first_few(foreign)}); {advice}")
    return folder


def _real(path: Path) -> Path:
    """`path` with its links followed: os.path, unlike Path, has an answer for links in a circle and too long names."""
    try:
        return Path(os.path.realpath(path))
    except ValueError as error:
        raise DataError(f"{shown(str(path))} cannot be the name of a file; check the path") from error


def _hide(records: Records, job: _Job, folder: Path, reading: Reading) -> Prepared:
    """Draw the mask and set validation images aside."""
    observed, digest = masks.observe(records.full_labels, records.splits, job.keep, job.options.seed)
    root = folder if records.image_root == reading.workspace else records.image_root.absolute()
    kept = {**vars(records), "image_root": root, "splits": _set_validation_aside(records.splits, job)}
    told: dict[str, Any] = {
        "unlisted": reading.unlisted,
        "notes": reading.notes,
        "dataset": job.dataset,
        "options": job.record,
    }
    return Prepared(**kept, **told, folder=folder, observed_labels=observed, mask_sha256=digest)


def _check_images(records: Records, job: _Job, reading: Reading) -> Records:
    """`records` without broken images. Raises DataError that names them when they are not to be dropped.

    Images that the format has just written itself are whole.
    """
    options, count = job.options, len(records.images)
    wanted = options.check_images or (options.check_images is None and (options.drop_broken or count <= CHECKED))
    if records.image_root == reading.workspace:
        return records
    if not wanted:
        told = "" if options.check_images is False else f", since they are more than {CHECKED:,}"
        reading.progress.note(f"{count:,} images are not checked{told}; --check-images finds the broken ones now")
        return records
    checked = check_files(records.image_root, records.images, options.allow_truncated, reading.progress)
    if checked.taken:
        reading.notes.append(f"{len(checked.taken)} {TAKEN} ({first_few(checked.taken)})")
    if not checked.broken:
        return records
    if not options.drop_broken:
        cut = TRUNCATED in checked.problems and not options.allow_truncated
        also = "; --allow-truncated takes JPEGs that lack only their last bytes" if cut else ""
        advice = f"mend them, or leave them out with --drop-broken{also}"
        checked.problems.raise_if_any(f"images below {records.image_root}", advice)
    reading.notes.append(f"{len(checked.broken)} broken images are left out: {checked.problems.summary()}")
    kept = [row for row, image in enumerate(records.images) if image not in checked.broken]
    images, splits = ([values[row] for row in kept] for values in (records.images, records.splits))
    return replace(records, images=tuple(images), splits=tuple(splits), full_labels=records.full_labels[kept])


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


def _set_validation_aside(splits: Sequence[str], job: _Job) -> tuple[str, ...]:
    """Move a seeded choice of the training images, at least one, to validation; its own validation split stays."""
    training = [row for row, split in enumerate(splits) if split == TRAIN]
    needed = 1 if VALIDATION in splits else 2
    if len(training) < needed:
        raise DataError(f"{job.dataset}: {len(training)} training images, at least {needed} are needed")
    if VALIDATION in splits:
        return tuple(splits)
    # A stream apart from the mask's, so that which image is set aside says nothing about which cells are known.
    drawn = masks.drawn_rows(len(training), job.options.validation_fraction, [job.options.seed, 1])
    aside = {training[position] for position in drawn}
    return tuple(VALIDATION if row in aside else split for row, split in enumerate(splits))
