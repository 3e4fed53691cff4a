"""What every format that is a table may be told, and how it comes from its file or files to one sheet."""

from __future__ import annotations

import os
import posixpath
import zipfile
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import Field

from mlrpl_cli.core.io.errors import ConfigError, DataError, Problems, first_few
from mlrpl_cli.core.io.reading import short
from mlrpl_cli.core.labels.formats.tabular.columns import FOLD_COLUMNS, image_column
from mlrpl_cli.core.labels.formats.tabular.dialect import SEPARATORS, peek
from mlrpl_cli.core.labels.formats.tabular.files import split_in, table_files
from mlrpl_cli.core.labels.formats.tabular.sheets import Sheet, joined, key_of, read_table
from mlrpl_cli.core.labels.formats.tabular.splits import split_columns, splits_of
from mlrpl_cli.core.labels.marks import NOWHERE, Marks
from mlrpl_cli.core.labels.own import Tagged
from mlrpl_cli.core.labels.records import Reading


class TableOptions(Tagged):
    """What every format that is a table of text may be told."""

    separator: Literal["comma", "semicolon", "tab", "pipe"] | None = Field(
        None, description="what stands between the cells of a table of text, else what fits"
    )
    encoding: str | None = Field(None, description="encoding of a table of text, such as cp1252, else what fits")
    ignore_columns: tuple[str, ...] = Field((), description="columns that are not read, by name")
    test_fold: str | None = Field(None, description="the fold whose images test, where a column numbers folds")
    sheet: str | None = Field(None, description="the sheet of an XLSX file with several, by its title")

    def splits(self, sheet: Sheet, reading: Reading, taken: Collection[int] = ()) -> list[str | None]:
        """The split of each row, by the columns that are not to be ignored, nor `taken`, and the names of files.

        Raises ConfigError where they contradict each other.
        """
        taken = {*taken, *self.ignored(sheet)}
        columns = sorted(split_columns(sheet, taken))
        if sheet.splits is None or not columns:
            return list(sheet.splits or splits_of(sheet, reading, self.test_fold, taken))
        numbers_folds = sheet.keys[columns[0]] in map(key_of, FOLD_COLUMNS)
        told = [] if numbers_folds else splits_of(sheet, reading, None, taken)
        reading.problems.raise_if_any(str(sheet.path), "correct the splits, or leave the column out")
        if told != list(sheet.splits):
            names = ",".join(short(sheet.names[column]) for column in columns)
            raise ConfigError(
                f"column {names} says other splits than the names of the tables in {sheet.path}: "
                f"--ignore-columns {names} takes those of the files, --root one of the files takes the column's"
            )
        return told

    def image_rows(self, sheet: Sheet, splits: Sequence[str | None], marks: Marks, reading: Reading) -> list[int]:
        """The row of the image of each row of `sheet`; a row that names none is a problem.

        Images of files that are called after splits may lie in folders that are, too.
        """
        images = sheet.column(image_column(sheet))
        bare = (f"row {number}" for number, image in zip(sheet.numbers, images, strict=True) if not image)
        reading.problems.extend("rows name no image", bare)
        root = self.image_root(sheet.path)
        folders = {split_in(name): name for name in _folders_in(root)} if sheet.splits else {}
        rows = []
        for image, split in zip(images, splits, strict=True):
            beside = posixpath.join(folders.get(split, ""), image)
            is_beside = bool(image) and split in folders and not marks.has(image) and marks.has(beside)
            rows.append(marks.image(beside if is_beside else image, split) if image else NOWHERE)
        return rows

    def ignored(self, sheet: Sheet) -> set[int]:
        """The columns that are not read."""
        return {column for column, name in enumerate(sheet.names) if name in self.ignore_columns}

    def label_columns_of(self, sheet: Sheet, reading: Reading) -> list[int]:
        """The columns of `sheet` that hold labels, by their names."""
        raise NotImplementedError

    def read_sheet(self, reading: Reading) -> Sheet:
        """The table at `root`, or those called after splits, of which those without a label are left out, and named.

        Raises DataError where these have other columns than the one of training, and ConfigError for an option that is
        of no use.
        """
        files = table_files(self.root)
        if self.sheet is not None and not any(path.suffix.lower() == ".xlsx" for path in files):
            raise ConfigError(f"--sheet names a sheet of an XLSX file, and {next(iter(files))} is none; leave it out")
        separator = self.separator and SEPARATORS[self.separator]
        sheets = [
            read_table(path, reading.problems, separator, self.encoding, title=self.sheet if _is_book(path) else None)
            for path in files
        ]
        reading.notes.extend(dict.fromkeys(note for sheet in sheets for note in sheet.notes))
        if len(sheets) == 1:
            return sheets[0]
        first = sheets[0]
        needed = [first.names[column] for column in self.label_columns_of(first, reading)]
        labelled = [first, *(sheet for sheet in sheets[1:] if _holds_any(sheet, needed))]
        for sheet in sheets:
            if not any(sheet is other for other in labelled):
                reading.notes.append(f"{sheet.path.name} holds no label and is left out")
        for sheet in labelled[1:]:
            own = [sheet.names[column] for column in self.label_columns_of(sheet, reading)]
            _check_columns(first, sheet, needed, own)
        splits = [split for sheet in labelled if (split := files[sheet.path])]
        if len(labelled) == 1:
            return first
        told = ", ".join(f"{sheet.path.name}: {split}" for sheet, split in zip(labelled, splits, strict=True))
        reading.notes.append(f"tables are called after splits and are read as these: {told}")
        return joined(self.root, labelled, splits)


def _folders_in(folder: Path) -> list[str]:
    """The folders in a folder, sorted; none for what cannot be listed."""
    try:
        return sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())
    except OSError:
        return []


def _is_book(path: Path) -> bool:
    return path.suffix.lower() == ".xlsx"


def _holds_any(sheet: Sheet, names: Collection[str]) -> bool:
    """Whether one of the columns that are called `names` has a cell."""
    return any(name in names and any(sheet.column(column)) for column, name in enumerate(sheet.names))


def _check_columns(first: Sheet, other: Sheet, needed: Sequence[str], own: Sequence[str]) -> None:
    """Raise DataError unless `other` has the columns of images and of labels that the table of training has."""
    wanted = [first.names[image_column(first)], *needed]
    lacks = [name for name in wanted if name not in other.names]
    more = [name for name in own if name not in wanted]
    twice = len(set(first.names)) < len(first.names) or len(set(other.names)) < len(other.names)
    if lacks or more or twice:
        told = (
            *([f"lacks {_listed(lacks)}"] if lacks else ()),
            *([f"has {_listed(more)} beside"] if more else ()),
            *(["has two columns of one name, or the first has"] if twice else ()),
        )
        both = f"{other.path.name} and {first.path.name} in {other.path.parent} need the same columns"
        raise DataError(
            f"{both}: the first {', and '.join(told)}; make the columns the same, or name one of the files with --root"
        )


def report_repeated(where: str, rows: Iterable[int], reading: Reading) -> None:
    """A note of the images that come in several rows. What the rows say is joined; contradictions are problems."""
    counts = Counter(row for row in rows if row != NOWHERE)
    if several := sum(count > 1 for count in counts.values()):
        reading.notes.append(f"{several} images of {where} come in several rows, whose labels are joined")


def recognised(root: Path, fits: Callable[[list[str]], bool], what: str) -> str | None:
    """Why `root` is a table of a kind, by the keys of its header; None when it is none."""
    try:
        path, *others = table_files(root)
    except DataError:
        return None
    if path.suffix.lower() in (".parquet", ".xlsx"):
        names = list(_names(path, _state(path)))
        if not names and not (_is_book(path) and zipfile.is_zipfile(path)):  # what a workbook lacks, reading says
            return None
    else:
        beginning = peek(path)
        if len(beginning) < 2 or len(beginning[0]) < 2:
            return None
        names = beginning[0]
    told = ", ".join(found.name for found in (path, *others))
    kind = "are tables" if others else "is a table"
    return f"{told} {kind} with {what}" if fits(names) else None


@lru_cache(maxsize=1)
def _names(path: Path, state: tuple[int, int] | None) -> tuple[str, ...]:
    """The names of the columns of a file that has to be read whole for them; () for what is no table.

    Several formats ask for them. `state` tells the file's content from an earlier one.
    """
    try:
        return read_table(path, Problems()).names
    except DataError:
        return ()


def _state(path: Path) -> tuple[int, int] | None:
    """Size and time of change; None for what is not there."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_size, status.st_mtime_ns


def _listed(values: Iterable[str]) -> str:
    return first_few(map(short, values), 6)
