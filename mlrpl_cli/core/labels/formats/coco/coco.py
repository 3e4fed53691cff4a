"""COCO: instance annotations in JSON, of the releases of 2014 and 2017 and of everything that exports this form.

The source of what a missing annotation means is the paper on the data set (Lin et al. 2014, section 4): every image
was searched for every category, so a category that an image's file lists and that has no annotation is absent.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from itertools import compress
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from mlrpl_cli.core.io.errors import DataError, first_few
from mlrpl_cli.core.labels.formats.coco.annotation_files import (
    AnnotationFile,
    find_files,
    image_home,
    kind_of,
    recognise_files,
    with_splits,
)
from mlrpl_cli.core.labels.formats.coco.categories import columns_of
from mlrpl_cli.core.labels.formats.coco.instances import Identifier, Part, mark_all, read_files
from mlrpl_cli.core.labels.formats.coco.release import PUBLISHED_NAME, is_published
from mlrpl_cli.core.labels.marks import NOWHERE, Marks
from mlrpl_cli.core.labels.own import GrowingData
from mlrpl_cli.core.labels.records import TEST, TRAIN, Format, Reading, Records
from mlrpl_cli.core.labels.states import ABSENT, PRESENT, UNKNOWN

YEARS = ("2014", "2017")
PARTS = {TRAIN: "train", TEST: "val"}
"""Which part of a release is which split: the labels of COCO's own test images were never published."""


class Coco(GrowingData):
    """COCO 2014 or 2017 (train → train, val → test), or other files of its form, split by their names."""

    year: Literal["2014", "2017"] | None = Field(None, description="release")
    annotated_only: bool = Field(False, description="leave out images without annotation, as DualCoOp does")
    keep_unused: bool = Field(
        False, description="keep categories that are only the supercategory of others and have no annotation"
    )

    holds: ClassVar[str] = (
        "the folder that holds annotations/ and train2014/, val2014/ or those of 2017, or a JSON file of this form, or "
        "a folder with some"
    )
    usual_folder: ClassVar[str] = "coco"

    @classmethod
    def recognise(cls, root: Path) -> str | None:
        for year in YEARS:
            for path in (_published(root, part, year) for part in PARTS.values()):
                if os.path.isfile(path) and kind_of(path) != "lvis":
                    return f"it holds annotations/{path.name}"
        return recognise_files(root, "coco", "images, annotations and categories as COCO's files have")

    def usual_keep(self) -> float:
        """As for the benchmark, unless `root` holds other files than COCO's own, whatever they are called."""
        if year := self._release():
            paths = (_published(self.root, part, year) for part in PARTS.values())
            is_own = not any(map(is_published, paths))
        else:
            is_own = bool(find_files(self.root, "coco"))
        return self.default_keep if is_own else Format.default_keep

    def is_published(self) -> bool:
        """Whether it is a release, of which a share of the labels is kept by default."""
        return self.usual_keep() != self.default_keep

    def read(self, reading: Reading) -> Records:
        """Classes are in ascending category id, rows in the order of `images` in the JSON, train before test.

        An annotation of any kind makes its class present, crowds included. Every other class of the same file is
        absent, also for images without annotation, unless these are left out; classes of other files are unknown.
        Raises DataError, naming everything found at once, for wrong data.
        """
        home = image_home(self.root)
        marks = Marks(self.image_root(home), reading)
        parts = read_files(self._files(reading), marks, reading)
        if federated := [part.file.path.name for part in parts if part.listed]:
            raise DataError(
                f"{first_few(federated)} in {home} says for which categories each image was checked, as LVIS does; "
                "read it with --dataset lvis"
            )
        columns = columns_of(parts, marks, reading, self.keep_unused)
        for part in parts:
            mark_all(part.shown, PRESENT, columns, marks)
        unlisted = _unlisted(parts, columns, marks, reading)
        year = self._release()
        if year and parts and all(PUBLISHED_NAME.fullmatch(str(part.sample)) for part in parts):
            reading.problems.raise_if_any(f"COCO {year} in {home}", "restore these files from the published archives")
        records = self.records(marks, reading, unlisted, home, union=True)
        return _annotated(records, parts) if self.annotated_only else records

    def _release(self) -> str | None:
        """The first year, or the one that is asked for, of which `root` has an annotation file."""
        years = [self.year] if self.year else YEARS
        paths = ((year, _published(self.root, part, year)) for year in years for part in PARTS.values())
        return next((year for year, path in paths if os.path.exists(path)), None)

    def _files(self, reading: Reading) -> list[AnnotationFile]:
        if year := self._release():
            return [
                AnnotationFile(_published(self.root, part, year), split, (f"{part}{year}", f"images/{part}{year}"))
                for split, part in PARTS.items()
            ]
        if not self.year and (paths := find_files(self.root, "coco")):
            return with_splits(self.root, paths, self.image_root(image_home(self.root)), reading)
        what = "holds no" if os.path.isdir(self.root) else "is no folder, so it holds no"
        wanted = " or ".join(f"instances_train{year}.json" for year in ([self.year] if self.year else YEARS))
        other = "" if self.year else ", nor other JSON files of this form"
        raise DataError(
            f"{self.root} {what} annotations/{wanted}{other}; name the folder that does with --root, or add "
            "--download for COCO 2014"
        )


def _published(root: Path, part: str, year: str) -> Path:
    return root / "annotations" / f"instances_{part}{year}.json"


def _unlisted(parts: Sequence[Part], columns: dict[Identifier, int], marks: Marks, reading: Reading) -> int:
    """The state of a cell without a mark, once `marks` know what was checked where files have other categories."""
    import numpy as np

    reading.unlisted = "absent: in COCO's form images are annotated for every category of their file"
    lacking = {part.file.path.name: columns.keys() - part.categories.keys() for part in parts}
    if not any(lacking.values()):
        return ABSENT
    for part in parts:
        own = [columns[identifier] for identifier in part.categories if identifier in columns]
        marks.checked(part.rows, np.array(own, np.intp))
    told = first_few(f"{len(ids)} in the images of {file}" for file, ids in lacking.items() if ids)
    reading.notes.append(f"classes that only other files list are unknown: {told}")
    return UNKNOWN


def _annotated(records: Records, parts: Sequence[Part]) -> Records:
    """The images that have an annotation, of whatever class."""
    import numpy as np

    kept = np.zeros(len(records.images), bool)
    for rows in (rows for part in parts for rows in part.shown.values()):
        kept[rows[rows != NOWHERE]] = True
    images, splits = tuple(compress(records.images, kept)), tuple(compress(records.splits, kept))
    return replace(records, images=images, full_labels=records.full_labels[kept], splits=splits)
