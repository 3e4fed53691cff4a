"""Open Images V4 to V7: image-level labels that people verified, a row for each image and class.

The publisher's page says of the files of human labels: a confidence of 1 is "verified to be present", 0 "verified to be
absent"; what no row names was not verified and is unknown. https://storage.googleapis.com/openimages/web/download_v7.html
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from mlrpl_cli.core.images.names import ImagesById
from mlrpl_cli.core.io.errors import DataError, counted, first_few
from mlrpl_cli.core.io.progress import Task
from mlrpl_cli.core.io.reading import short
from mlrpl_cli.core.labels.formats.published.descriptions import ClassNames, describe
from mlrpl_cli.core.labels.formats.tabular.dialect import peek
from mlrpl_cli.core.labels.formats.tabular.text import stream
from mlrpl_cli.core.labels.marks import MOST_CELLS, NOWHERE, Marks
from mlrpl_cli.core.labels.own import OwnData
from mlrpl_cli.core.labels.records import SPLIT_NAMES, Reading, Records
from mlrpl_cli.core.labels.states import ABSENT, PRESENT, UNKNOWN

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

COLUMNS = ("ImageID", "LabelName", "Confidence")
HEADER = {*COLUMNS, "Source"}
MACHINE = "machine"
"""What the name of a file of labels says that nobody verified."""
STATES = {1.0: PRESENT, 0.0: ABSENT}
_FILE = re.compile(r"(?:.*[-_])?(train|validation|val|test)[-_]annotations[-_].*imagelabels.*\.csv(?:\.gz)?")
_PLACES = (
    *(f"{folder}*imagelabels*.csv*" for folder in ("", "annotations/", "labels/")),
    *(f"{split}/{split}-annotations-*-imagelabels*.csv*" for split in ("train", "validation", "test")),
)
OF_FIFTYONE = "classifications.csv"
"""What FiftyOne calls the human labels that it downloads, in SPLIT/labels/."""


class OpenImages(OwnData):
    """Open Images' image-level labels (train → train, validation → validation, test → test)."""

    class_descriptions: Path | None = Field(
        None,
        description="CSV with the names of Open Images' class ids, else the one beside the labels",
    )

    machine_labels: Path | None = Field(
        None,
        description="CSV of Open Images' machine labels, or the folder with them, kept as proposals apart from labels",
    )

    holds: ClassVar[str] = "the folder with train-annotations-human-imagelabels.csv and the like, or such a file"
    reads_tables: ClassVar[bool] = True

    @classmethod
    def recognise(cls, root: Path) -> str | None:
        if os.path.isdir(root):
            found = _listed(root)
            return f"it holds {found[0].relative_to(root).as_posix()}" if found else None
        header = next(iter(peek(root, 1)), [])
        return f"{root.name} has Open Images' columns" if set(header) >= HEADER else None

    def read(self, reading: Reading) -> Records:
        """Images in the order of the rows, of those that lie below `images`; classes in that of the descriptions.

        One pass over each file: memory is that of the labels that count. Without chosen classes all are read that are
        described, in the order of the rows. Labels of machines never become labels: they are proposals, if asked for.
        Raises DataError, naming everything found at once, for wrong data, and for more cells than memory holds.
        """
        files = self._files(reading)
        names = ClassNames(describe(self.class_descriptions, files, reading.problems), reading)
        images = ImagesById(self.image_root(self.root), reading.problems)
        marks = Marks(self.image_root(self.root), reading, names.wanted)
        size = sum(os.path.getsize(path) for path in files if os.path.exists(path))
        rows = _Rows(marks, names, images, reading)
        with reading.progress.task("reading labels", size, "bytes") as task:
            for path in files:
                rows.read(path, _split_of(path), task)
        disputed = marks.settle()
        reading.notes.extend(_told(rows, names, len(images) - len(marks.images), disputed))
        reading.unlisted = "unknown: Open Images' documentation"
        if self.machine_labels is not None:
            reading.proposals = self._proposals(self.machine_labels, rows, reading)
        return self.records(marks, reading, UNKNOWN, self.root)

    @model_serializer(mode="wrap")
    def _as_before(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without the option that was not there when older folders were prepared, unless it is given."""
        return {name: value for name, value in dump(self).items() if name != "machine_labels" or value is not None}

    def _proposals(self, root: Path, rows: _Rows, reading: Reading) -> np.ndarray:
        """(P,) of PROPOSAL: what machines say of the images and classes that people verified anything of."""
        import numpy as np

        from mlrpl_cli.core.labels.proposals import PROPOSAL

        found = [path for path in _listed(root) if MACHINE in path.name.lower()] if os.path.isdir(root) else [root]
        if not found:
            what = "files that are called like train-annotations-machine-imagelabels.csv"
            raise DataError(f"{root} needs {what} and has none; name one with --machine-labels")
        size = sum(os.path.getsize(path) for path in found if os.path.exists(path))
        with reading.progress.task("reading machine labels", size, "bytes") as task:
            parts = [part for path in found for part in rows.proposals(path, task)]
        told = first_few(path.name for path in found)
        reading.notes.append(f"labels of machines are proposals, apart from labels: {told}")
        return np.concatenate([np.empty(0, PROPOSAL), *parts])

    def _files(self, reading: Reading) -> list[Path]:
        """The files of human labels."""
        found = _listed(self.root) if os.path.isdir(self.root) else [self.root]
        files = [path for path in found if MACHINE not in path.name.lower()]
        if not files:
            holds = f"only {first_few(path.name for path in found)}, which nobody verified" if found else "none"
            what = "files that are called like train-annotations-human-imagelabels.csv"
            raise DataError(f"{self.root} needs {what} and has {holds}; download them, or name one with --root")
        if (left_out := [path.name for path in found if path not in files]) and self.machine_labels is None:
            told = first_few(left_out)
            reading.notes.append(f"labels of machines, which nobody verified, are not read: {told}")
        return files


class _Rows:
    """Marks of one file after the other, batch by batch."""

    def __init__(self, marks: Marks, names: ClassNames, images: ImagesById, reading: Reading) -> None:
        self._marks, self._names, self._images, self._problems = marks, names, images, reading.problems
        self._merged: Mapping[str, str] = reading.merged
        self._columns, self._states = dict[str, int](), dict[str, int]()
        self.elsewhere = 0
        """Rows of classes that count whose image is not there."""

    def read(self, path: Path, split: str | None, task: Task) -> None:
        import numpy as np
        import pyarrow as pa

        found = dict[str, int]()
        for batch in stream(path, COLUMNS, self._problems, task):
            columns = _looked_up(batch.column(1), self._columns, self._column)
            kept = batch.filter(pa.array(columns != NOWHERE))
            rows = _looked_up(kept.column(0), found, lambda name: self._row(name, split), forget=NOWHERE)
            states = _looked_up(kept.column(2), self._states, self._state)
            self.elsewhere += int(np.count_nonzero(rows == NOWHERE))
            told = states != UNKNOWN
            self._marks.extend(rows[told], columns[columns != NOWHERE][told], states[told])
            shape = len(self._marks.images), len(self._marks.classes)
            if shape[0] * shape[1] > MOST_CELLS:
                held = f"{shape[0]} images and {shape[1]} classes so far, more than memory holds"
                raise DataError(f"{path} has {held}; choose classes with --classes, by name or id")

    def proposals(self, path: Path, task: Task) -> Iterator[np.ndarray]:
        """Batches of PROPOSAL of a file of machine labels, of the cells whose image and class there are by now."""
        import numpy as np
        import pyarrow as pa

        from mlrpl_cli.core.labels.proposals import PROPOSAL

        columns, rows = dict[str, int](), dict[str, int]()
        sure = dict[str, float]()
        for batch in stream(path, COLUMNS, self._problems, task):
            places = _looked_up(batch.column(1), columns, self._known_column)
            kept = batch.filter(pa.array(places != NOWHERE))
            images = _looked_up(kept.column(0), rows, self._known_row, forget=NOWHERE)
            inside = kept.filter(pa.array(images != NOWHERE))
            cells = inside.column(2).dictionary_encode()
            values = [sure.setdefault(cell, self._sure(cell)) for cell in cells.dictionary.to_pylist()]
            part = np.empty(inside.num_rows, PROPOSAL)
            part["image"], part["class"] = images[images != NOWHERE], places[places != NOWHERE][images != NOWHERE]
            part["confidence"] = np.array(values, np.float32)[cells.indices.to_numpy()]
            yield part

    def _known_column(self, identifier: str) -> int:
        name = self._names.named(identifier)
        return self._marks.classes.get(self._merged.get(name, name), NOWHERE)

    def _known_row(self, identifier: str) -> int:
        return self._marks.images.get(self._images.find(identifier) or "", NOWHERE)

    def _sure(self, cell: str) -> float:
        try:
            if 0 <= (value := float(cell)) <= 1:
                return value
        except ValueError:
            pass
        self._problems.add("confidences of machine labels are no fraction from 0 to 1", f"'{short(cell)}'")
        return 0.0

    def _column(self, identifier: str) -> int:
        if not identifier.strip():
            self._problems.add("rows name no class", "LabelName is empty")
            return NOWHERE
        name = self._names.of(identifier)
        return NOWHERE if name is None else self._marks.label(name)

    def _row(self, identifier: str, split: str | None) -> int:
        if not identifier.strip():
            self._problems.add("rows name no image", "ImageID is empty")
        file = self._images.find(identifier)
        return NOWHERE if file is None else self._marks.image(file, split)

    def _state(self, cell: str) -> int:
        try:
            return STATES[float(cell)]
        except (ValueError, KeyError):
            self._problems.add("confidences are neither 1 nor 0, as those of machine labels are", f"'{short(cell)}'")
            return UNKNOWN


def _looked_up(
    cells: pa.Array, known: dict[str, int], find: Callable[[str], int], forget: int | None = None
) -> np.ndarray:
    """(R,) int32: what `known` has for each cell, else `find`, which is asked once; `forget` is not kept in `known`."""
    import numpy as np

    coded = cells.dictionary_encode()
    values = list[int]()
    for cell in coded.dictionary.to_pylist():
        value = known[cell] if cell in known else find(cell)
        if value != forget:
            known[cell] = value
        values.append(value)
    return np.array(values, np.int32)[coded.indices.to_numpy()]


def _listed(root: Path) -> list[Path]:
    """The files of labels, of people and of machines, in a folder and where releases put them below it."""
    try:
        found = {path for place in _PLACES for path in root.glob(place) if _FILE.fullmatch(path.name.lower())}
        of_fiftyone = (path for within in ("", "*/") for path in root.glob(f"{within}labels/{OF_FIFTYONE}"))
        found |= {path for path in of_fiftyone if set(next(iter(peek(path, 1)), [])) >= HEADER}
    except OSError:
        return []
    return sorted(found)


def _split_of(path: Path) -> str | None:
    if path.name == OF_FIFTYONE:
        return SPLIT_NAMES.get(path.parent.parent.name.lower())
    named = _FILE.fullmatch(path.name.lower())
    return SPLIT_NAMES[named[1]] if named else None


def _told(rows: _Rows, names: ClassNames, unverified: int, disputed: int) -> Iterable[str]:
    """What was found out."""
    if not names:
        yield (
            "no *class-descriptions*.csv lies beside the labels: classes are called by their ids, which mean nothing "
            "to CLIP; --class-descriptions names the file"
        )
    if names.unnamed:
        told = first_few(sorted(names.unnamed))
        yield f"rows of {counted(len(names.unnamed), 'class')} without a description are left out: {told}"
    if rows.elsewhere:
        yield f"rows of images that are not in the folder are left out: {rows.elsewhere}"
    if unverified:
        yield f"images in the folder without a verified label of these classes are left out: {unverified}"
    if disputed:
        yield f"cells that rows say to be present and absent are unknown: {disputed}"
