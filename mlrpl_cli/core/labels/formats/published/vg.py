"""VG-200: images of Visual Genome with the 200 most frequent of its objects, the third benchmark of partial labels.

Chen et al. 2022 (SST) and Pu et al. 2022 (SARB) use it: VG-500 of SSGRL (https://github.com/HCPLab-SYSU/SSGRL, whose
lists of images are the same) cut to its first 200 categories. `vg_category_200_labels_index.json` has the indices of
the categories that an image shows, and every other category is negative. That file was not at hand, its form follows
public code that reads it; no release names the categories.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from mlrpl_cli.core.images.names import ImagesById
from mlrpl_cli.core.io.errors import ConfigError, DataError, Problems, agreeing, one_line
from mlrpl_cli.core.io.reading import MIB, read_json, read_text, short, shown
from mlrpl_cli.core.labels.formats.files import json_of, text_of
from mlrpl_cli.core.labels.marks import Marks
from mlrpl_cli.core.labels.own import OwnData
from mlrpl_cli.core.labels.records import TEST, TRAIN, Reading, Records
from mlrpl_cli.core.labels.states import ABSENT, PRESENT

CLASSES = 200
LISTS = {"train_list_500.txt": TRAIN, "test_list_500.txt": TEST}
INDEX = "vg_category_200_labels_index.json"
_MOST_BYTES = 64 * MIB  # sixty times the list of training images


class Vg200(OwnData):
    """VG-200 (train_list_500.txt → train, test_list_500.txt → test)."""

    class_descriptions: Path | None = Field(
        None, description="file with the names of the 200 classes, one a line or a JSON list, in the order of indices"
    )

    default_keep: ClassVar[float] = 0.3
    """As for the other benchmarks."""
    holds: ClassVar[str] = f"the folder with {', '.join(LISTS)} and {INDEX}"
    usual_folder: ClassVar[str] = "VG"

    @classmethod
    def recognise(cls, root: Path) -> str | None:
        return f"it holds {INDEX}" if os.path.isfile(root / INDEX) else None

    def read(self, reading: Reading) -> Records:
        """Images in the order of the lists, training first; classes in the order of their indices.

        Images lie anywhere below the images' folder, such as in VG_100K/ and VG_100K_2/. Raises DataError, naming
        everything found at once, for wrong data, and ConfigError, which asks, when nothing names the classes.
        """
        problems = reading.problems
        names = self._names()
        index = json_of(self.root / INDEX, dict, "lists of indices by image", problems)
        lists = {file: _lines(text_of(self.root / file, _MOST_BYTES, problems)) for file in LISTS}
        images = ImagesById(self.image_root(self.root), problems)
        marks = Marks(self.image_root(self.root), reading)
        columns = [marks.label(name) for name in names]
        for file, listed in lists.items():
            for name in listed:
                indices = _checked(name, index, problems)
                if (path := images.find(os.path.splitext(name)[0])) is None:
                    problems.add("images are missing", short(name))
                else:
                    row = marks.image(path, LISTS[file])
                    for number in indices:
                        marks.mark(row, columns[number], PRESENT)
        if others := len(index.keys() - {name for listed in lists.values() for name in listed}):
            reading.notes.append(agreeing(others, f"images of {INDEX} are in neither list and left out"))
        reading.unlisted = "absent: every index that VG-200 does not list is negative"
        return self.records(marks, reading, ABSENT, self.root)

    def _names(self) -> list[str]:
        """The names of the classes. Raises ConfigError, which asks, without a file of them."""
        path = self.class_descriptions
        if path is None:
            raise ConfigError(
                f"VG-200 numbers its {CLASSES} classes and does not name them: give a file with their names, one a "
                "line in the order of the indices, with --class-descriptions"
            )
        try:
            is_json = path.suffix.lower() == ".json"
            names = read_json(path, _MOST_BYTES) if is_json else _lines(read_text(path, _MOST_BYTES, "utf-8-sig"))
        except (OSError, ValueError) as error:
            raise DataError(f"cannot read {path}: {one_line(error)}; check --class-descriptions") from error
        if not isinstance(names, list) or len(names) != CLASSES or len(set(map(str, names))) != CLASSES:
            got = f"{len(set(map(str, names)))} different ones" if isinstance(names, list) else shown(names)
            raise DataError(f"{path} should hold {CLASSES} names of classes, got {got}; check --class-descriptions")
        return [str(name) for name in names]


def _checked(name: str, index: dict[str, Any], problems: Problems) -> list[int]:
    """The indices of an image; [], and a problem, where they are none."""
    if name not in index:
        problems.add(f"images are not in {INDEX}", short(name))
        return []
    found = index[name]
    if isinstance(found, list) and all(type(number) is int and 0 <= number < CLASSES for number in found):
        return found
    problems.add(f"images have no list of indices from 0 to {CLASSES - 1}", f"{short(name)}: {shown(found)}")
    return []


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]
