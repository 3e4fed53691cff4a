"""A folder of VOC 2007's form with difficult objects, and how two readers read it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mlrpl_cli.core.io.progress import Silent
from mlrpl_cli.core.labels.formats.published.voc import CLASSES, Voc
from mlrpl_cli.core.labels.records import TRAIN, Reading

Objects = Sequence[tuple[str, bool]]
"""Class name and whether it is difficult, of each object of an image."""

IMAGES: Mapping[str, Objects] = {
    "000001": [("dog", False)],
    "000002": [("dog", False), ("cat", True)],
    "000003": [("person", True)],
    "000004": [("car", True), ("car", False), ("person", False)],
    "000005": [("bottle", False), ("chair", True), ("sofa", True)],
}
"""Difficult alone: the cat, the person of 000003, the chair and the sofa. One car of 000004 is not."""
TEST_IMAGE, TEST_OBJECTS = "000006", [("cow", False)]
"""A release has a test image, too."""


def write_voc(folder: Path, images: Mapping[str, Objects] = IMAGES) -> Path:
    """Write `images` as the training images of a release; returns the folder that holds its Annotations."""
    home = folder / "VOC2007"
    for name in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (home / name).mkdir(parents=True)
    for name, objects in {**images, TEST_IMAGE: TEST_OBJECTS}.items():
        Image.new("RGB", (32, 32)).save(home / "JPEGImages" / f"{name}.jpg")
        (home / "Annotations" / f"{name}.xml").write_text(_annotation(name, objects))
    lists = {"trainval": images, "test": [TEST_IMAGE], **{f"{name}_trainval": () for name in CLASSES}}
    for name, listed in lists.items():
        (home / "ImageSets" / "Main" / f"{name}.txt").write_text("".join(f"{image}\n" for image in listed))
    return home


def difficult_cells(images: Mapping[str, Objects] = IMAGES) -> np.ndarray:
    """(N, C) bool: where every object of a class is difficult."""
    plain = np.array([[(name, False) in objects for name in CLASSES] for objects in images.values()])
    return np.array([[(name, True) in objects for name in CLASSES] for objects in images.values()]) & ~plain


def ours(home: Path, **options: Any) -> np.ndarray:
    """(N, C) label states of the training images, as `Voc` reads them."""
    records = Voc(root=home, **options).read(Reading(home, Silent()))
    return records.full_labels[np.array(records.splits) == TRAIN]


def theirs(mlcpl: Any, home: Path) -> np.ndarray:
    """(N, C) label states of the training images, as mlcpl reads them; NaN would be 0."""
    with redirect_stdout(StringIO()):
        records = mlcpl.datasets.Pascal_VOC_2007(str(home), "train").records
    labels = np.zeros((len(records), len(CLASSES)), dtype=np.int8)
    for row, (_, _, present, absent) in enumerate(records):
        labels[row, present], labels[row, absent] = 1, -1
    return labels


def _annotation(name: str, objects: Objects) -> str:
    box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>20</xmax><ymax>20</ymax></bndbox>"
    found = "".join(
        f"<object><name>{of}</name><difficult>{int(hard)}</difficult>{box}</object>" for of, hard in objects
    )
    size = "<size><width>32</width><height>32</height><depth>3</depth></size>"
    return f"<annotation><filename>{name}.jpg</filename>{size}{found}</annotation>"
