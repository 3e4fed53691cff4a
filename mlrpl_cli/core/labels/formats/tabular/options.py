"""What every format that is a table may be told, and how it comes from its file or files to one sheet."""

from __future__ import annotations

import os
import posixpath
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import Field

from mlrpl_cli.core.io.errors import ConfigError, DataError, Problems, did_you_mean, first_few
from mlrpl_cli.core.io.reading import beginning_of, short
from mlrpl_cli.core.labels.formats.tabular.columns import FOLD_COLUMNS, image_column
from mlrpl_cli.core.labels.formats.tabular.dialect import SEPARATORS, EmptyTableError, peek
from mlrpl_cli.core.labels.formats.tabular.files import split_of_file, table_files
from mlrpl_cli.core.labels.formats.tabular.groups import group_at, tell_groups
from mlrpl_cli.core.labels.formats.tabular.sheets import Sheet, joined, key_of, read_table
from mlrpl_cli.core.labels.formats.tabular.splits import numbers_folds, split_columns, splits_of
from mlrpl_cli.core.labels.marks import NOWHERE, Marks
from mlrpl_cli.core.labels.own import Tagged, split_in
from mlrpl_cli.core.labels.records import SPLIT_NAMES, Reading


class TableOptions(Tagged):
    """What every format that is a table of text may be told."""

    separator: Literal["comma", "semicolon", "tab", "pipe"] | None = Field(
        None, description="what stands between the cells of a table of text, else what fits"
    )
    encoding: str | None = Field(None, description="encoding of a table of text, such as cp1252, else what fits")
    image_column: str | None = Field(None, description="the column that names images, else one that is called so")
    ignore_columns: tuple[str, ...] = Field((), description="columns that are not read, by name")
    test_fold: str | None = Field(None, description="the fold whose images test, where a column numbers folds")
    group_column: str | None = Field(
        None,
        description="the column that says which images belong together, such as those of a patient: they are of "
        "one split, and a blank cell says none",
    )
    sheet: str | None = Field(None, description="the sheet of an XLSX file with several, by its title")

    def splits(self, sheet: Sheet, reading: Reading, taken: Collection[int] = ()) -> list[str | None]:
        """The split of each row, by the columns that are not to be ignored, nor `taken`, and the names of files.

        Raises ConfigError where they contradict each other.
        """
        taken = {*taken, *self.ignored(sheet)}
        columns = sorted(split_columns(sheet, taken))
        if self.test_fold is not None and not numbers_folds(sheet, taken):
            needed = f"a column that numbers folds ({', '.join(FOLD_COLUMNS)})"
            raise ConfigError(
                f"--test-fold needs {needed} and nothing else that says splits in {sheet.path}; leave it out"
            )
        if sheet.splits is None or not columns:
            return list(sheet.splits or splits_of(sheet, reading, self.test_fold, taken))
        told = splits_of(sheet, reading, None, taken) if not numbers_folds(sheet, taken) else [""] * sheet.rows
        names = ",".join(short(sheet.names[column]) for column in columns)
        reading.problems.raise_if_any(str(sheet.path), f"--ignore-columns {names} takes the splits of the files")
        if any(split not in (None, file) for split, file in zip(told, sheet.splits, strict=True)):
            raise ConfigError(
                f"column {names} says other splits than the names of the tables in {sheet.path}: "
                f"--ignore-columns {names} takes those of the files, --root one of the files takes the column's"
            )
        return list(sheet.splits)

    def image_rows(self, sheet: Sheet, splits: Sequence[str | None], marks: Marks, reading: Reading) -> list[int]:
        """The row of the image of each row of `sheet`; a row that names none is a problem.

        Images of files that are called after splits may lie in folders that are, too.
        """
        images = sheet.column(self.images_at(sheet))
        bare = (f"row {number}" for number, image in zip(sheet.numbers, images, strict=True) if not image)
        reading.problems.extend("rows name no image", bare)
        root = self.image_root(sheet.path)
        files = sheet.splits or [split_of_file(sheet.path)] * sheet.rows
        folders = _folders_of_splits(root) if any(files) else {}
        rows = []
        for image, split, file in zip(images, splits, files, strict=True):
            places = [posixpath.join(folder, image) for folder in folders.get(file, ())]
            inside = [] if not image or marks.has(image) else [place for place in places if marks.has(place)]
            if len(inside) > 1:
                reading.problems.add("image names fit several files", ", ".join(map(short, inside)))
            rows.append(marks.image(inside[0] if inside else image, split) if image else NOWHERE)
        if (column := group_at(sheet, self.group_column)) is not None:
            tell_groups(sheet.column(column), rows, marks, reading)
        return rows

    def ignored(self, sheet: Sheet) -> set[int]:
        """The columns that say neither labels nor splits: those that are not read, and that of groups."""
        named = {*self.ignore_columns, self.group_column}
        return {column for column, name in enumerate(sheet.names) if name in named}

    def images_at(self, sheet: Sheet) -> int:
        """The column that names images. Raises ConfigError where there is none of the name that was given."""
        if self.image_column is None:
            return image_column(sheet, self.ignored(sheet))
        if self.image_column not in sheet.names:
            advice = did_you_mean(self.image_column, sheet.names)
            raise ConfigError(f"{sheet.path} has no column '{short(self.image_column)}' (--image-column); {advice}")
        if self.image_column in self.ignore_columns:
            told = f"--ignore-columns and --image-column both name {short(self.image_column)}"
            raise ConfigError(f"{told}; leave it out of one")
        return sheet.names.index(self.image_column)

    def called(self, sheet: Sheet, names: Iterable[str]) -> list[int]:
        """The columns that have one of `names`, however it is spelt, and are not to be ignored."""
        keys, ignored = set(map(key_of, names)), self.ignored(sheet)
        return [column for column, key in enumerate(sheet.keys) if key in keys and column not in ignored]

    def label_columns_of(self, sheet: Sheet, reading: Reading) -> list[int]:
        """The columns of `sheet` that hold labels, by their names."""
        raise NotImplementedError

    def read_sheet(self, reading: Reading) -> Sheet:
        """The table at `root`, or those called after splits, of which those without a label are left out, and named.

        Raises DataError where these have other columns than the one of training, and ConfigError for an option that is
        of no use.
        """
        files = table_files(self.root)
        self.refuse_unused(files)
        sheets = self._sheets(files, reading)
        first, *others = sheets
        names = dict.fromkeys(name for sheet in sheets for name in sheet.names)
        for name in self.ignore_columns:
            if name not in names:
                raise ConfigError(f"no column of {first.path} is called '{name}'; {did_you_mean(name, names)}")
        if self.group_column is not None and self.group_column in (self.image_column, *self.ignore_columns):
            told = f"--group-column names {short(self.group_column)}, which another option names, too"
            raise ConfigError(f"{told}; leave it out of one")
        if not others:
            return first
        needed = self._label_names(first, reading)
        labelled = [first]
        for sheet in others:
            own = self._label_names(sheet, reading)
            if _holds_any(sheet, (*needed, *own)):
                _check_columns(first, sheet, [first.names[self.images_at(first)], *needed], own)
                labelled.append(sheet)
            else:
                reading.notes.append(f"{sheet.path.name} holds no label and is left out")
        splits = [split for sheet in labelled if (split := files[sheet.path])]
        if len(labelled) == 1:
            return first
        told = ", ".join(f"{sheet.path.name}: {split}" for sheet, split in zip(labelled, splits, strict=True))
        reading.notes.append(f"tables are called after splits and are read as these: {told}")
        return joined(self.root, labelled, splits)

    def refuse_unused(self, files: Iterable[Path]) -> None:
        """Raise ConfigError for an option that is of no use to any of `files`."""
        kinds = {path: path.suffix.lower() for path in files}
        first = next(iter(kinds))
        if self.sheet is not None and ".xlsx" not in kinds.values():
            raise ConfigError(f"--sheet names a sheet of an XLSX file, and {first} is none; leave it out")
        for name in ("separator", "encoding"):
            if getattr(self, name) is not None and not set(kinds.values()) - {".xlsx", ".parquet", ".jsonl"}:
                raise ConfigError(f"--{name} is of tables of text, and {first} is none; leave it out")

    def _sheets(self, files: Iterable[Path], reading: Reading) -> list[Sheet]:
        """The tables of `files`; the first, and of the others those that have a row."""
        separator = self.separator and SEPARATORS[self.separator]
        sheets = list[Sheet]()
        for path in files:
            title = self.sheet if _is_book(path) else None
            try:
                sheets.append(read_table(path, reading.problems, separator, self.encoding, title=title))
            except EmptyTableError:
                if not sheets:
                    raise
                reading.notes.append(f"{path.name} has no row and is left out")
        reading.notes.extend(dict.fromkeys(note for sheet in sheets for note in sheet.notes))
        return sheets

    def _label_names(self, sheet: Sheet, reading: Reading) -> list[str]:
        return [name for column in self.label_columns_of(sheet, reading) if (name := sheet.names[column])]


def _folders_of_splits(folder: Path) -> dict[str | None, list[str]]:
    """The folders in a folder whose names say a split, by the split; none for what cannot be listed.

    Beside train, a folder train_masks does not count.
    """
    found = defaultdict[str | None, list[str]](list)
    with suppress(OSError):
        for name in sorted(entry.name for entry in os.scandir(folder) if entry.is_dir()):
            if split := split_in(name):
                found[split].append(name)
    return {split: [name for name in names if name.lower() in SPLIT_NAMES] or names for split, names in found.items()}


def _is_book(path: Path) -> bool:
    return path.suffix.lower() == ".xlsx"


def _holds_any(sheet: Sheet, names: Collection[str]) -> bool:
    """Whether one of the columns that are called `names` has a cell."""
    return any(name in names and any(sheet.column(column)) for column, name in enumerate(sheet.names))


def _check_columns(first: Sheet, other: Sheet, wanted: Sequence[str], own: Sequence[str]) -> None:
    """Raise DataError unless `other` has the columns of images and of labels that the table of training has."""
    lacks = [name for name in wanted if name not in other.names]
    more = [name for name in own if name not in wanted]
    twice = len(set(first.names)) < len(first.names) or len(set(other.names)) < len(other.names)
    if lacks or more or twice:
        told = (
            *([f"lacks {_listed(lacks)}"] if lacks else ()),
            *([f"has {_listed(more)} beside"] if more else ()),
            *(["or the other has two columns of one name"] if twice else ()),
        )
        both = f"{other.path.name} and {first.path.name} in {other.path.parent} need the same columns"
        raise DataError(
            f"{both}: the first {', and '.join(told)}; make the columns the same, leave out with --ignore-columns what "
            "is no label, or name one of the files with --root"
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
        if not names and not (_is_book(path) and beginning_of(path, 2) == b"PK"):  # what a workbook lacks, reading says
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
