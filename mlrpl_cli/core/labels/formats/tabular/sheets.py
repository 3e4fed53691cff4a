"""Tables as people save them: CSV and TSV of any separator and encoding, Parquet and XLSX, as columns of text.

pyarrow parses: it streams, reads Parquet, transcodes, and gives columns as codes into their distinct cells, so that
millions of cells cost as much as their few spellings.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlrpl_cli.core.io.errors import DataError, Problems, one_line
from mlrpl_cli.core.io.reading import GIB
from mlrpl_cli.core.labels.formats.tabular.binary import read_parquet, read_workbook
from mlrpl_cli.core.labels.formats.tabular.dialect import BEGINNING, NEEDED, UNPACKING, EmptyTableError, check_header
from mlrpl_cli.core.labels.formats.tabular.text import read_text_table

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

MOST_BYTES = GIB
"""Of a table that is held whole: 120,000 images of 80 classes are 2 % of it."""


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

    def distinct(self, index: int) -> set[str]:
        """The different cells of a column, without the space around them."""
        cells = self.columns[index].dictionary.to_pylist()  # which may hold others, such as the header
        return {cells[code].strip() for code in self.columns[index].indices.unique().to_pylist()}

    def codes(self, index: int, code_of: Callable[[str], int]) -> np.ndarray:
        """(R,) int8: what `code_of` says of each cell of a column; it is asked once for each distinct cell."""
        import numpy as np

        cells = self.columns[index].dictionary.to_pylist()
        codes = np.fromiter((code_of(cell.strip()) for cell in cells), np.int8, len(cells))
        return codes[self.columns[index].indices.to_numpy()]


def key_of(name: str) -> str:
    """ "File Name", "file_name" and "file-name" are one name."""
    return "".join(letter for letter in name.casefold() if letter not in " _-")


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
    header are `problems`. Raises DataError for what is no table and for rows above the header, and EmptyTableError for
    one without a row.
    """
    most = most or MOST_BYTES
    try:
        if path.suffix.lower() == ".parquet":
            return _sheet(path, *read_parquet(path, most))
        if path.suffix.lower() == ".xlsx":
            return _sheet(path, *read_workbook(path, most, title))
        return _sheet(path, *read_text_table(path, problems, separator, encoding, most))
    except UNPACKING as error:
        raise DataError(f"{path} is no readable table: {one_line(error)}; fetch or save it again") from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or one_line(error)}; check the path") from error


def _sheet(path: Path, columns: Sequence[Any], numbers: Sequence[int] | np.ndarray, notes: tuple[str, ...]) -> Sheet:
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
        raise EmptyTableError(f"{path} has {found}; {NEEDED}")
    beginning = [[column[int(row)].as_py().strip() for column in whole] for row in rows[:BEGINNING]]
    check_header(path, beginning, [int(numbers[row]) for row in rows[:BEGINNING]])
    names = [" ".join(cell.split()) for cell in beginning[0]]
    kept = [column for column, name in enumerate(names) if name or not empty[column].all()]
    cells = [whole[column].take(pa.array(rows[1:])) for column in kept]
    return Sheet(path, tuple(names[column] for column in kept), cells, np.asarray(numbers)[rows[1:]], notes)
