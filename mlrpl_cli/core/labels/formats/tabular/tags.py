"""Tables with all labels of an image in one cell."""

from __future__ import annotations

import ast
import json
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from mlrpl_cli.core.io.errors import ConfigError, DataError
from mlrpl_cli.core.io.reading import MIB, short, shown
from mlrpl_cli.core.labels.formats.tabular import columns as known
from mlrpl_cli.core.labels.formats.tabular.long import STATE_COLUMNS
from mlrpl_cli.core.labels.formats.tabular.sheets import Sheet, key_of
from mlrpl_cli.core.labels.marks import Marks
from mlrpl_cli.core.labels.records import Reading, Records
from mlrpl_cli.core.labels.states import PRESENT

MARKS = {"comma": ",", "semicolon": ";", "pipe": "|", "space": " "}
_LONGEST_LIST = MIB  # characters of a list that is written as Python or JSON writes it


class Tags(known.TableOptions):
    """A row an image, with its labels in one column."""

    tag_column: str | None = Field(None, description="the column that lists the labels, else one that is called so")
    tag_separator: Literal["comma", "semicolon", "pipe", "space", "none"] | None = Field(
        None, description="what stands between the labels of an image, else what the cells show"
    )

    holds: ClassVar[str] = "a CSV, TSV, Parquet or XLSX file with a column that lists the labels of each image"
    is_general: ClassVar[bool] = True

    @classmethod
    def recognise(cls, root: Path) -> str | None:
        return known.recognised(root, _fits, "all labels of an image in one column")

    def read(self, reading: Reading) -> Records:
        """Images in the order of the rows, classes in the order of their names.

        A cell holds labels with `tag_separator` between them, or a list as JSON and Python write it. Cells that have
        spaces and no other separator are not guessed at. What is not listed is what `unlisted` says.
        Raises DataError, naming everything found at once, for wrong data.
        """
        sheet, problems = self.sheet(reading), reading.problems
        column = self._column(sheet)
        what = f"column {short(sheet.names[column])} of {sheet.path}"
        lists = split_up(sheet.column(column), what, self.tag_separator)
        unlisted = self.otherwise(sheet.path, reading)
        marks = Marks(self.image_root(sheet.path), reading, sorted({name for names in lists for name in names}))
        split = sheet.find(*known.SPLIT_COLUMNS)
        splits = known.flagged_splits(sheet, reading) if split is None else known.named_splits(sheet, split, reading)
        images = sheet.column(known.image_column(sheet))
        for number, image, split_name, names in zip(sheet.numbers, images, splits, lists, strict=True):
            if not image:
                problems.add("rows name no image", f"row {number}")
            row = marks.image(image, split_name) if image else -1
            for name in names:
                marks.mark(row, marks.label(name), PRESENT)
        return self.records(marks, reading, unlisted, sheet.path)

    def _column(self, sheet: Sheet) -> int:
        found = sheet.find(self.tag_column) if self.tag_column else sheet.find(*known.TAG_COLUMNS)
        if found is None:
            names = ", ".join(map(short, sheet.names))
            raise DataError(f"{sheet.path} has no column of labels, only {names}; name it with --tag-column")
        return found


def split_up(cells: Sequence[str], what: str, separator: str | None = None) -> list[list[str]]:
    """The labels that each cell lists; `what` is what the cells are of.

    Raises ConfigError, which asks, where they do not show what stands between labels, and DataError for lists of
    anything but names.
    """
    spelt = {cell: _as_list(cell, what) for cell in set(cells)}
    plain = [cell for cell, names in spelt.items() if names is None]
    mark = MARKS.get(separator) if separator else _mark(plain, what)
    for cell in plain:
        spelt[cell] = [name for part in (cell.split(mark) if mark else [cell]) if (name := part.strip())]
    return [spelt[cell] or [] for cell in cells]


def _as_list(cell: str, what: str) -> list[str] | None:
    """The labels of a cell that is a list as JSON or Python writes it; None for any other."""
    if not (cell.startswith("[") and cell.endswith("]")) or len(cell) > _LONGEST_LIST:
        return None
    for read in (json.loads, ast.literal_eval):
        try:
            names = list(read(cell))
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            continue
        if odd := [name for name in names if not isinstance(name, str | int | float) or isinstance(name, bool)]:
            raise DataError(f"{what} lists {shown(odd[0])}, which is no label; name another with --tag-column")
        return [str(name) for name in names]
    return None


def _mark(cells: list[str], what: str) -> str | None:
    """What stands between the labels of `cells`. Raises ConfigError, which asks, where they do not show it."""
    shown_marks = [name for name in ("comma", "semicolon", "pipe") if any(MARKS[name] in cell for cell in cells)]
    if len(shown_marks) == 1:
        return MARKS[shown_marks[0]]
    spaced = next((cell for cell in cells if " " in cell), None)
    if shown_marks or spaced is not None:
        found = ", ".join(shown_marks) or f"spaces, as in '{short(str(spaced))}'"
        asked = f"say with --tag-separator what stands between two labels ({', '.join(MARKS)}, none)"
        raise ConfigError(f"{what} has {found} between its words: {asked}")
    return None


def _fits(names: list[str]) -> bool:
    keys = set(map(key_of, names))
    listed, others = keys & set(map(key_of, known.TAG_COLUMNS)), keys & set(map(key_of, (*STATE_COLUMNS, *known.FLAGS)))
    return bool(listed) and not others - set(known.FLAGS)
