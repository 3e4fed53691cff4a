"""From a data set and options to a prepared folder: read, hide labels, set validation images aside, write."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mlrpl_cli.core.config import raise_together
from mlrpl_cli.core.io.errors import ConfigError, DataError, did_you_mean, first_few
from mlrpl_cli.core.io.files import atomic_folder
from mlrpl_cli.core.io.progress import Progress, Silent
from mlrpl_cli.core.io.reading import shown
from mlrpl_cli.core.labels.formats.registry import DATASETS, TABLE
from mlrpl_cli.core.labels.masks import known_mask, mask_problem, mask_sha256, observe
from mlrpl_cli.core.labels.records import SPLITS, TEST, TRAIN, VALIDATION, PrepareOptions, Records
from mlrpl_cli.core.labels.sources import download
from mlrpl_cli.core.labels.states import PRESENT, StateCounts, count_states
from mlrpl_cli.core.prepared import folder as manifest
from mlrpl_cli.core.prepared.folder import Prepared, is_prepared, options_of, write_manifest

PARENT, DOWNLOADS = Path("prepared"), Path("datasets")
KEEP, KEEP_OF_TABLE = 0.3, 1.0
RAREST = 5
OUR_ENTRIES = frozenset({manifest.MANIFEST, manifest.IMAGES, manifest.FULL, manifest.OBSERVED, "images"})


@dataclass(frozen=True)
class SplitSummary:
    """One split, with the states of its observed labels."""

    split: str
    images: int
    states: StateCounts


@dataclass(frozen=True)
class PreparedSummary:
    """What is worth showing of a prepared folder."""

    splits: tuple[SplitSummary, ...]
    """The splits that have images: train, validation, test."""
    rarest: tuple[tuple[str, int], ...]
    """The classes with the fewest known positives among the training images, and how many those are."""
    mask_sha256: str
    """Checksum of the known mask."""


def prepare(options: PrepareOptions, progress: Progress | None = None) -> Prepared:
    """Write the prepared folder that `options` describe and return it.

    A prepared folder that stands at the target is replaced once the new one is complete.
    Raises ConfigError for options that cannot be, all at once, and DataError for what is wrong with the data.
    """
    progress = progress or Silent()
    options = replace(options, keep=_keep(options))
    raise_together(list(_problems(options)))
    folder = _target(options)
    if options.download:
        options = _download(options, progress)
    with atomic_folder(folder) as workspace:
        records = DATASETS[options.dataset](options.reading, workspace, progress)
        prepared = _hide(records, options, folder, workspace)
        write_manifest(workspace, prepared)
        if is_prepared(folder) and options_of(folder) != prepared.options:
            progress.note(f"{folder} was prepared with other options and is replaced; --out keeps both")
    if not prepared.rows(TEST).size:
        progress.note("there are no test images: mlrpl eval will have nothing to measure")
    return prepared


def hide_again(prepared: Prepared, keep: float, seed: int) -> Prepared:
    """`prepared` with the mask of another `keep` and `seed` over its published labels; its splits stay.

    The mask is the one that `prepare` draws for that keep and seed. Raises ConfigError for what `mask_problem` finds.
    """
    observed, checksum = _observe(prepared.full_labels, prepared.splits, keep, seed)
    options = {**prepared.options, "keep": keep, "seed": seed}
    return replace(prepared, observed_labels=observed, mask_sha256=checksum, options=options)


def summarize(prepared: Prepared) -> PreparedSummary:
    """Counts per split, the rarest classes and the checksum of a prepared folder."""
    rows = {split: prepared.rows(split) for split in SPLITS}
    splits = tuple(
        SplitSummary(split, len(rows[split]), count_states(prepared.observed_labels[rows[split]]))
        for split in SPLITS
        if len(rows[split])
    )
    positives = (prepared.observed_labels[rows[TRAIN]] == PRESENT).sum(axis=0)
    rarest = np.argsort(positives, kind="stable")[:RAREST]
    return PreparedSummary(
        splits=splits,
        rarest=tuple((prepared.classes[column], int(positives[column])) for column in rarest),
        mask_sha256=prepared.mask_sha256,
    )


def _keep(options: PrepareOptions) -> float:
    if options.keep is not None:
        return options.keep
    return KEEP_OF_TABLE if options.dataset == TABLE else KEEP


def _problems(options: PrepareOptions) -> Iterator[str]:
    if options.dataset not in DATASETS:
        yield f"no data set is called '{options.dataset}'; {did_you_mean(options.dataset, DATASETS)}"
    if problem := mask_problem(_keep(options), options.seed):
        yield problem
    for name, value in (
        ("validation fraction", options.validation_fraction),
        ("test fraction", options.reading.test_fraction),
    ):
        if not 0 < value < 1:
            yield f"the {name} must be between 0 and 1, both excluded, not {value:g}"


def _target(options: PrepareOptions) -> Path:
    """Where to write. Raises DataError rather than replace anything that `prepare` did not make."""
    folder = options.out or PARENT / f"{options.dataset}-keep{100 * _keep(options):.6g}-seed{options.seed}"
    # The folder a link points to is replaced, not the link.
    folder = _real(folder) if os.path.islink(folder) else folder
    root = options.reading.root
    if root is not None and _real(root).is_relative_to(_real(folder)):
        raise DataError(f"{folder} holds the data set {root} itself; name another folder with --out")
    if os.path.isdir(folder):
        _check_replaceable(folder)
    elif os.path.lexists(folder):
        raise DataError(f"{folder} is a file; name a folder with --out")
    return folder


def _real(path: Path) -> Path:
    """`path` with its links followed: os.path, unlike Path, has an answer for links in a circle and too long names."""
    try:
        return Path(os.path.realpath(path))
    except ValueError as error:
        raise DataError(f"{shown(str(path))} cannot be the name of a file; check the path") from error


def _check_replaceable(folder: Path) -> None:
    try:
        entries = {path.name for path in folder.iterdir()}
    except OSError as error:
        raise DataError(f"cannot list {folder}: {error.strerror}; name another folder with --out") from error
    if entries and not is_prepared(folder):
        raise DataError(f"{folder} is not empty and not a prepared folder; name another one with --out")
    if foreign := sorted(entries - OUR_ENTRIES):
        raise DataError(
            f"{folder} holds more than mlrpl prepare wrote ({first_few(foreign)}); "
            "move that away, or name another folder with --out"
        )


def _download(options: PrepareOptions, progress: Progress) -> PrepareOptions:
    root = download(options.dataset, options.reading.root or DOWNLOADS / options.dataset, progress)
    return replace(options, reading=replace(options.reading, root=root))


def _hide(records: Records, options: PrepareOptions, folder: Path, workspace: Path) -> Prepared:
    """Choose classes, draw the mask, and set validation images aside."""
    if options.classes is not None:
        records = _choose_classes(records, options.classes)
    observed, checksum = _observe(records.labels, records.splits, _keep(options), options.seed)
    return Prepared(
        folder=folder,
        dataset=options.dataset,
        classes=records.classes,
        image_root=folder if records.image_root == workspace else records.image_root.absolute(),
        images=records.images,
        splits=_set_validation_aside(records.splits, options),
        full_labels=records.labels,
        observed_labels=observed,
        options=_as_json(options),
        mask_sha256=checksum,
    )


def _observe(labels: np.ndarray, splits: Sequence[str], keep: float, seed: int) -> tuple[np.ndarray, str]:
    """The labels after the mask, test rows whole, and the mask's checksum."""
    learning = np.array(splits) != TEST
    mask = known_mask(int(learning.sum()), labels.shape[1], keep, seed)
    observed = labels.copy()
    observed[learning] = observe(labels[learning], mask)
    return observed, mask_sha256(mask)


def _choose_classes(records: Records, wanted: Sequence[str]) -> Records:
    unknown = [name for name in wanted if name not in records.classes]
    raise_together([f"no class is called '{name}'; {did_you_mean(name, records.classes)}" for name in unknown])
    columns = [column for column, name in enumerate(records.classes) if name in wanted]
    if not columns:
        raise ConfigError("--classes names no class; give some, separated by commas")
    chosen = tuple(records.classes[column] for column in columns)
    return replace(records, classes=chosen, labels=records.labels[:, columns])


def _set_validation_aside(splits: Sequence[str], options: PrepareOptions) -> tuple[str, ...]:
    """Move a seeded choice of the training images, at least one, to validation; its own validation split stays."""
    training = [row for row, split in enumerate(splits) if split == TRAIN]
    needed = 1 if VALIDATION in splits else 2
    if len(training) < needed:
        raise DataError(f"{options.dataset}: {len(training)} training images, at least {needed} are needed")
    if VALIDATION in splits:
        return tuple(splits)
    count = min(max(1, round(options.validation_fraction * len(training))), len(training) - 1)
    # A stream apart from the mask's, so that which image is set aside says nothing about which cells are known.
    order = np.random.RandomState([options.seed, 1]).permutation(len(training))
    aside = {training[position] for position in order[:count]}
    return tuple(VALIDATION if row in aside else split for row, split in enumerate(splits))


def _as_json(options: PrepareOptions) -> dict[str, Any]:
    """The options that decide the content; where it is written and how the data got here do not."""
    values = asdict(options)
    del values["out"], values["download"]
    return json.loads(json.dumps(values, default=lambda path: str(path.absolute())))
