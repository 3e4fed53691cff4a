"""NUS-WIDE: 81 concepts, of each of which people said of every image whether it shows it.

Chua et al. 2009, "NUS-WIDE: A Real-World Web Image Database"; a 1 is present and a 0 absent. The files were not at
hand: names and forms follow public code that reads them. Line 78,372 of Labels_lake_Train.txt is reported to be
-1130179, which AllLabels is not; it is read as unknown.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from mlrpl_cli.core.io.errors import DataError, Problems, agreeing, counted
from mlrpl_cli.core.io.progress import track
from mlrpl_cli.core.io.reading import MIB, short
from mlrpl_cli.core.labels.formats.files import text_of
from mlrpl_cli.core.labels.marks import NOWHERE, Marks
from mlrpl_cli.core.labels.own import OwnData
from mlrpl_cli.core.labels.records import TEST, TRAIN, Reading, Records
from mlrpl_cli.core.labels.states import ABSENT, PRESENT, UNKNOWN

if TYPE_CHECKING:
    import numpy as np

CONCEPTS = "Concepts81.txt"
LISTS = {"Train": TRAIN, "Test": TEST}
"""Lists of images are TrainImagelist.txt and TestImagelist.txt."""
WHOLE = "Imagelist.txt"
FOLDERS = (
    *("ImageList", "ConceptsList", "Groundtruth", "Groundtruth/AllLabels", "Groundtruth/TrainTestLabels"),
    *("AllLabels", "TrainTestLabels"),
)
"""Where its files lie, unless they lie in the root."""
IMAGES = ("Flickr", "images")
"""Folders that the images may lie in."""
KNOWN_ERROR = "Labels_lake_Train.txt", "-1130179"
CELLS = {"0": ABSENT, "1": PRESENT}
MOST_CONCEPTS = 1000
Images = dict[str, str | None]
"""The splits of images, in the order of their list."""
Parts = dict[str, Images]
"""Of "Train" and "Test", or of "", which is all."""
_BAD = 2
_MOST_BYTES = 256 * MIB  # twenty times the list of all images


class NusWide(OwnData):
    """NUS-WIDE (TrainImagelist.txt → train, TestImagelist.txt → test)."""

    holds: ClassVar[str] = "the folder with ImageList/TrainImagelist.txt, Groundtruth/ and ConceptsList/Concepts81.txt"
    usual_folder: ClassVar[str] = "NUS-WIDE"

    @classmethod
    def recognise(cls, root: Path) -> str | None:
        found = _find(root, CONCEPTS)
        has = os.path.isfile(found) and os.path.isfile(_find(root, "TrainImagelist.txt"))
        return f"it holds {found.relative_to(root).as_posix()} and TrainImagelist.txt" if has else None

    def read(self, reading: Reading) -> Records:
        """Images in the order of Imagelist.txt where AllLabels is there, else training before test.

        Classes are in the order of Concepts81.txt. Images that are not there are left out and counted: the set was
        published as addresses, of which many lead nowhere by now. Images without any concept stay. Raises DataError,
        naming everything found at once, for wrong data.
        """
        problems = reading.problems
        concepts = list(_lines(_find(self.root, CONCEPTS), problems))
        if len(concepts) > MOST_CONCEPTS:
            raise DataError(f"{CONCEPTS} below {self.root} has {len(concepts)} lines, expected 81; restore the file")
        marks = Marks(self.image_root(self.root), reading)
        problems.extend("concepts are no part of a file's name", (short(name) for name in concepts if "/" in name))
        columns = {name: marks.label(name) for name in concepts if "/" not in name}
        parts = {
            part: _lines(_find(self.root, f"{part}Imagelist.txt"), problems, split) for part, split in LISTS.items()
        }
        if os.path.isfile(whole := _find(self.root, WHOLE)) and os.path.isdir(_find(self.root, "AllLabels")):
            parts = {"": _with_splits(_lines(whole, problems), parts, problems)}
        rows = _rows(parts, self._folder(), marks, reading)
        wanted = [name for name, column in columns.items() if column != NOWHERE]
        for concept in track(reading.progress, wanted, "reading concepts", len(wanted), "concepts"):
            for part, at in rows.items():
                states = _states(_find(self.root, _file_name(concept, part)), len(at), reading)
                told = states != ABSENT
                marks.extend(at[told], 0 * at[told] + columns[concept], states[told])
        records = self.records(marks, reading, ABSENT, self.root)
        if bare := int((records.full_labels != PRESENT).all(axis=1).sum()):
            reading.notes.append(agreeing(bare, "images show none of the concepts and are kept"))
        return records

    def _folder(self) -> str:
        """The folder below the images' root that names are relative to."""
        root = self.image_root(self.root)
        return next((f"{name}/" for name in IMAGES if os.path.isdir(root / name)), "")


def _rows(parts: Parts, folder: str, marks: Marks, reading: Reading) -> dict[str, np.ndarray]:
    """(N,) for each part: the row of each of its images in the label matrix."""
    import numpy as np

    found, missing, first = {}, 0, ""
    for part, names in parts.items():
        found[part] = np.full(len(names), NOWHERE)
        for place, (name, split) in enumerate(names.items()):
            if marks.has(folder + name):
                found[part][place] = marks.image(folder + name, split)
            else:
                missing, first = missing + 1, first or name
    if missing and marks.images:
        reading.notes.append(agreeing(missing, f"missing images are left out; {len(marks.images)} are there"))
    elif missing:
        reading.problems.add("images are missing, all that the lists name", short(first))
    return found


def _with_splits(names: Images, parts: Parts, problems: Problems) -> Images:
    """The split of each of `names`, of which one part has to be."""
    for name in names:
        of = [part[name] for part in parts.values() if name in part]
        if len(of) != 1:
            problems.add("images are not in one of the lists of training and test", f"{short(name)}: in {len(of)}")
        names[name] = of[0] if of else None
    return names


def _states(path: Path, images: int, reading: Reading) -> np.ndarray:
    """(N,) int8: what a file of labels says of the images of its list, in their order."""
    import numpy as np

    cells = text_of(path, _MOST_BYTES, reading.problems).split()
    if len(cells) != images and path.name not in reading.problems.get("files are missing", ()):
        told = f"{path.name}: {counted(len(cells), 'line')}, {counted(images, 'image')}"
        reading.problems.add("files of labels do not have a line for each image", told)
    states = np.fromiter((CELLS.get(cell, _BAD) for cell in cells), np.int8, len(cells))
    wrong = np.flatnonzero(states == _BAD).tolist()
    if wrong and [(path.name, cells[row]) for row in wrong] == [KNOWN_ERROR]:
        reading.notes.append(
            f"line {wrong[0] + 1} of {path.name} is {KNOWN_ERROR[1]}, an error of the release: unknown"
        )
    elif wrong:
        told = f"{path.name}: {len(wrong)}, the first in line {wrong[0] + 1}: '{short(cells[wrong[0]])}'"
        reading.problems.add("files of labels have cells that are neither 0 nor 1", told)
    states[wrong] = UNKNOWN
    return np.resize(states, images) if len(states) else np.full(images, UNKNOWN, np.int8)


def _file_name(concept: str, part: str) -> str:
    return f"Labels_{concept}_{part}.txt" if part else f"Labels_{concept}.txt"


def _find(root: Path, name: str) -> Path:
    """Where a file or folder of the release lies: in one of its folders, or in `root`."""
    places = [root / folder / name for folder in FOLDERS]
    return next((path for path in places if os.path.exists(path)), root / name)


def _lines(path: Path, problems: Problems, split: str | None = None) -> Images:
    """The names in a file, one a line, which comes once."""
    lines = [
        name for line in text_of(path, _MOST_BYTES, problems).splitlines() if (name := line.strip().replace("\\", "/"))
    ]
    names: Images = dict.fromkeys(lines, split)
    if len(names) < len(lines):
        twice = (short(name) for name, count in Counter(lines).items() if count > 1)
        problems.extend(f"names are twice in {path.name}", twice)
    return names
