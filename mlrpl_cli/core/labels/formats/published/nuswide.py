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

from mlrpl_cli.core.io.errors import DataError, Problems, one_line
from mlrpl_cli.core.io.progress import track
from mlrpl_cli.core.io.reading import MIB, read_text, short
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
Parts = dict[str, dict[str, str | None]]
"""The splits of the images of "Train" and "Test", or of "", which is all, in the order of their files of labels."""
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
        concepts = _lines(_find(self.root, CONCEPTS), problems)
        marks = Marks(self.image_root(self.root), reading)
        problems.extend("concepts are no part of a file's name", (short(name) for name in concepts if "/" in name))
        columns = {name: marks.label(name) for name in concepts if "/" not in name}
        lists = {part: _lines(_find(self.root, f"{part}Imagelist.txt"), problems) for part in LISTS}
        parts: Parts = {part: dict.fromkeys(names, LISTS[part]) for part, names in lists.items()}
        if os.path.isfile(whole := _find(self.root, WHOLE)) and os.path.isdir(_find(self.root, "AllLabels")):
            parts = {"": _with_splits(_lines(whole, problems), parts, problems)}
        rows = _rows(parts, self._folder(), marks, reading)
        wanted = [name for name, column in columns.items() if column != NOWHERE]
        for concept in track(reading.progress, wanted, "reading concepts", len(wanted), "concepts"):
            for part, at in rows.items():
                states = _states(_find(self.root, _file_name(concept, part)), len(at), reading)
                marks.extend(at, 0 * at + columns[concept], states)
        records = self.records(marks, reading, ABSENT, self.root)
        if bare := int((records.full_labels != PRESENT).all(axis=1).sum()):
            reading.notes.append(f"{bare} images show none of the concepts and stay")
        return records

    def _folder(self) -> str:
        """The folder below the images' root that names are relative to."""
        root = self.image_root(self.root)
        return next((f"{name}/" for name in IMAGES if os.path.isdir(root / name)), "")


def _rows(parts: Parts, folder: str, marks: Marks, reading: Reading) -> dict[str, np.ndarray]:
    """(N,) for each part: the row of each of its images in the label matrix."""
    import numpy as np

    missing, found = 0, {}
    for part, names in parts.items():
        there = {name: marks.has(folder + name) for name in names}
        missing += len(names) - sum(there.values())
        rows = [marks.image(folder + name, split) if there[name] else NOWHERE for name, split in names.items()]
        found[part] = np.array(rows, int)
    if missing and marks.images:
        reading.notes.append(f"{missing} images that are not there are left out; {len(marks.images)} are")
    elif missing:
        reading.problems.add("images are missing, all that the lists name", next(iter(next(iter(parts.values())))))
    return found


def _with_splits(names: list[str], parts: Parts, problems: Problems) -> dict[str, str | None]:
    """The split of each of `names`, of which one part has to be."""
    found: dict[str, str | None] = {}
    for name in names:
        of = [part[name] for part in parts.values() if name in part]
        if len(of) != 1:
            problems.add("images are not in one of the lists of training and test", f"{short(name)}: in {len(of)}")
        found[name] = of[0] if of else None
    return found


def _states(path: Path, images: int, reading: Reading) -> np.ndarray:
    """(N,) int8: what a file of labels says of the images of its list, in their order."""
    import numpy as np

    cells = _text(path, reading.problems).split()
    if len(cells) != images and path.name not in reading.problems.get("files are missing", ()):
        told = f"{path.name}: {len(cells)} lines, {images} images"
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


def _lines(path: Path, problems: Problems) -> list[str]:
    """The names in a file, one a line, each once."""
    names = [line.strip().replace("\\", "/") for line in _text(path, problems).splitlines() if line.strip()]
    times = Counter(names)
    problems.extend(f"names are twice in {path.name}", (short(name) for name, count in times.items() if count > 1))
    return list(times)


def _text(path: Path, problems: Problems) -> str:
    try:
        return read_text(path, _MOST_BYTES, "utf-8-sig")
    except FileNotFoundError:
        problems.add("files are missing", path.name)
    except (OSError, ValueError, DataError) as error:
        problems.add("files cannot be read", f"{path.name}: {one_line(error)}")
    return ""
