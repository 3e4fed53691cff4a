"""Tables with all labels of an image in one cell."""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from mlrpl_cli.core.io.errors import ConfigError, DataError, agreeing
from mlrpl_cli.core.io.reading import MIB, short, shown
from mlrpl_cli.core.labels.formats.tabular import columns as known
from mlrpl_cli.core.labels.formats.tabular.long import STATE_COLUMNS
from mlrpl_cli.core.labels.formats.tabular.options import TableOptions, recognised, report_repeated
from mlrpl_cli.core.labels.formats.tabular.sheets import Sheet, key_of
from mlrpl_cli.core.labels.formats.tabular.splits import split_columns
from mlrpl_cli.core.labels.marks import Marks
from mlrpl_cli.core.labels.records import Reading, Records
from mlrpl_cli.core.labels.states import ABSENT, PRESENT, UNKNOWN

NO_LABEL = frozenset(("no finding", "no findings", "no label", "no labels", "no tag", "no tags"))
"""What stands alone in a cell that lists nothing, as in NIH's ChestX-ray, in any case."""
MARKS = {"comma": ",", "semicolon": ";", "pipe": "|", "newline": "\n", "space": " "}
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")
_ADJACENT = re.compile(r"\[((?:\s*(?:'[^']*'|\"[^\"]*\"))(?:\s+(?:'[^']*'|\"[^\"]*\"))+)\s*\]")
_LONGEST_LIST = MIB  # characters of a list that is written as Python or JSON writes it


class Tags(TableOptions):
    """A row an image, with its labels in one column."""

    tag_column: str | None = Field(None, description="the column that lists the labels, else one that is called so")
    tag_separator: Literal["comma", "semicolon", "pipe", "newline", "space", "none"] | None = Field(
        None, description="what stands between the labels of an image, else what the cells show"
    )

    holds: ClassVar[str] = "a CSV, TSV, Parquet or XLSX file with a column that lists the labels of each image"
    is_general: ClassVar[bool] = True

    @classmethod
    def recognise(cls, root: Path) -> str | None:
        return recognised(root, _fits, "all labels of an image in one column")

    def read(self, reading: Reading) -> Records:
        """Images in the order of the rows, classes in the order of their names.

        A cell holds labels with `tag_separator` between them, or a list as JSON and Python write it. Cells that have
        spaces and no other separator are not guessed at. What is not listed is what `unlisted` says.
        Raises DataError, naming everything found at once, for wrong data.
        """
        sheet, problems = self.read_sheet(reading), reading.problems
        column = self._column(sheet, reading)
        what = f"column {short(sheet.names[column])} of {sheet.path}"
        lists = split_up(sheet.column(column), what, self.tag_separator)
        known.check_names(lists, what)
        unlisted = self.otherwise(sheet.path, reading)
        lists = without_words(lists, reading)
        marks = Marks(self.image_root(sheet.path), reading, sorted({name for names in lists for name in names or ()}))
        splits = self.splits(sheet, reading)
        at, silent, labelled = self.images_at(sheet), set[int](), set[int]()
        images = sheet.column(at)
        if column == at:
            raise ConfigError(f"--tag-column names {short(sheet.names[at])}, which names the images; name another")
        others = set(range(len(sheet.names))) - {at, column} - self.ignored(sheet) - split_columns(sheet)
        is_repeated = len(set(images)) < len(images)
        self._check_answers(sheet, sorted(others if is_repeated else others & {*self.called(sheet, STATE_COLUMNS)}))
        rows = self.image_rows(sheet, splits, marks, reading)
        for number, row, names in zip(sheet.numbers, rows, lists, strict=True):
            (silent if names is None else labelled).add(row)
            if NO_LABEL & {name.casefold() for name in names or ()} and len(names or ()) > 1:
                problems.add("rows say that there is no label beside labels", f"row {number}")
            for name in names or ():
                marks.mark(row, marks.label(name), PRESENT)
        report_repeated(sheet.path.name, rows, reading)
        if silent:
            reading.notes.append(
                agreeing(len(silent), "images without a label (nan, none or the like) are unknown in every class")
            )
        self.check_labelled(marks, labelled - silent, unlisted)
        return self.records(marks, reading, UNKNOWN, sheet.path)

    def _check_answers(self, sheet: Sheet, columns: Sequence[int]) -> None:
        """Raise ConfigError where one of `columns`, which are not read, says yes and no: maybe of the labels.

        Those are columns that are called so, and of a table whose images repeat all.
        """
        for column in columns:
            answers = set(sheet.codes(column, known.state_of()).tolist())
            if {PRESENT, ABSENT} <= answers and known.BAD not in answers:
                name = short(sheet.names[column])
                raise ConfigError(
                    f"column {name} of {sheet.path} says yes and no of each row: --dataset long "
                    f"--state-column {name} if it says whether an image shows the label, else --ignore-columns {name}"
                )

    def label_columns_of(self, sheet: Sheet, reading: Reading) -> list[int]:
        return self.called(sheet, (self.tag_column,) if self.tag_column else known.TAG_COLUMNS)

    def _column(self, sheet: Sheet, reading: Reading) -> int:
        """The column of labels. Raises ConfigError, which asks, for several."""
        found = self.label_columns_of(sheet, reading)
        names = ", ".join(short(sheet.names[column]) for column in found or range(len(sheet.names)))
        if not found:
            raise DataError(f"{sheet.path} has no column of labels, only {names}; name it with --tag-column")
        if len(found) > 1:
            raise ConfigError(f"columns {names} of {sheet.path} can each be labels; name one with --tag-column")
        return found[0]


def without_words(lists: Sequence[list[str] | None], reading: Reading) -> list[list[str] | None]:
    """`lists`, empty where the only name says that there is none, unless it is one of the classes that are wanted."""
    words = {names[0] for names in lists if names and len(names) == 1 and names[0].casefold() in NO_LABEL}
    words -= set(reading.classes or ()) | set(reading.merged)
    if not words:
        return list(lists)
    count = sum(names is not None and len(names) == 1 and names[0] in words for names in lists)
    told = " and ".join(f"'{word}'" for word in sorted(words))
    reading.notes.append(agreeing(count, f"rows say {told}, which is read as no label; --classes takes it as a class"))
    return [[] if names is not None and len(names) == 1 and names[0] in words else names for names in lists]


def split_up(cells: Sequence[str], what: str, separator: str | None = None) -> list[list[str] | None]:
    """The labels that each cell lists, None for one that says nan, none or the like; `what` is what the cells are of.

    Raises ConfigError, which asks, where they do not show what stands between labels, and DataError for lists of
    anything but names.
    """
    spelt = {cell: _as_list(cell, what) for cell in set(cells)}
    state = known.state_of()
    silent = {cell for cell in spelt if state(cell) == UNKNOWN}
    plain = [cell for cell, names in spelt.items() if names is None and cell not in silent]
    mark = MARKS.get(separator) if separator else _mark(plain, what)
    for cell in plain:
        parts = cell.split(mark) if mark else [cell]
        spelt[cell] = [name for part in parts if (name := _unquoted(part.strip()))]
    silent |= {cell for cell, names in spelt.items() if names and {name.lower() for name in names} <= known.MISSING}
    listed = (name for cell, names in spelt.items() if cell not in silent for name in names or ())
    if bare := sorted(name for name in listed if name.lower() in known.MISSING):
        raise DataError(f"{what} lists {bare[0]} beside labels, which is no name of one; list the labels alone")
    return [None if cell in silent else spelt[cell] or [] for cell in cells]


def _unquoted(name: str) -> str:
    """`name` without the quotes around it."""
    return name[1:-1].strip() if len(name) > 1 and name[0] == name[-1] and name[0] in "\"'" else name


def _as_list(cell: str, what: str) -> list[str] | None:
    """The labels of a cell that is a list, as JSON, Python, numpy or a database writes it; None for any other.

    Raises DataError for a list of anything but names.
    """
    if cell[:1] + cell[-1:] not in ("[]", "()", "{}") or len(cell) > _LONGEST_LIST:
        return None
    if quoted := _ADJACENT.fullmatch(cell):  # numpy's, which Python would join to one
        return [_unquoted(name) for name in _QUOTED.findall(quoted[1])]
    for read in (json.loads, _as_python):
        try:
            value = read(cell)
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            continue
        names = [value] if isinstance(value, str) else value
        if not isinstance(names, list | tuple | set):  # the keys of an object may be labels that are not there
            raise DataError(f"{what} holds {shown(value)}, which lists no names; write the labels that are there")
        if odd := [name for name in names if not isinstance(name, str | int | float) or isinstance(name, bool)]:
            raise DataError(f"{what} lists {shown(odd[0])}, which is no label; name another with --tag-column")
        return [str(name).strip() for name in names]
    return [name for part in cell[1:-1].split(",") if (name := _unquoted(part.strip()))]


def _as_python(cell: str) -> Any:
    """The value that Python writes so. Raises what `ast.literal_eval` does, which warns of a name's backslash."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.literal_eval(cell)


def _mark(cells: list[str], what: str) -> str | None:
    """What stands between the labels of `cells`. Raises ConfigError, which asks, where they do not show it."""
    shown_marks = [
        name for name in ("comma", "semicolon", "pipe", "newline") if any(MARKS[name] in cell for cell in cells)
    ]
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
