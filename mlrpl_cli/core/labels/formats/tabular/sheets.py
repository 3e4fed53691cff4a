"""Tables as people save them: CSV and TSV of any separator and encoding, Parquet and XLSX, as columns of text.

pyarrow parses: it streams, reads Parquet, transcodes, and gives columns as codes into their distinct cells, so that
millions of cells cost as much as their few spellings.
"""

from __future__ import annotations

import json
import os
import re
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlrpl_cli.core.io.errors import DataError, Problems, did_you_mean, first_few, one_line
from mlrpl_cli.core.io.reading import GIB, open_file, short
from mlrpl_cli.core.labels.formats.tabular.text import BEGINNING, NEEDED, UNPACKING, check_header, read_text_table
from mlrpl_cli.core.labels.records import SPLIT_NAMES, SPLITS, TRAIN

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

TEXT_SUFFIXES = (".csv", ".tsv", ".tab", ".txt", ".csv.gz", ".tsv.gz")
SUFFIXES = (*TEXT_SUFFIXES, ".parquet", ".xlsx")
"""What counts as a table in a folder; a file that is named itself may have any suffix of text."""
MOST_BYTES = GIB
"""Of a table that is held whole: 120,000 images of 80 classes are 2 % of it."""
MOST_CELLS = 2 * GIB
"""Of a Parquet or XLSX file, which may hold far more than its size tells."""


@dataclass(frozen=True)
class Sheet:
    """A table: R rows of text below a header."""

    path: Path
    names: tuple[str, ...]
    """Of the columns, each on one line; a column without a name has ""."""
    columns: Sequence[pa.DictionaryArray]
    """R cells each, as codes into the column's distinct cells."""
    numbers: np.ndarray
    """(R,) rows as a spreadsheet counts them: the header is usually row 1, and empty rows count. Of several files they
    are text that names the file, too."""
    notes: tuple[str, ...] = ()
    """What had to be found out to read it, for the user to see."""
    splits: tuple[str, ...] | None = None
    """Of each row, by the name of the file that it comes from; None where names of files say no split."""
    _found: dict[int, list[str]] = field(default_factory=dict, repr=False)

    @property
    def rows(self) -> int:
        return len(self.numbers)

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """`names` as they are compared: without case, spaces, hyphens and underscores."""
        return tuple(map(key_of, self.names))

    def find(self, *names: str) -> int | None:
        """The first column that has one of `names`, however it is spelt; None without one."""
        wanted = set(map(key_of, names))
        return next((column for column, key in enumerate(self.keys) if key in wanted), None)

    def column(self, index: int) -> list[str]:
        """The cells of a column, without the space around them."""
        if index not in self._found:
            cells = [cell.strip() for cell in self.columns[index].dictionary.to_pylist()]
            self._found[index] = [cells[code] for code in self.columns[index].indices.to_pylist()]
        return self._found[index]

    def codes(self, index: int, code_of: Callable[[str], int]) -> np.ndarray:
        """(R,) int8: what `code_of` says of each cell of a column; it is asked once for each distinct cell."""
        import numpy as np

        cells = self.columns[index].dictionary.to_pylist()
        codes = np.fromiter((code_of(cell.strip()) for cell in cells), np.int8, len(cells))
        return codes[self.columns[index].indices.to_numpy()]


def key_of(name: str) -> str:
    """ "File Name", "file_name" and "file-name" are one name."""
    return "".join(letter for letter in name.casefold() if letter not in " _-")


def table_file(root: Path) -> Path:
    """`root` itself, or the only table in it when it is a folder. Raises DataError when there is not just one."""
    if not os.path.isdir(root):  # unlike Path.is_dir it has an answer for a name that is too long, too
        return root
    tables = tables_in(root)
    if len(tables) != 1:
        found = first_few(path.name for path in tables) or "none"
        raise DataError(f"{root} is a folder with {len(tables)} tables ({found}); name the file itself with --root")
    return tables[0]


def table_files(root: Path) -> dict[Path, str | None]:
    """The tables that `root` means, training first, and the split that each is called after.

    A folder of several means those called after splits, such as train.csv and test_labels.csv, if all are but forms of
    predictions, and one is of training; else they are not clear. Raises DataError unless they are.
    """
    found = tables_in(root) if os.path.isdir(root) else []
    named = {path: split for path in found if (split := split_in(path.name))}
    others = [path for path in found if path not in named and "submission" not in path.name.lower()]
    if len(named) < 2 or others or TRAIN not in named.values() or len(set(named.values())) < len(named):
        return {table_file(root): None}
    return dict(sorted(named.items(), key=lambda item: SPLITS.index(item[1])))


def split_in(name: str) -> str | None:
    """The split of the only word in the name of a file that says one."""
    words = re.split(r"[^a-z]+", name.lower().split(".")[0])
    told = {SPLIT_NAMES[word] for word in words if word in SPLIT_NAMES}
    return told.pop() if len(told) == 1 else None


def joined(path: Path, sheets: Sequence[Sheet], splits: Sequence[str]) -> Sheet:
    """One sheet of several, with the columns of the first and then those that others have beside it, empty elsewhere.

    `path` is their folder, and `splits` are those that each is of.
    """
    import numpy as np
    import pyarrow as pa

    columns = list[Any]()
    names = tuple(dict.fromkeys(name for sheet in sheets for name in sheet.names))
    for name in names:
        cells = [
            sheet.columns[sheet.names.index(name)] if name in sheet.names else _blank(sheet.rows) for sheet in sheets
        ]
        columns.append(pa.chunked_array(cells).unify_dictionaries().combine_chunks())
    numbers = [f"{number} of {sheet.path.name}" for sheet in sheets for number in sheet.numbers.tolist()]
    told = tuple(split for sheet, split in zip(sheets, splits, strict=True) for _ in range(sheet.rows))
    return Sheet(path, names, columns, np.array(numbers, object), (), told)


def _blank(rows: int) -> Any:
    import pyarrow as pa

    return pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array([""]))


def tables_in(folder: Path) -> list[Path]:
    """The tables in a folder, sorted; plain text that is called .txt does not count."""
    suffixes = tuple(suffix for suffix in SUFFIXES if suffix != ".txt")
    try:
        return sorted(path for path in folder.iterdir() if path.name.lower().endswith(suffixes))
    except OSError as error:
        raise DataError(f"cannot list {folder}: {error.strerror}; name the file itself with --root") from error


def read_table(
    path: Path,
    problems: Problems,
    separator: str | None = None,
    encoding: str | None = None,
    most: int | None = None,
    title: str | None = None,
) -> Sheet:
    """The table in a file. `separator` is a character, and `encoding` Python's name of one; None finds them.

    `title` is that of the sheet of a workbook; None is the only one that has a cell.

    Columns without a name and without a cell are left out, rows without a cell too; rows of another width than the
    header are `problems`. Raises DataError for what is no table, and for rows above the header.
    """
    most = most or MOST_BYTES
    try:
        if path.suffix.lower() == ".parquet":
            return _from_parquet(path, most)
        if path.suffix.lower() == ".xlsx":
            return _from_workbook(path, title)
        return _sheet(path, *read_text_table(path, problems, separator, encoding, most))
    except UNPACKING as error:
        raise DataError(f"{path} is no readable table: {one_line(error)}; fetch or save it again") from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or one_line(error)}; check the path") from error


# Parquet and XLSX


def _from_parquet(path: Path, most: int) -> Sheet:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with open_file(path, most) as raw:
            file = parquet.ParquetFile(raw)
            _check_size(path, file.metadata.num_rows, file.metadata.num_columns)
            table = file.read(use_threads=False)
        columns = [_as_text(column) for column in table.columns]
    except (pa.ArrowException, OSError, EOFError) as error:
        raise DataError(f"{path} is no readable Parquet file: {one_line(error)}; save it again") from error
    header = [pa.chunked_array([[name]]).dictionary_encode() for name in table.column_names]
    joined = [pa.chunked_array([*head.chunks, *column.chunks]) for head, column in zip(header, columns, strict=True)]
    return _sheet(path, joined, range(table.num_rows + 1), ())


def _as_text(column: Any) -> Any:
    """A column of any type as a dictionary of text: missing is "", and what holds several values is JSON."""
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_nested(column.type):
        cells = (None if value is None else json.dumps(value, default=str) for value in column.to_pylist())
        column = pa.chunked_array([pa.array(cells, pa.string())])
    return column.cast(pa.string()).fill_null("").dictionary_encode()


def _from_workbook(path: Path, title: str | None) -> Sheet:
    """The sheet of an XLSX file that is called `title`, else the only one that has a cell."""
    try:
        import openpyxl
    except ImportError as error:
        raise DataError(f"{path} needs openpyxl; pip install 'mlrpl[xlsx]', or save the sheet as CSV") from error
    import pyarrow as pa

    try:
        with open_file(path, MOST_BYTES) as raw:
            with zipfile.ZipFile(raw) as packed:
                _check_size(path, sum(info.file_size for info in packed.infolist()), 1)
            book = openpyxl.load_workbook(raw, read_only=True, data_only=True)
            read = _rows_of(book)
            stored = _rows_of(openpyxl.load_workbook(raw, read_only=True))
    except OSError:
        raise
    except Exception as error:  # openpyxl and the XML parser below it raise a dozen kinds
        raise DataError(f"{path} is no readable XLSX file: {one_line(error)}; save it again") from error
    rows = read[_chosen(path, read, title)]
    if formulas := sum(map(_without_values, rows, stored[_chosen(path, read, title)])):
        where = f"{formulas} cells hold formulas without a value"
        raise DataError(f"{path}: {where}; open and save it in a spreadsheet program, or save it as CSV")
    if not any(cell is not None for row in rows for cell in row):
        raise DataError(f"{path} has nothing in it; {NEEDED}")
    width = max(map(len, rows))
    cells = [[_told(value) for value in row] + [""] * (width - len(row)) for row in rows]
    columns = [pa.chunked_array([column]).dictionary_encode() for column in zip(*cells, strict=True)]
    return _sheet(path, columns, range(1, len(rows) + 1), ())


def _rows_of(book: Any) -> dict[str, list[list[object]]]:
    """The rows of each sheet of a workbook."""
    return {sheet.title: [list(row) for row in sheet.iter_rows(values_only=True)] for sheet in book.worksheets}


def _chosen(path: Path, read: Mapping[str, list[list[object]]], title: str | None) -> str:
    """The sheet that counts. Raises DataError, which asks, where it is not clear."""
    if title is not None and title not in read:
        raise DataError(f"{path} has no sheet '{short(title)}'; {did_you_mean(title, read)}")
    filled = [name for name, rows in read.items() if any(cell is not None for row in rows for cell in row)]
    if title is None and len(filled) != 1:
        found = first_few((f"'{short(name)}'" for name in filled), 6) or "none"
        raise DataError(f"{path} has {len(filled)} sheets with cells ({found}); name the one with labels with --sheet")
    return filled[0] if title is None else title


def _without_values(values: Sequence[object], stored: Sequence[object]) -> int:
    """How many cells of a row are formulas that no program has worked out, so that they read as empty."""
    return sum(
        value is None and isinstance(cell, str) and cell.startswith("=")
        for value, cell in zip(values, stored, strict=False)
    )


def _told(value: object) -> str:
    return "" if value is None else str(value)


def _check_size(path: Path, rows: int, columns: int) -> None:
    if rows * columns > MOST_CELLS:
        raise DataError(f"{path} holds {rows * columns} cells or bytes, expected at most {MOST_CELLS}; split it")


# Both


def _sheet(path: Path, columns: Sequence[Any], numbers: Sequence[int], notes: tuple[str, ...]) -> Sheet:
    """A sheet of columns whose first cell that is not in a blank row is their name."""
    import numpy as np
    import pyarrow as pa

    whole = [column.unify_dictionaries().combine_chunks() for column in columns]
    whole = [column.chunk(0) if isinstance(column, pa.ChunkedArray) else column for column in whole]
    blank = [np.array([not cell.strip() for cell in column.dictionary.to_pylist()], bool) for column in whole]
    empty = [marks[column.indices.to_numpy()] for marks, column in zip(blank, whole, strict=True)]
    rows = np.flatnonzero(~np.logical_and.reduce(empty))
    if len(rows) < 2:
        found = "a header and no rows" if len(rows) else "nothing in it"
        raise DataError(f"{path} has {found}; {NEEDED}")
    beginning = [[column[int(row)].as_py().strip() for column in whole] for row in rows[:BEGINNING]]
    check_header(path, beginning, [int(numbers[row]) for row in rows[:BEGINNING]])
    names = [" ".join(cell.split()) for cell in beginning[0]]
    kept = [column for column, name in enumerate(names) if name or not empty[column].all()]
    cells = [whole[column].take(pa.array(rows[1:])) for column in kept]
    return Sheet(path, tuple(names[column] for column in kept), cells, np.asarray(numbers)[rows[1:]], notes)
