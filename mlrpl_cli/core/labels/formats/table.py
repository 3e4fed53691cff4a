"""The user's own labels: a CSV or TSV with an image column and a column per class."""

from __future__ import annotations

import csv
import io
import os
from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple, TextIO

from pydantic import Field

from mlrpl_cli.core.images.find import check_images
from mlrpl_cli.core.io.errors import DataError, Problems, first_few
from mlrpl_cli.core.io.progress import Progress, track
from mlrpl_cli.core.io.reading import GIB, is_file_name, is_name, open_file, short
from mlrpl_cli.core.labels.records import TEST, TRAIN, VALIDATION, Format, Records
from mlrpl_cli.core.labels.states import ABSENT, PRESENT, UNKNOWN

if TYPE_CHECKING:
    import numpy as np

IMAGE_COLUMNS = ("image", "image_path", "filename", "file_name", "file", "filepath", "file_path", "path", "img")
"""Names of the image column, upper or lower case; without any of them the first column is it."""
SPLIT_COLUMN = "split"
SPLIT_NAMES = {
    **{"train": TRAIN, "training": TRAIN, "val": VALIDATION, "valid": VALIDATION, "validation": VALIDATION},
    **{"test": TEST, "testing": TEST},
}
DELIMITERS, TAB_SUFFIXES = ",;\t", (".tsv", ".tab")
MOST_BYTES = GIB
"""Of a table: 120,000 images of 80 classes are 2 % of it."""

_MINUS_ONE, _BAD = 2, 3
_WORDS = {
    **dict.fromkeys(("1", "1.0", "yes", "y", "true", "present"), PRESENT),
    **dict.fromkeys(("no", "n", "false", "absent"), ABSENT),
    **dict.fromkeys(("", "?", "unknown", "nan", "na", "n/a", "none", "null"), UNKNOWN),
}
CODINGS = {None: (_MINUS_ONE, ABSENT), "minus-one-absent": (ABSENT, UNKNOWN), "minus-one-unknown": (UNKNOWN, ABSENT)}
"""What the numbers −1 and 0 mean: to the laboratory of HCP-MLR-PL, and to DualCoOp; 1 is present in both."""
ASK_FOR_CODING = (
    "two codings are in use: in HCP-MLR-PL's -1 is absent and 0 unknown, in DualCoOp's -1 is unknown and 0 absent; "
    "choose with --coding minus-one-absent or --coding minus-one-unknown"
)


class Table(Format):
    """The user's own labels: every column but image and split is a class."""

    root: Path = Field(description="the CSV or TSV file, or a folder with just one")
    coding: Literal["minus-one-absent", "minus-one-unknown"] | None = Field(
        None, description="what cells of -1 mean, cells of 0 then being the other of absent and unknown"
    )
    images: Path | None = Field(None, description="folder that image names are relative to, else the table's own")
    test_fraction: float = Field(0.2, gt=0, lt=1, description="share of the test images, without a split column")
    split_seed: int = Field(0, ge=0, le=2**32 - 1, description="seed of which images test, without a split column")

    default_keep: ClassVar[float] = 1.0
    """A table's own cells say what is known."""

    def read(self, workspace: Path, progress: Progress) -> Records:
        """Images and labels in the order of the table's rows.

        Cells, in any case: 1, yes, y, true, present; 0, no, n, false, absent; empty, ?, unknown, nan, na, none, null.
        A −1 is refused unless `coding` says what it and 0 mean. A `split` column says train, validation or test;
        without one, `test_fraction` of the images, drawn by RandomState(`split_seed`), become test.
        Raises DataError, naming everything found at once, for wrong data.
        """
        from mlrpl_cli.core.labels.masks import drawn_rows

        path = _table_file(self.root)
        root = self.images or path.parent
        problems = Problems()
        table = _read_table(path, problems)
        image_column, split_column, class_columns = _find_columns(path, table.header, problems)
        images = _images(table, image_column, root, problems)
        labels = _labels(table, class_columns, self.coding, problems, progress)
        if split_column is None:
            test = drawn_rows(len(table.rows), self.test_fraction, self.split_seed)
            splits = tuple(TEST if row in test else TRAIN for row in range(len(table.rows)))
        else:
            splits = _splits(table, split_column, problems)
        correct = "correct the table, or name the images' folder with --images"
        advice = ASK_FOR_CODING if (labels == _MINUS_ONE).any() else correct
        where = f"{path} (images in column '{short(table.header[image_column])}', below {root})"
        problems.raise_if_any(where, advice)
        return Records(tuple(table.header[column] for column in class_columns), root, images, labels, splits)


class _Table(NamedTuple):
    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    """As many cells each as the header, as text."""
    numbers: Sequence[int]
    """Of the rows, as a spreadsheet counts: the header is usually row 1, and empty rows count."""

    def column(self, index: int) -> list[str]:
        return [row[index].strip() for row in self.rows]


def _table_file(root: Path) -> Path:
    """`root` itself, or the only table in it when it is a folder."""
    if not os.path.isdir(root):  # unlike Path.is_dir it has an answer for a name that is too long, too
        return root
    try:
        tables = sorted(path for path in root.iterdir() if path.suffix.lower() in (".csv", *TAB_SUFFIXES))
    except OSError as error:
        raise DataError(f"cannot list {root}: {error.strerror}; name the file itself with --root") from error
    if len(tables) != 1:
        found = first_few(path.name for path in tables) or "none"
        raise DataError(f"{root} is a folder with {len(tables)} tables ({found}); name the file itself with --root")
    return tables[0]


def _read_table(path: Path, problems: Problems) -> _Table:
    rows: list[tuple[str, ...]] = []
    numbers: list[int] = []
    try:
        # The signature that spreadsheets put in front of UTF-8 is no part of the first name.
        with io.TextIOWrapper(open_file(path, MOST_BYTES), encoding="utf-8-sig") as stream:
            delimiter = _delimiter(path, stream)
            read = csv.reader(stream, delimiter=delimiter, skipinitialspace=True, strict=True)
            filled = ((number, tuple(cells)) for number, cells in enumerate(read, 1) if any(map(str.strip, cells)))
            _, header = next(filled, (0, ()))
            for number, cells in filled:
                if len(cells) == len(header):
                    numbers.append(number)
                    rows.append(cells)
                else:
                    problems.add(f"rows do not have the header's {len(header)} cells", f"row {number}: {len(cells)}")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is no UTF-8 text; save it as CSV in UTF-8") from error
    except csv.Error as error:
        raise DataError(f"{path} is no readable table: {error}; check its quotes") from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}; check the path") from error
    if not rows and not problems:
        found = "a header and no rows" if header else "nothing in it"
        raise DataError(f"{path} has {found}; a table needs an image column, a column per class and a row per image")
    return _Table(tuple(" ".join(name.split()) for name in header), rows, numbers)


def _delimiter(path: Path, stream: TextIO) -> str:
    """A tab by the file's suffix, else what splits the header into most columns, a comma before the others."""
    if path.suffix.lower() in TAB_SUFFIXES:
        return "\t"
    header = next((line for line in iter(stream.readline, "") if line.strip()), "")
    stream.seek(0)
    return max(DELIMITERS, key=lambda delimiter: len(next(csv.reader([header], delimiter=delimiter), [])))


def _find_columns(path: Path, header: Sequence[str], problems: Problems) -> tuple[int, int | None, list[int]]:
    """Positions of the image column, of the split column if there is one, and of the classes."""
    names = [name.casefold() for name in header]
    image = next((column for column, name in enumerate(names) if name in IMAGE_COLUMNS), 0)
    split = names.index(SPLIT_COLUMN) if SPLIT_COLUMN in names else None
    classes = [column for column in range(len(header)) if column not in (image, split)]
    if not classes:
        found = ", ".join(map(short, header))
        raise DataError(f"{path} has no class column, only {found}; add a column for each class")
    problems.extend("columns have no name", (f"column {column + 1}" for column in classes if not names[column]))
    odd = [header[column] for column in classes if names[column] and not is_name(header[column])]
    problems.extend("columns have names that no class can have", map(short, odd))
    # CLIP reads lower case only, so names that differ in case would be one class to it.
    repeated = [short(name) for name, count in Counter(names).items() if name and count > 1]
    problems.extend("names stand over several columns", repeated)
    return image, split, classes


def _images(table: _Table, column: int, root: Path, problems: Problems) -> tuple[str, ...]:
    cells = table.column(column)
    named = zip(table.numbers, cells, strict=True)
    problems.extend("rows name no image", (f"row {number}" for number, cell in named if not cell))
    images = [_relative(cell, root) for cell in cells if is_file_name(cell)]
    problems.extend("names are none that a file can have", (short(c) for c in cells if c and not is_file_name(c)))
    problems.extend("images are listed twice", (name for name, count in Counter(images).items() if count > 1))
    check_images(root, list(dict.fromkeys(images)), problems)
    return tuple(images)


def _relative(name: str, root: Path) -> str:
    """An image name with forward slashes, relative to `root` when it lies there."""
    path = PurePosixPath(name.replace("\\", "/"))
    base = PurePosixPath(root.absolute().as_posix())
    return str(path.relative_to(base) if path.is_relative_to(base) else path)


def _labels(
    table: _Table, columns: list[int], coding: str | None, problems: Problems, progress: Progress
) -> np.ndarray:
    """(N, C) int8 label states. Cells that have none hold _MINUS_ONE or _BAD and are problems."""
    import numpy as np

    minus_one, zero = CODINGS[coding]
    words = {**_WORDS, **dict.fromkeys(("-1", "-1.0", "−1"), minus_one), **dict.fromkeys(("0", "0.0"), zero)}
    state_of = cache(lambda cell: words.get(cell.strip().lower(), _BAD))  # millions of cells have few spellings
    labels = np.empty((len(table.rows), len(columns)), dtype=np.int8)
    for row, cells in enumerate(track(progress, table.rows, "reading labels", len(table.rows), "rows")):
        labels[row] = [state_of(cells[column]) for column in columns]
    what = {_MINUS_ONE: "cells hold -1", _BAD: "cells are none of 1/yes/present, 0/no/absent, empty/?/unknown"}
    for row, position in np.argwhere(labels > PRESENT).tolist():
        name, cell = short(table.header[columns[position]]), short(table.rows[row][columns[position]])
        problems.add(what[labels[row, position]], f"row {table.numbers[row]} '{name}': '{cell}'")
    return labels


def _splits(table: _Table, column: int, problems: Problems) -> tuple[str, ...]:
    cells = table.column(column)
    for number, cell in zip(table.numbers, cells, strict=True):
        if cell.casefold() not in SPLIT_NAMES:
            problems.add("splits are none of train, validation, test", f"row {number}: '{short(cell)}'")
    return tuple(SPLIT_NAMES.get(cell.casefold(), TRAIN) for cell in cells)
