"""The prepared folder: what `prepare` writes and everything after it only reads.

    manifest.json          classes, options, where the images are, counts, checksums
    images.csv             split and image, one row each, in the order of the label rows
    labels_full.npy        (N, C) int8, the labels as published
    labels_observed.npy    (N, C) int8, the labels that training may see; test rows are whole

No file holds a time, so the same options give the same bytes.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mlrpl_cli.core.data.records import SPLITS, TEST
from mlrpl_cli.core.errors import ConfigError, DataError, did_you_mean
from mlrpl_cli.core.files import TEMPORARY_PREFIX, sha256_of_file, write_text
from mlrpl_cli.core.labels import ABSENT, PRESENT, UNKNOWN

KIND, VERSION = "mlrpl-prepared", 1
MANIFEST, IMAGES = "manifest.json", "images.csv"
FULL, OBSERVED = "labels_full.npy", "labels_observed.npy"
AGAIN = "run mlrpl prepare again"


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
        """Where the images of some rows are."""
        return [self.path(row) for row in rows]


def write_manifest(folder: Path, prepared: Prepared) -> None:
    """Write the four files of `prepared` to `folder`, which stands in for `prepared.folder` until it is complete."""
    _write_images(folder / IMAGES, prepared)
    np.save(folder / FULL, prepared.full_labels, allow_pickle=False)
    np.save(folder / OBSERVED, prepared.observed_labels, allow_pickle=False)
    inside = prepared.image_root.is_relative_to(prepared.folder)
    content = {
        "kind": KIND,
        "version": VERSION,
        "dataset": prepared.dataset,
        "options": prepared.options,
        "image_root": _relative(prepared) if inside else str(prepared.image_root.absolute()),
        "counts": _counts(prepared),
        "mask_sha256": prepared.mask_sha256,
        "sha256": {name: sha256_of_file(folder / name) for name in (IMAGES, FULL, OBSERVED)},
        "classes": list(prepared.classes),
    }
    write_text(folder / MANIFEST, json.dumps(content, indent=2) + "\n")


def read_prepared(folder: Path) -> Prepared:
    """The prepared folder at `folder`, verified. Raises DataError when it is missing, damaged or of another version."""
    content = _read_manifest(folder)
    try:
        _verify_files(folder, content["sha256"])
        prepared = _assemble(folder, content)
        _verify_content(prepared, content["counts"])
    except (KeyError, TypeError, ValueError, AttributeError, csv.Error) as error:
        raise _damaged(folder, f"{MANIFEST} is not what mlrpl wrote ({type(error).__name__}: {error})") from error
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
    try:
        content = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and content.get("kind") == KIND


def _relative(prepared: Prepared) -> str:
    return prepared.image_root.relative_to(prepared.folder).as_posix()


def _counts(prepared: Prepared) -> dict[str, int]:
    return {split: prepared.splits.count(split) for split in SPLITS}


def _write_images(path: Path, prepared: Prepared) -> None:
    # surrogateescape: a file name need not be valid UTF-8, and has to come back as the same bytes.
    with path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(("split", "image"))
        writer.writerows(zip(prepared.splits, prepared.images, strict=True))


def _read_images(path: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as stream:
        rows = list(csv.DictReader(stream))
    return tuple(row["split"] for row in rows), tuple(row["image"] for row in rows)


def _read_manifest(folder: Path) -> dict[str, Any]:
    if not (folder / MANIFEST).is_file():
        raise DataError(f"{folder} is not a prepared folder (it has no {MANIFEST}); run mlrpl prepare")
    if not is_prepared(folder):
        raise _damaged(folder, f"{MANIFEST} cannot be read")
    content = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    if content.get("version") != VERSION:
        found = content.get("version")
        raise DataError(f"{folder} has format version {found}, this mlrpl reads version {VERSION}; {AGAIN}")
    return content


def _verify_files(folder: Path, expected: Mapping[str, str]) -> None:
    for name in (IMAGES, FULL, OBSERVED):
        if not (folder / name).is_file():
            raise _damaged(folder, f"{name} is missing")
        if sha256_of_file(folder / name) != expected[name]:
            raise _damaged(folder, f"{name} has changed since it was written")


def _assemble(folder: Path, content: Mapping[str, Any]) -> Prepared:
    splits, images = _read_images(folder / IMAGES)
    return Prepared(
        folder=folder,
        dataset=content["dataset"],
        classes=tuple(content["classes"]),
        image_root=folder / content["image_root"],
        images=images,
        splits=splits,
        full_labels=np.load(folder / FULL, allow_pickle=False),
        observed_labels=np.load(folder / OBSERVED, allow_pickle=False),
        options=content["options"],
        mask_sha256=content["mask_sha256"],
    )


def _verify_content(prepared: Prepared, counts: Mapping[str, int]) -> None:
    folder, expected = prepared.folder, (len(prepared.images), len(prepared.classes))
    for name, labels in ((FULL, prepared.full_labels), (OBSERVED, prepared.observed_labels)):
        if labels.shape != expected or labels.dtype != np.int8:
            got = f"{labels.dtype} {labels.shape}"
            raise _damaged(folder, f"{name} holds {got}, expected int8 {expected} (images, classes)")
        if not np.isin(labels, (PRESENT, ABSENT, UNKNOWN)).all():
            raise _damaged(folder, f"{name} holds values other than {PRESENT}, {ABSENT} and {UNKNOWN}")
    if _counts(prepared) != counts:
        raise _damaged(folder, f"{IMAGES} has {_counts(prepared)} images, {MANIFEST} says {counts}")
    _verify_observed(prepared)
    if not prepared.image_root.is_dir():
        raise DataError(f"the images of {folder} were in {prepared.image_root}, which is not there; {AGAIN}")


def _verify_observed(prepared: Prepared) -> None:
    """Observed labels may only hide what the full ones say, and hide nothing of the test images."""
    agrees = prepared.observed_labels == prepared.full_labels
    hidden = prepared.observed_labels == UNKNOWN
    if not (agrees | hidden).all() or not agrees[prepared.rows(TEST)].all():
        raise _damaged(prepared.folder, f"{OBSERVED} contradicts {FULL}")


def _damaged(folder: Path, what: str) -> DataError:
    return DataError(f"{folder} is damaged: {what}; {AGAIN}")
