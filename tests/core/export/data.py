"""A prepared folder whose names and cells are hard to write, and what the tests compare of two prepared folders."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from mlrpl_cli.core.labels.masks import observe
from mlrpl_cli.core.prepared.folder import Prepared, read_prepared, write_manifest

SPLITS = {
    "plain.png": "test",
    "sub/ü, 1.png": "train",
    "sub/deeper/=2+3.png": "validation",
    '"quoted".png': "train",
    "a;b|c.png": "train",
    "-5.jpg": "test",
    "'single.png": "train",
    "blank.png": "train",
    "5 % & <6>.png": "validation",
}
CLASSES = ("zebra, grevy", 'so "called"', "Straße", "=1+2", "split", "x;y", "@home", "never shown", "never said")
NEVER_SHOWN, NEVER_SAID = len(CLASSES) - 2, len(CLASSES) - 1
BLANK = list(SPLITS).index("blank.png")


def write_data(folder: Path, unknown: bool = True) -> Prepared:
    """Images of several sizes with cells of every state; without `unknown` all of them are known.

    One class has no present cell, and where some are unknown, one class and one image have no known cell.
    """
    labels = np.random.RandomState(0).choice([-1, 0, 1] if unknown else [-1, 1], (len(SPLITS), len(CLASSES)))
    labels[:, NEVER_SHOWN] = np.where(labels[:, NEVER_SHOWN] == 1, -1, labels[:, NEVER_SHOWN])
    if unknown:
        labels[:, NEVER_SAID] = labels[BLANK] = 0
    photos = folder / "photos"
    for row, name in enumerate(SPLITS):
        (photos / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20 + row, 30)).save(photos / name)
    return write_labels(folder, labels.astype(np.int8))


def write_labels(folder: Path, labels: np.ndarray) -> Prepared:
    """The prepared folder of those images with `labels` (9, 9), half of them hidden from training."""
    splits, prepared = tuple(SPLITS.values()), folder / "prepared"
    prepared.mkdir(parents=True, exist_ok=True)
    observed, digest = observe(labels, splits, 0.5, 0)
    kept = {"folder": prepared, "dataset": "table", "options": {}, "mask_sha256": digest, "observed_labels": observed}
    write_manifest(prepared, Prepared(CLASSES, folder / "photos", tuple(SPLITS), labels, splits, **kept))
    return read_prepared(prepared)


def cells(prepared: Prepared, without: Collection[str] = ()) -> set[tuple[str, str, int]]:
    """(image, class, state) of every cell, but those of the classes `without`."""
    return {cell for cell in _cells(prepared) if cell[1] not in without}


def _cells(prepared: Prepared) -> Iterator[tuple[str, str, int]]:
    for image, row in zip(prepared.images, prepared.full_labels.tolist(), strict=True):
        yield from ((image, name, state) for name, state in zip(prepared.classes, row, strict=True))


def splits_of(prepared: Prepared) -> dict[str, str]:
    return dict(zip(prepared.images, prepared.splits, strict=True))
