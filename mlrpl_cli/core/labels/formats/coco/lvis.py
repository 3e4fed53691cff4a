"""LVIS: instance annotations of a federated data set, whose images were checked for a few of its categories each.

Its documentation (https://www.lvisdataset.org/dataset; Gupta et al. 2019, section 3.1) says of each image: instances
of the categories in `neg_category_ids` were verified to be absent, those in `not_exhaustive_category_ids` are there
and not all of them annotated. A category in neither list and without annotation was not looked for.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from mlrpl_cli.core.io.errors import DataError
from mlrpl_cli.core.labels.formats.coco.annotation_files import (
    NEGATIVE,
    NOT_EXHAUSTIVE,
    AnnotationFile,
    find_files,
    image_home,
    recognise_files,
    with_splits,
)
from mlrpl_cli.core.labels.formats.coco.categories import columns_of
from mlrpl_cli.core.labels.formats.coco.instances import mark_all, read_files
from mlrpl_cli.core.labels.marks import Marks
from mlrpl_cli.core.labels.own import OwnData
from mlrpl_cli.core.labels.records import TEST, VALIDATION, Reading, Records
from mlrpl_cli.core.labels.states import ABSENT, PRESENT, UNKNOWN


class Lvis(OwnData):
    """LVIS (train → train, val → test), with what was not checked unknown."""

    holds: ClassVar[str] = "a JSON file of LVIS, or a folder with lvis_v1_train.json and lvis_v1_val.json"
    usual_folder: ClassVar[str] = "lvis"

    @classmethod
    def recognise(cls, root: Path) -> str | None:
        return recognise_files(root, "lvis", "lists of the categories that each image was checked for, as LVIS has")

    def read(self, reading: Reading) -> Records:
        """Classes are in ascending category id, rows in the order of `images` in the JSON, train before test.

        Present is what has an annotation or is in `not_exhaustive_category_ids`, absent what is in
        `neg_category_ids`, every other cell unknown. Images are where `coco_url` says: train2017/ and val2017/.
        Raises DataError, naming everything found at once, for wrong data.
        """
        home = image_home(self.root)
        marks = Marks(self.image_root(home), reading)
        parts = read_files(self._files(reading), marks, reading, ("coco_url", "file_name"))
        if parts and not any(part.listed for part in parts):
            raise DataError(
                f"no image in {parts[0].file.path} has {NEGATIVE} or {NOT_EXHAUSTIVE}, so this is not LVIS; if all "
                "images were checked for all categories, read it with --dataset coco"
            )
        columns = columns_of(parts, marks, reading, keep_unused=True)
        for part in parts:
            for found in (part.shown, part.listed.get(NOT_EXHAUSTIVE, {})):
                mark_all(found, PRESENT, columns, marks)
            mark_all(part.listed.get(NEGATIVE, {}), ABSENT, columns, marks)
        reading.unlisted = "unknown: LVIS's documentation"
        return self.records(marks, reading, UNKNOWN, home)

    def _files(self, reading: Reading) -> list[AnnotationFile]:
        paths = find_files(self.root, "lvis")
        if not paths:
            raise DataError(f"{self.root} holds no JSON file of LVIS; name it, or its folder, with --root")
        files = with_splits(self.root, paths, self.image_root(image_home(self.root)), reading)
        if any(file.split == TEST for file in files) or all(file.split != VALIDATION for file in files):
            return files
        reading.notes.append("the validation part tests, since the labels of LVIS's test part were never published")
        return [file._replace(split=TEST) if file.split == VALIDATION else file for file in files]
