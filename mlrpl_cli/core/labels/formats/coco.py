"""COCO: instance annotations in JSON, in the layouts of 2014 and 2017."""

from __future__ import annotations

import contextlib
import io
import os
import posixpath
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import compress
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import Field

from mlrpl_cli.core.images.find import check_images
from mlrpl_cli.core.io.errors import DataError, Problems, one_line
from mlrpl_cli.core.io.progress import Progress, track
from mlrpl_cli.core.io.reading import GIB, is_file_name, is_name, open_file, short, shown
from mlrpl_cli.core.labels.records import TEST, TRAIN, Format, Records
from mlrpl_cli.core.labels.states import ABSENT, PRESENT, make_labels

YEARS, ANNOTATIONS = ("2014", "2017"), "annotations/instances_{}.json"
PARTS = {TRAIN: "train", TEST: "val"}
"""Which part of a release is which split: the labels of COCO's own test images were never published."""
FIELDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "id": (lambda value: type(value) in (int, str), "ids that are whole numbers or text"),
    "name": (is_name, "names of categories that are text"),
    "file_name": (is_file_name, "a file_name that a file can have"),
}
"""What an entry's field has to be."""
MOST_BYTES, MOST_LABELS = 4 * GIB, 4 * GIB
"""Of an annotation file, nine times the largest of COCO; and of its images times its categories, a byte each."""


class Coco(Format):
    """COCO 2014 or 2017 (train → train, val → test)."""

    root: Path = Field(description="the folder that holds annotations/ and train2014/, val2014/ or those of 2017")
    year: Literal["2014", "2017"] | None = Field(None, description="release")
    annotated_only: bool = Field(False, description="leave out images without annotation, as DualCoOp does")

    def read(self, workspace: Path, progress: Progress) -> Records:
        """Classes are in ascending category id, rows in the order of `images` in the JSON, train before test.

        An annotation of any kind makes its class present, crowds included; every other class is absent, also for
        images without annotation, unless these are left out.
        Raises DataError, naming everything found at once, for wrong data.
        """
        year = _find_year(self.root, [self.year] if self.year else YEARS)
        problems = Problems()
        listed = track(progress, PARTS.items(), "reading annotations", len(PARTS), "files")
        read = {split: _read_part(self.root, f"{name}{year}", problems) for split, name in listed}
        parts = {split: part for split, part in read.items() if part}
        for part in parts.values():
            check_images(self.root, part.images, problems)
        if len({part.categories for part in parts.values()}) > 1:
            problems.add("files differ in their categories", f"instances_train{year}.json, instances_val{year}.json")
        problems.raise_if_any(f"COCO {year} in {self.root}", "restore these files from the published archives")
        classes = tuple(name for _, name in parts[TRAIN].categories)
        images, cells = list[str](), list[tuple[int, int]]()
        for part in parts.values():
            cells += [(len(images) + row, column) for row, column in part.present]
            images += part.images
        labels = make_labels((len(images), len(classes)), ABSENT, (PRESENT, cells))
        splits = tuple(split for split, part in parts.items() for _ in part.images)
        kept = (labels == PRESENT).any(axis=1) | (not self.annotated_only)
        return Records(classes, self.root, tuple(compress(images, kept)), labels[kept], tuple(compress(splits, kept)))


class _Part(NamedTuple):
    """What one annotation file says."""

    categories: tuple[tuple[int | str, str], ...]
    """(id, name) in ascending id."""
    images: list[str]
    present: list[tuple[int, int]]
    """(row, column) of each annotation."""


def _find_year(root: Path, years: Sequence[str]) -> str:
    """The first of `years` that has an annotation file below `root`."""
    for year in years:
        if any(os.path.exists(root / ANNOTATIONS.format(f"{part}{year}")) for part in PARTS.values()):
            return year
    what = "holds no" if os.path.isdir(root) else "is no folder, so it holds no"
    wanted = " or ".join(f"instances_train{year}.json" for year in years)
    advice = "name the folder that does with --root, or add --download for COCO 2014"
    raise DataError(f"{root} {what} annotations/{wanted}; {advice}")


def _read_part(root: Path, folder: str, problems: Problems) -> _Part | None:
    """What one annotation file says of the images in `folder`; None, and a problem, when it cannot be read."""
    from pycocotools.coco import COCO  # takes longer to import than help to print

    path = root / ANNOTATIONS.format(folder)
    try:
        open_file(path, MOST_BYTES).close()
        with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints how long it takes
            data: dict[str, Any] = COCO(str(path)).dataset
        return _to_part(data, folder, path.name, problems)
    except FileNotFoundError:
        problems.add("annotation files are missing", path.name)
    except KeyError as error:
        problems.add("annotation files lack a key", f"{path.name}: {error}")
    except (OSError, ValueError, AssertionError, TypeError, AttributeError, RecursionError, DataError) as error:
        problems.add("annotation files cannot be read", f"{path.name}: {one_line(error)}")
    return None


def _to_part(data: dict[str, Any], folder: str, file: str, problems: Problems) -> _Part:
    categories = sorted((_checked(each, "id"), _checked(each, "name")) for each in data["categories"])
    ids = [_checked(each, "id") for each in data["images"]]
    images = [posixpath.join(folder, _checked(each, "file_name")) for each in data["images"]]
    if not images or not categories:
        problems.add("annotation files have no images or no categories", file)
    if len(images) * len(categories) > MOST_LABELS:
        raise ValueError(f"{len(images)} images and {len(categories)} categories are more than memory holds")
    of_categories = [("category ids or names are repeated", values) for values in zip(*categories, strict=True)]
    for what, values in (*of_categories, ("image ids are repeated", ids), ("images are listed twice", images)):
        repeated = (value for value, count in Counter(values).items() if count > 1)
        problems.extend(what, (f"{short(str(value))} in {file}" for value in repeated))
    row_of = {identifier: row for row, identifier in enumerate(ids)}
    column_of = {identifier: column for column, (identifier, _) in enumerate(categories)}
    present = []
    for annotation in data["annotations"]:
        image, category = annotation["image_id"], annotation["category_id"]
        if image not in row_of:
            problems.add("annotations are of unknown images", f"{shown(image)} in {file}")
        if category not in column_of:
            problems.add("annotations are of unknown categories", f"{shown(category)} in {file}")
        if image in row_of and category in column_of:
            present.append((row_of[image], column_of[category]))
    return _Part(tuple(categories), images, present)


def _checked(entry: Any, key: str) -> Any:
    """entry[key]. TypeError for a value that an id, a class or a file cannot have."""
    fits, expected = FIELDS[key]
    if not fits(entry[key]):
        raise TypeError(f"expected {expected}, got {shown(entry[key])}")
    return entry[key]
