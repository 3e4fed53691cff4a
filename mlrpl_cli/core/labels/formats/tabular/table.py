"""The user's own labels: a table with an image column and a column per class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

from pydantic import Field

from mlrpl_cli.core.io.errors import ConfigError, DataError, did_you_mean
from mlrpl_cli.core.io.progress import track
from mlrpl_cli.core.io.reading import is_name, short
from mlrpl_cli.core.labels.formats.tabular import columns as known
from mlrpl_cli.core.labels.formats.tabular.columns import ASK_FOR_CODING, BAD, EMPTY, MINUS_ONE, state_of
from mlrpl_cli.core.labels.formats.tabular.options import TableOptions, recognised, report_repeated
from mlrpl_cli.core.labels.formats.tabular.sheets import Sheet
from mlrpl_cli.core.labels.formats.tabular.splits import split_columns
from mlrpl_cli.core.labels.marks import Marks
from mlrpl_cli.core.labels.records import Reading, Records
from mlrpl_cli.core.labels.states import ABSENT, PRESENT, UNKNOWN

if TYPE_CHECKING:
    import numpy as np

_FOREIGN = "cells are none of 1/yes/present, 0/no/absent, empty/?/unknown"


class Table(TableOptions):
    """The user's own labels: every column is a class but the image's, a split's, and those that are never classes."""

    coding: Literal["minus-one-absent", "minus-one-unknown"] | None = Field(
        None, description="what cells of -1 mean, cells of 0 then being the other of absent and unknown"
    )
    label_columns: tuple[str, ...] | None = Field(None, description="the columns that are classes, by name")

    holds: ClassVar[str] = "a CSV, TSV, Parquet or XLSX file with a column per class, or a folder with just one"
    is_general: ClassVar[bool] = True

    @classmethod
    def recognise(cls, root: Path) -> str | None:
        return recognised(root, lambda names: not known.has_tag_column(names), "a column per class")

    def read(self, reading: Reading) -> Records:
        """Images and labels in the order of the table's rows.

        Cells, in any case: 1, yes, true, present, wahr, vrai, vero, x and the like; 0, no, false, absent, falsch, faux,
        falso; ?, unknown, nan, na, n/a, none, null, -; numbers with either decimal mark. A −1 is refused unless
        `coding` says what it and 0 mean. An empty cell is unknown, but in a table that says "absent" nowhere it may be
        the other answer: there, `unlisted` has to say.
        Raises DataError, naming everything found at once, for wrong data.
        """
        import numpy as np

        sheet, problems = self.read_sheet(reading), reading.problems
        roles = _find_roles(sheet, self, reading)
        marks = Marks(self.image_root(sheet.path), reading, (sheet.names[column] for column in roles.classes))
        splits = self.splits(sheet, reading, roles.taken)
        rows = np.array(self.image_rows(sheet, splits, marks, reading))
        report_repeated(sheet.path.name, rows.tolist(), reading)
        codes = self._codes(sheet, roles.classes, reading)
        unlisted, ticks = self._empty_means(sheet, roles.classes, codes, reading)
        for column, states in zip(roles.classes, codes, strict=True):
            told = states <= PRESENT
            at = marks.label(sheet.names[column])
            marks.extend(rows[told], (0 * rows + at)[told], states[told])
            if column in ticks and self.unlisted == "absent":
                marks.checked(rows, rows[:1] * 0 + at)
        if any((states == MINUS_ONE).any() for states in codes):
            problems.raise_if_any(str(sheet.path), ASK_FOR_CODING)
        where = (
            f"{sheet.path} (images in column '{short(sheet.names[roles.image])}', below {self.image_root(sheet.path)})"
        )
        problems.raise_if_any(where, "correct the table, name the images' folder with --images, or --ignore-columns")
        return self.records(marks, reading, unlisted, sheet.path)

    def _codes(self, sheet: Sheet, columns: Sequence[int], reading: Reading) -> list[np.ndarray]:
        """(R,) int8 for each class: label states, and codes of other cells, problems unless they are empty."""
        code_of = state_of(self.coding)
        listed = track(reading.progress, columns, "reading labels", len(columns), "columns")
        codes = [sheet.codes(column, code_of) for column in listed]
        foreign = [column for column, states in zip(columns, codes, strict=True) if not (states < BAD).any()]
        for column, states in zip(columns, codes, strict=True):
            if column in foreign and (states == BAD).any():
                cell = next(cell for cell in sheet.column(column) if cell)
                told = f"{short(sheet.names[column])}: '{short(cell)}'"
                reading.problems.add(_kind_of(sheet.column(column)), told)
                continue
            for code, usual in ((MINUS_ONE, "cells hold -1"), (BAD, _FOREIGN)):
                for row in (states == code).nonzero()[0].tolist():
                    cell, name = short(sheet.column(column)[row]), short(sheet.names[column])
                    what = known.SCORES if known.is_score(cell) else usual
                    reading.problems.add(what, f"row {sheet.numbers[row]} '{name}': '{cell}'")
        return codes

    def _empty_means(
        self, sheet: Sheet, columns: Sequence[int], codes: Sequence[np.ndarray], reading: Reading
    ) -> tuple[int, set[int]]:
        """The state of an empty cell, and the columns for which only `unlisted` says it, where others say "absent"."""
        empty = any((states == EMPTY).any() for states in codes)
        says_absent = all(_says_absent(codes, rows) for rows in _rows_of_files(sheet))
        ticks = _columns_of_ticks(sheet, columns, codes) if says_absent and not reading.problems else []
        if ticks:
            names = ", ".join(short(sheet.names[column]) for column in ticks)
            self.otherwise(sheet.path, reading, f"what is there in {names} and leaves the other cells empty,")
            reading.unlisted = f"{self.unlisted}: --unlisted, in {names}; else unknown: an empty cell of a table"
            return UNKNOWN, set(ticks)
        if self.unlisted or (empty and not reading.problems and not says_absent):
            return self.otherwise(sheet.path, reading, "what is there, leaves the other cells empty,"), set()
        if empty:
            reading.unlisted = "unknown: an empty cell of a table"
        return UNKNOWN, set()

    def label_columns_of(self, sheet: Sheet, reading: Reading) -> list[int]:
        """Those that are named as classes, else all that are called as nothing else."""
        left = set(range(len(sheet.names))) - {self.images_at(sheet)} - self.ignored(sheet)
        if (chosen := self.chosen(reading)) is not None:
            return [column for column in sorted(left) if sheet.names[column] in chosen]
        left -= split_columns(sheet, self.ignored(sheet))
        return [c for c in sorted(left) if not known.is_index(sheet, c) and not known.is_reserved(sheet.names[c])]

    def chosen(self, reading: Reading) -> set[str] | None:
        """The names of the columns that are classes, those that are merged into one among them; None when not told."""
        named = self.label_columns if self.label_columns is not None else reading.classes
        return None if named is None else {*named, *(old for old, new in reading.merged.items() if new in named)}


def _rows_of_files(sheet: Sheet) -> list[np.ndarray]:
    """(R,) bool for each file of `sheet`: its rows. What one file says of absence says nothing of another's blanks."""
    import numpy as np

    told = np.array(sheet.splits or [""] * sheet.rows)
    return [told == split for split in dict.fromkeys(told.tolist())]


def _says_absent(codes: Sequence[np.ndarray], rows: np.ndarray) -> bool:
    """Whether some of `rows`, if any is empty in a column, says "absent" in one."""
    return any((states[rows] == ABSENT).any() for states in codes) or not any(
        (states[rows] == EMPTY).any() for states in codes
    )


def _columns_of_ticks(sheet: Sheet, columns: Sequence[int], codes: Sequence[np.ndarray]) -> list[int]:
    """Those that hold ticks or nothing, in a spelling of "present" that no column that says "absent" has.

    Where one has it, the table has a word for absent too, and what is empty is what nobody said.
    """
    usual, ticked = set[str](), dict[int, set[str]]()
    for column, states in zip(columns, codes, strict=True):
        spelt = {cell.casefold() for cell in sheet.distinct(column)}
        words = {known.spelling(word) for word in spelt if known.state_of()(word) == PRESENT}
        if (states == ABSENT).any():
            usual |= words
        elif words and (states == EMPTY).any():
            ticked[column] = words
    return [column for column, words in ticked.items() if not words & usual]


def _kind_of(cells: Sequence[str]) -> str:
    """What a column is in which no cell is a label, and what to do."""
    filled = [cell for cell in cells if cell]
    repeated = 1 < len(set(filled)) < len(filled)
    if all(map(known.is_score, filled)):
        return f"columns hold scores, no labels: {known.BY_THRESHOLD}; --ignore-columns leaves one out"
    if repeated and any("," in cell or ";" in cell for cell in filled):
        return "columns hold words: --ignore-columns leaves one out, and --dataset tags is for one that lists labels"
    told = "columns hold no label: --ignore-columns leaves one out"
    # The same patient or scene in several rows: left out, it would not keep its images together.
    return f"{told}, and --group-column is for one that says which images belong together" if repeated else told


class _Roles(NamedTuple):
    """Positions of the columns of a table."""

    image: int
    classes: list[int]
    taken: set[int]
    """Those that say no split, since they were named as classes or to be ignored."""


def _find_roles(sheet: Sheet, options: Table, reading: Reading) -> _Roles:
    """What each column is."""
    image, ignored = options.images_at(sheet), options.ignored(sheet)
    for name in (*(options.label_columns or ()), *(reading.classes or ())):
        if name not in sheet.names and name not in reading.merged.values():
            raise ConfigError(f"no column of {sheet.path} is called '{name}'; {did_you_mean(name, sheet.names)}")
    if sheet.names[image] in (options.label_columns or ()) and sheet.names.count(sheet.names[image]) == 1:
        raise ConfigError(f"--label-columns names {short(sheet.names[image])}, which names the images; leave it out")
    chosen = options.chosen(reading)
    if both := [name for name in options.ignore_columns if name in (chosen or ())]:
        raise ConfigError(f"--ignore-columns names {short(both[0])}, which is asked for as a class; leave it out")
    taken = ignored | {column for column, name in enumerate(sheet.names) if name in (chosen or ())}
    classes = options.label_columns_of(sheet, reading)
    others = set(range(len(sheet.names))) - {image, *classes} - ignored - split_columns(sheet, taken)
    if chosen is None and others:
        told = ", ".join(short(sheet.names[column] or "the nameless index") for column in sorted(others))
        no_classes = f"columns that are no classes by their names: {told}"
        reading.notes.append(f"{no_classes}; --label-columns takes them as classes")
    if not classes:
        found = ", ".join(map(short, sheet.names))
        advice = "say which they are with --image-column and --label-columns, or with --dataset tags --tag-column"
        raise DataError(f"{sheet.path} has no class column, only {found}; add a column for each class, or {advice}")
    _check_names(sheet, classes, reading)
    return _Roles(image, classes, taken)


def _check_names(sheet: Sheet, classes: Sequence[int], reading: Reading) -> None:
    problems, names = reading.problems, sheet.names
    problems.extend("columns have no name", (f"column {column + 1}" for column in classes if not names[column]))
    odd = [names[column] for column in classes if names[column] and not is_name(names[column])]
    problems.extend("columns have a name that no class can have", map(short, odd))
    counts = Counter(names[column] for column in classes)
    repeated = [short(name) for name, count in counts.items() if name and count > 1]
    problems.extend("names stand over several columns", repeated)
