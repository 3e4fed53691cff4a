"""Hugging Face's image folders: images, and beside them a file of metadata with a row for each.

Its documentation (https://huggingface.co/docs/datasets/image_dataset, "ImageFolder with metadata") names
`metadata.jsonl`, `.csv` and `.parquet`, whose column `file_name`, or one that ends in `_file_name`, is relative to the
file, and folders train, validation and test. It gives lists of labels no meaning beyond their names; classes that are
folders of images are another form, and one label an image.
"""

from __future__ import annotations

import json
import os
import posixpath
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from mlrpl_cli.core.io.errors import ConfigError, DataError, Problems, agreeing, did_you_mean, first_few, one_line
from mlrpl_cli.core.io.reading import MIB, open_file, read_text, short, shown
from mlrpl_cli.core.labels.formats.tabular.columns import FLAGS, FOLD_COLUMNS, SPLIT_COLUMNS, TAG_COLUMNS, check_names
from mlrpl_cli.core.labels.formats.tabular.dialect import SEPARATORS, peek
from mlrpl_cli.core.labels.formats.tabular.options import report_repeated
from mlrpl_cli.core.labels.formats.tabular.sheets import MOST_BYTES, key_of, read_table
from mlrpl_cli.core.labels.formats.tabular.tags import Tags, split_up, without_words
from mlrpl_cli.core.labels.marks import NOWHERE, Marks
from mlrpl_cli.core.labels.own import home_of, split_folders
from mlrpl_cli.core.labels.records import SPLIT_NAMES, Reading, Records
from mlrpl_cli.core.labels.states import PRESENT, UNKNOWN

FILES = ("metadata.jsonl", "metadata.csv", "metadata.parquet")
IMAGE = "file_name"


class ImageFolder(Tags):
    """Hugging Face's image folder, with a list of labels for each image in its metadata."""

    holds: ClassVar[str] = f"the folder with {', '.join(FILES)}, or with train/{FILES[0]}, or such a file"
    is_general: ClassVar[bool] = False
    reads_tables: ClassVar[bool] = True

    @classmethod
    def recognise(cls, root: Path) -> str | None:
        found = next((path for path in _files(root) if _fits(path)), None)
        return f"it holds {found.relative_to(home_of(root)).as_posix()} with a column {IMAGE}" if found else None

    def read(self, reading: Reading) -> Records:
        """Images in the order of the rows, training first; classes in the order of their names.

        Labels are a list, or text as in a table of tags. An image whose cell is empty or null is unknown in every
        class, that of an empty list has none. Raises DataError, naming everything found at once, for wrong data, and
        ConfigError, which asks, for a column that is not clear.
        """
        files, home, problems = _files(self.root), home_of(self.root), reading.problems
        if not files:
            raise DataError(f"{self.root} has none of {', '.join(FILES)}; name the folder with --root")
        self.refuse_unused(files)
        if self.test_fold is not None:
            raise ConfigError("--test-fold is of no use to an image folder, where folders say splits; leave it out")
        if self.image_column is not None:
            raise ConfigError(f"--image-column is of no use to an image folder, where it is {IMAGE}; leave it out")
        if self.group_column is not None:
            advice = "read its metadata.csv with --dataset tags --root FILE"
            raise ConfigError(f"--group-column is of no use to an image folder; {advice}, or leave it out")
        tables = {path: self._table(path, reading) for path in files}
        problems.raise_if_any(str(self.root), "correct the metadata")
        lists = without_words([names for table in tables.values() for names in self._labels(table)], reading)
        unlisted = self.otherwise(home, reading)
        marks = Marks(self.image_root(home), reading)
        columns = {name: marks.label(name) for name in sorted({name for names in lists for name in names or ()})}
        rows = [row for table in tables.values() for row in _rows(table, home, marks, reading)]
        report_repeated(str(home), rows, reading)
        for row, names in zip(rows, lists, strict=True):
            for name in names or ():
                marks.mark(row, columns[name], PRESENT)
        silent = {row for row, names in zip(rows, lists, strict=True) if names is None}
        self.check_labelled(marks, sorted({*rows} - silent), unlisted)
        if silent:
            reading.notes.append(
                agreeing(len(silent), "images without a label (empty or null) are unknown in every class")
            )
        self.settle_splits(marks, reading)
        return self.records(marks, reading, UNKNOWN, home)

    def _table(self, path: Path, reading: Reading) -> _Table:
        """The two columns of a file that count."""
        if path.suffix == ".jsonl":
            return self._from_lines(path, reading.problems)
        separator = self.separator and SEPARATORS[self.separator]
        sheet = read_table(path, reading.problems, separator, self.encoding)
        reading.notes.extend(note for note in sheet.notes if note not in reading.notes)
        image, column = self._columns(path, sheet.names)
        cells = sheet.column(sheet.names.index(column))
        return _Table(path, column, sheet.numbers.tolist(), sheet.column(sheet.names.index(image)), cells)

    def _from_lines(self, path: Path, problems: Problems) -> _Table:
        """A file with a JSON object on each line."""
        numbers, lines = _objects(path, problems)
        image, column = self._columns(path, list(dict.fromkeys(key for line in lines for key in line)))
        images, cells = [], []
        for number, line in zip(numbers, lines, strict=True):
            value, name = line.get(column), line.get(image)
            if isinstance(value, dict | bool | float):
                problems.add("labels are no list of names", f"{path.name} row {number}: {shown(value)}")
            if name is not None and not isinstance(name, str):
                problems.add("names are none that a file can have", f"{path.name} row {number}: {shown(name)}")
            images.append(name if isinstance(name, str) else "")
            cells.append("" if value is None else value if isinstance(value, str) else json.dumps(value))
        return _Table(path, column, numbers, images, cells)

    def _columns(self, path: Path, names: Sequence[str]) -> tuple[str, str]:
        """The columns of images and of labels. Raises DataError, or ConfigError, which asks, unless both are clear."""
        splits = {*map(key_of, (*SPLIT_COLUMNS, *FOLD_COLUMNS)), *FLAGS}
        if told := [name for name in names if key_of(name) in splits and name not in self.ignore_columns]:
            raise ConfigError(
                f"{path} says splits in column {short(told[0])}, where folders say them: put the images into train, "
                f"validation and test folders, or --ignore-columns {short(told[0])}"
            )
        found = ", ".join(map(short, names[:20])) or "nothing"
        images = [name for name in names if name == IMAGE] or [name for name in names if _is_image_column(name)]
        if len(images) != 1:
            raise DataError(f"{path} has {len(images)} columns of image files, only {found}; call one {IMAGE}")
        if self.tag_column is not None and self.tag_column not in names:
            hint = did_you_mean(self.tag_column, names)
            raise ConfigError(f"{path} has no column '{self.tag_column}'; {hint}")
        keys = set(map(key_of, TAG_COLUMNS))
        tags = [self.tag_column] if self.tag_column else [name for name in names if key_of(name) in keys]
        if len(tags) != 1:
            other = "" if tags else ", or write a table with a column for each class (--dataset table)"
            raise ConfigError(
                f"{path} has {len(tags)} columns of labels among {found}; name one with --tag-column{other}"
            )
        return images[0], tags[0]

    def _labels(self, table: _Table) -> list[list[str] | None]:
        """The labels of each row; None for none."""
        what = f"column {short(table.column)} of {table.path}"
        lists = split_up(table.cells, what, self.tag_separator)
        names = {name for listed in lists for name in listed or ()}
        if names and all(name.isdigit() for name in names):
            raise DataError(
                f"{what} numbers its labels ({first_few(sorted(names))}); put names in place of the numbers, which "
                "`features` of the data set's README.md or its card lists"
            )
        check_names(lists, what)
        return [listed if cell else None for cell, listed in zip(table.cells, lists, strict=True)]


class _Table(NamedTuple):
    """Of a file of metadata, R rows."""

    path: Path
    column: str
    """That holds labels."""
    numbers: Sequence[int]
    """Of the rows, from 1."""
    images: list[str]
    cells: list[str]
    """A list of labels as JSON, text, or "" for nothing."""


def _objects(path: Path, problems: Problems) -> tuple[array[int], list[dict[str, Any]]]:
    """The numbers of the lines that are not blank, and the object on each."""
    try:
        lines = read_text(path, MOST_BYTES, "utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path}: {one_line(error)}; save it as UTF-8") from error
    numbers, found = array("l"), list[dict[str, Any]]()
    for number, line in enumerate(lines, 1):
        try:
            value = json.loads(line) if line.strip() else None
        except (ValueError, RecursionError):
            value = None
        if isinstance(value, dict):
            numbers.append(number)
            found.append(value)
        elif line.strip():
            problems.add(f"lines of {path.name} are no JSON object", f"line {number}: {short(line)}")
    if not found and not problems:
        problems.add("files have no row", path.name)
    problems.raise_if_any(str(path), "write an object on each line")
    return numbers, found


def _rows(table: _Table, home: Path, marks: Marks, reading: Reading) -> list[int]:
    """The row of each image; splits are folders of the files, or else the first folders of the names."""
    folder, rows = table.path.parent.relative_to(home).as_posix().removeprefix("."), []
    for number, image in zip(table.numbers, table.images, strict=True):
        name = posixpath.join(folder, image)
        if not image:
            reading.problems.add("rows name no image", f"{table.path.name} row {number}")
        elif not marks.has(name) and marks.has(image):
            name = image
        first, slash, _ = posixpath.normpath(name.replace("\\", "/")).partition("/")
        split = SPLIT_NAMES.get(first.casefold()) if slash else None
        rows.append(marks.image(name, split) if image else NOWHERE)
    return rows


def _files(root: Path) -> list[Path]:
    """The files of metadata of a root, those of folders of splits, training first, or else those in it."""
    if not os.path.isdir(root):
        return [root] if root.name in FILES and os.path.isfile(root) else []
    return [path for name in ("", *split_folders(root)) for file in FILES if os.path.isfile(path := root / name / file)]


def _fits(path: Path) -> bool:
    """Whether a file has a column of images, and, unless it is of JSON, which nothing else reads, one of labels."""
    names = _header(path)
    tagged = {key_of(name) for name in names} & set(map(key_of, TAG_COLUMNS))
    return any(map(_is_image_column, names)) and (path.suffix == ".jsonl" or bool(tagged))


def _header(path: Path) -> list[str]:
    """The names of the columns of a file, as far as its beginning shows; [] for what is none."""
    if path.suffix == ".csv":
        return next(iter(peek(path, 1)), [])
    try:
        return _keys(path) if path.suffix == ".jsonl" else _fields(path)
    except (OSError, DataError, ValueError, RecursionError):
        return []


def _keys(path: Path) -> list[str]:
    """Of the first object in a file of JSON lines. Raises what `_header` catches."""
    with open_file(path) as stream:
        first = json.loads(stream.readline(MIB).decode("utf-8-sig"))
    return list(first) if isinstance(first, dict) else []


def _fields(path: Path) -> list[str]:
    """Of a Parquet file. Raises what `_header` catches."""
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with open_file(path, MOST_BYTES) as stream:
            return list(parquet.read_schema(stream).names)
    except pa.ArrowException as error:
        raise ValueError(one_line(error)) from error


def _is_image_column(name: str) -> bool:
    return name == IMAGE or name.endswith(f"_{IMAGE}")
