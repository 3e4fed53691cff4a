"""Roboflow's multi-label classification: a table `_classes.csv` in each of the folders train, valid and test.

Its cells are 1 where an image was given a class and 0 where not, and this reader takes a 0 as absent, since Roboflow
exports images that were annotated. The form follows public exports (`filename, cat, dog`, spaces after the commas);
Roboflow's documentation describes no unknown. That its class "Unlabeled" marks images without annotation is taken from
its name.
"""

from __future__ import annotations

import os
import posixpath
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from mlrpl_cli.core.io.errors import DataError, Problems, agreeing, first_few
from mlrpl_cli.core.io.reading import short
from mlrpl_cli.core.labels.formats.tabular.dialect import peek
from mlrpl_cli.core.labels.formats.tabular.options import report_repeated
from mlrpl_cli.core.labels.formats.tabular.sheets import Sheet, read_table
from mlrpl_cli.core.labels.marks import NOWHERE, Marks
from mlrpl_cli.core.labels.own import GrowingData, home_of, split_folders
from mlrpl_cli.core.labels.records import SPLIT_NAMES, Reading, Records
from mlrpl_cli.core.labels.states import ABSENT, PRESENT, UNKNOWN

if TYPE_CHECKING:
    import numpy as np

FILE, IMAGE, UNLABELLED = "_classes.csv", "filename", "unlabeled"
CELLS = {"1": PRESENT, "0": ABSENT}
_BAD = 2


class Roboflow(GrowingData):
    """Roboflow's multi-label export (train, valid and test)."""

    holds: ClassVar[str] = f"the folder with train/{FILE}, valid/{FILE} and test/{FILE}, or one such file"
    reads_tables: ClassVar[bool] = True

    @classmethod
    def recognise(cls, root: Path) -> str | None:
        found = next((path for path in _files(root) if _begins(path)), None)
        return f"it holds Roboflow's {found.parent.name}/{FILE}" if found else None

    def read(self, reading: Reading) -> Records:
        """Images in the order of the rows, training first; classes in the order of the columns.

        A class that only other files have is unknown. Raises DataError, naming everything
        found at once, for wrong data.
        """
        files = _files(self.root)
        if not files:
            raise DataError(f"{self.root} has no train/{FILE}; name the folder that Roboflow exported with --root")
        home = home_of(self.root)
        sheets = [read_table(path, reading.problems) for path in files]
        marks = Marks(self.image_root(home), reading)
        unlabelled = sum(_mark(sheet, home, marks, reading) for sheet in sheets)
        if unlabelled:
            reading.notes.append(agreeing(unlabelled, "images that Roboflow calls Unlabeled are of unknown classes"))
        headers: list[set[str]] = [set(sheet.names) for sheet in sheets]
        if only := set().union(*headers) - headers[0].intersection(*headers[1:]):
            told = first_few(map(short, sorted(only)))
            reading.notes.append(f"classes that not every {FILE} has are unknown where it has not: {told}")
        self.settle_splits(marks, reading)
        return self.records(marks, reading, UNKNOWN, home)


def _mark(sheet: Sheet, home: Path, marks: Marks, reading: Reading) -> int:
    """What a table says. Returns how many images it calls unlabelled."""
    import numpy as np

    problems, where = reading.problems, sheet.path.relative_to(home).as_posix()
    image = next((column for column, key in enumerate(sheet.keys) if key == IMAGE), None)
    if image is None:
        problems.add(f"tables have no column {IMAGE}", where)
        return 0
    twice = [name for name, count in Counter(sheet.keys).items() if count > 1]
    problems.extend("names stand over several columns", (f"{where}: {short(name)}" for name in twice))
    rows = _rows(sheet, image, home, marks, reading)
    unlabelled, wanted = np.zeros(sheet.rows, bool), reading.classes or ()
    for column, name in enumerate(sheet.names):
        if sheet.keys[column] == UNLABELLED and name not in wanted:
            unlabelled |= _codes(sheet, column, where, problems) == PRESENT
    for column, name in enumerate(sheet.names):
        is_class = column != image and (sheet.keys[column] != UNLABELLED or name in wanted)
        if is_class and (at := marks.label(name)) != NOWHERE:
            states = np.where(unlabelled, UNKNOWN, _codes(sheet, column, where, problems))
            marks.extend(rows, np.full(sheet.rows, at), states)
    return int(unlabelled.sum())


def _codes(sheet: Sheet, column: int, where: str, problems: Problems) -> np.ndarray:
    """(R,) int8: the states of a column; a cell of another kind is a problem, and unknown."""
    import numpy as np

    codes = sheet.codes(column, lambda cell: CELLS.get(cell, _BAD))
    wrong, cells = np.flatnonzero(codes == _BAD).tolist(), sheet.column(column)
    name = short(sheet.names[column])
    told = (f"{where} row {sheet.numbers[row]} '{name}': '{short(cells[row])}'" for row in wrong)
    problems.extend("cells are neither 1 nor 0", told)
    codes[wrong] = UNKNOWN
    return codes


def _rows(sheet: Sheet, image: int, home: Path, marks: Marks, reading: Reading) -> np.ndarray:
    """(R,) the row of each image in the label matrix; an image comes once."""
    import numpy as np

    folder, rows = sheet.path.parent.relative_to(home).as_posix().removeprefix("."), []
    split = SPLIT_NAMES.get(folder.casefold())
    for number, name in zip(sheet.numbers, sheet.column(image), strict=True):
        if not name:
            reading.problems.add("rows name no image", f"{sheet.path.relative_to(home).as_posix()} row {number}")
        beside = posixpath.join(folder, name)
        rows.append(marks.image(beside if marks.has(beside) else name, split) if name else NOWHERE)
    report_repeated(sheet.path.relative_to(home).as_posix(), rows, reading)
    return np.array(rows, int)


def _files(root: Path) -> list[Path]:
    """The tables of a root: those in its folders of splits, training first, else the one in it."""
    if not os.path.isdir(root):
        return [root] if root.name == FILE and os.path.isfile(root) else []
    found = [path for name in split_folders(root) if os.path.isfile(path := root / name / FILE)]
    return found or [path for path in (root / FILE,) if os.path.isfile(path)]


def _begins(path: Path) -> bool:
    return [cell.casefold() for cell in next(iter(peek(path, 2)), [])[:1]] == [IMAGE]
