"""The prepared folder: what `prepare` writes and everything after it only reads.

    manifest.json          classes, options, where the images are, counts, checksums
    images.csv             split and image, one row each, in the order of the label rows
    labels_full.npy        (N, C) int8, the labels as published
    labels_observed.npy    (N, C) int8, the labels that training may see; test rows are whole

No file holds a time, so the same options give the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from annotated_types import Predicate
from pydantic import BaseModel, ConfigDict, WithJsonSchema

from mlrpl_cli.core.images.find import check_images
from mlrpl_cli.core.io.errors import ConfigError, DataError, Problems, did_you_mean
from mlrpl_cli.core.io.files import TEMPORARY_PREFIX, sha256_of_file, write_text
from mlrpl_cli.core.io.reading import MIB, is_file_name, is_name, open_file, read_json, shown
from mlrpl_cli.core.io.schema import validated
from mlrpl_cli.core.labels.records import SPLITS, TEST
from mlrpl_cli.core.labels.states import ABSENT, PRESENT, UNKNOWN
from mlrpl_cli.core.prepared.files import (
    AGAIN,
    MOST_OF_IMAGES,
    MOST_OF_LABELS,
    damaged,
    read_images,
    read_labels,
    write_images,
)

KIND, VERSION = "mlrpl-prepared", 1
MANIFEST, IMAGES = "manifest.json", "images.csv"
FULL, OBSERVED = "labels_full.npy", "labels_observed.npy"
MOST_OF_A_MANIFEST = 64 * MIB
"""Bytes: it lists the classes only."""


@dataclass(frozen=True)
class Prepared:
    """A data set whose labels have been hidden, ready for training.

    N images, training, validation and test together; C classes.
    """

    folder: Path
    """The prepared folder."""
    dataset: str
    """Key of the registry of data sets."""
    classes: tuple[str, ...]
    """C class names, in the order of the label columns."""
    image_root: Path
    """The folder that `images` are relative to."""
    images: tuple[str, ...]
    """N paths with forward slashes, relative to `image_root`."""
    splits: tuple[str, ...]
    """N split names: "train", "validation" or "test"."""
    full_labels: np.ndarray = field(repr=False)
    """(N, C) int8 of LabelState values, as published."""
    observed_labels: np.ndarray = field(repr=False)
    """(N, C) int8: what is known after the mask; test rows are those of `full_labels`."""
    options: dict[str, Any]
    """The options that made it, as JSON holds them."""
    mask_sha256: str
    """Checksum of the known mask over the training and validation rows."""

    @property
    def sha256(self) -> str:
        """Checksum of what training and evaluation read: classes, images, splits, published and observed labels."""
        told = json.dumps([self.classes, self.images, self.splits]).encode()
        labels = (np.ascontiguousarray(labels).tobytes() for labels in (self.full_labels, self.observed_labels))
        return hashlib.sha256(b"".join((told, *labels))).hexdigest()

    def rows(self, split: str) -> np.ndarray:
        """int64 row numbers of a split's images, ascending. Raises ConfigError for an unknown split."""
        if split not in SPLITS:
            raise ConfigError(f"no split is called '{split}'; {did_you_mean(split, SPLITS)}")
        return np.flatnonzero(np.array(self.splits) == split).astype(np.int64)

    def path(self, row: int) -> Path:
        """Where the image of a row is."""
        return self.image_root / self.images[row]

    def paths(self, rows: np.ndarray) -> list[Path]:
        """Where the images of some rows are. Raises DataError, which names them, when some are not there."""
        problems = Problems()
        check_images(self.image_root, [self.images[row] for row in rows], problems)
        problems.raise_if_any(f"the images of {self.folder}, below {self.image_root}", f"put them back, or {AGAIN}")
        return [self.path(row) for row in rows]


class Manifest(BaseModel):
    """What manifest.json holds."""

    # Lists and mappings are checked as a whole, since a damaged file may have millions of wrong items; and a path is
    # Any, since it need not be valid UTF-8, which `str` demands.
    model_config = ConfigDict(frozen=True, strict=True)

    kind: str = KIND
    version: int = VERSION
    dataset: Annotated[str, Predicate(str.isidentifier), WithJsonSchema({"type": "a name"})]
    options: dict[str, Any]
    image_root: Annotated[Any, Predicate(is_file_name), WithJsonSchema({"type": "a folder"})]
    """Relative to the manifest's folder when it lies inside."""
    counts: dict[str, Any]
    """Images of each split."""
    mask_sha256: str
    sha256: dict[str, Any]
    """Checksums of the files beside the manifest, by name."""
    classes: Annotated[
        list[Any], Predicate(lambda names: all(map(is_name, names))), WithJsonSchema({"type": "a list of names"})
    ]


def write_manifest(folder: Path, prepared: Prepared) -> None:
    """Write the four files of `prepared` to `folder`, which stands in for `prepared.folder` until it is complete."""
    write_images(folder / IMAGES, prepared.splits, prepared.images)
    np.save(folder / FULL, prepared.full_labels, allow_pickle=False)
    np.save(folder / OBSERVED, prepared.observed_labels, allow_pickle=False)
    root = prepared.image_root
    inside = root.is_relative_to(prepared.folder)
    content = Manifest(
        dataset=prepared.dataset,
        options=prepared.options,
        image_root=root.relative_to(prepared.folder).as_posix() if inside else str(root.absolute()),
        counts=_counts(prepared),
        mask_sha256=prepared.mask_sha256,
        sha256={name: sha256_of_file(folder / name) for name in (IMAGES, FULL, OBSERVED)},
        classes=list(prepared.classes),
    )
    write_text(folder / MANIFEST, json.dumps(content.model_dump(), indent=2) + "\n")


def read_prepared(folder: Path) -> Prepared:
    """The prepared folder at `folder`, verified. Raises DataError when it is missing, damaged or of another version."""
    content = _read_manifest(folder)
    try:
        _verify_files(folder, content.sha256)
        prepared = _assemble(folder, content)
    except OSError as error:
        raise damaged(folder, f"it cannot be read ({error.strerror})") from error
    _verify_content(prepared, content.counts)
    return prepared


def newest_prepared(parent: Path) -> Path:
    """The folder below `parent` that was prepared last. Raises DataError when there is none."""
    found = [path.parent for path in parent.glob(f"*/{MANIFEST}") if is_prepared(path.parent)]
    complete = [folder for folder in found if not folder.name.startswith(TEMPORARY_PREFIX)]
    if not complete:
        raise DataError(f"no prepared data below {parent}; run mlrpl prepare, or name a prepared folder with --data")
    return max(complete, key=lambda folder: ((folder / MANIFEST).stat().st_mtime_ns, folder.name))


def is_prepared(folder: Path) -> bool:
    """Whether `folder` holds a manifest of ours, of any version; other tools have a manifest.json too."""
    return _content(folder) is not None


def options_of(folder: Path) -> Any:
    """The options in the manifest at `folder`, of whatever version; None where there is no manifest of ours."""
    return (_content(folder) or {}).get("options")


def _content(folder: Path) -> dict[str, Any] | None:
    """What a manifest of ours says; None for any other file."""
    try:
        content = read_json(folder / MANIFEST, MOST_OF_A_MANIFEST)
    except (OSError, ValueError, DataError):
        return None
    return content if isinstance(content, dict) and content.get("kind") == KIND else None


def _counts(prepared: Prepared) -> dict[str, int]:
    return {split: prepared.splits.count(split) for split in SPLITS}


def _read_manifest(folder: Path) -> Manifest:
    # os.path: unlike Path.is_file it has an answer for a name that is too long, too.
    if not os.path.isfile(folder / MANIFEST):
        raise DataError(f"{folder} is not a prepared folder (it has no {MANIFEST}); run mlrpl prepare")
    content = _content(folder)
    if content is None:
        raise damaged(folder, f"{MANIFEST} cannot be read")
    if content.get("version") != VERSION:
        found = shown(content.get("version"))
        raise DataError(f"{folder} has format version {found}, this mlrpl reads version {VERSION}; {AGAIN}")
    try:
        return validated(Manifest, content)
    except ValueError as error:
        raise damaged(folder, f"{MANIFEST} is not what mlrpl wrote ({error})") from error


def _verify_files(folder: Path, expected: Mapping[str, object]) -> None:
    for name, limit in ((IMAGES, MOST_OF_IMAGES), (FULL, MOST_OF_LABELS), (OBSERVED, MOST_OF_LABELS)):
        if not (folder / name).is_file():
            raise damaged(folder, f"{name} is missing")
        open_file(folder / name, limit).close()
        if sha256_of_file(folder / name) != expected.get(name):
            raise damaged(folder, f"{name} has changed since it was written")


def _assemble(folder: Path, content: Manifest) -> Prepared:
    splits, images = read_images(folder / IMAGES)
    shape = (len(images), len(content.classes))
    return Prepared(
        folder=folder,
        dataset=content.dataset,
        classes=tuple(content.classes),
        image_root=folder / content.image_root,
        images=images,
        splits=splits,
        full_labels=read_labels(folder / FULL, shape),
        observed_labels=read_labels(folder / OBSERVED, shape),
        options=content.options,
        mask_sha256=content.mask_sha256,
    )


def _verify_content(prepared: Prepared, counts: Mapping[str, int]) -> None:
    folder, full, observed = prepared.folder, prepared.full_labels, prepared.observed_labels
    for name, labels in ((FULL, full), (OBSERVED, observed)):
        if not np.isin(labels, (PRESENT, ABSENT, UNKNOWN)).all():
            raise damaged(folder, f"{name} holds values other than {PRESENT}, {ABSENT} and {UNKNOWN}")
    if _counts(prepared) != counts:
        raise damaged(folder, f"{IMAGES} has {_counts(prepared)} images, {MANIFEST} says {shown(counts)}")
    # Observed labels may only hide what the full ones say, and hide nothing of the test images.
    agrees = observed == full
    if not (agrees | (observed == UNKNOWN)).all() or not agrees[prepared.rows(TEST)].all():
        raise damaged(folder, f"{OBSERVED} contradicts {FULL}")
    if not os.path.isdir(prepared.image_root):
        raise DataError(f"the images of {folder} were in {prepared.image_root}, which is not there; {AGAIN}")
