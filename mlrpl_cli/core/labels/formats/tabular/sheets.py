"""Tables as people save them: CSV and TSV of any separator and encoding, Parquet and XLSX, as columns of text.

pyarrow parses: it streams, reads Parquet, transcodes, and gives columns as codes into their distinct cells, so that
millions of cells cost as much as their few spellings. What it cannot know is found here: separator and encoding.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from mlrpl_cli.core.io.errors import DataError, Problems, first_few, one_line
from mlrpl_cli.core.io.reading import GIB, MIB, open_file, short

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

TEXT_SUFFIXES = (".csv", ".tsv", ".tab", ".txt", ".csv.gz", ".tsv.gz")
SUFFIXES = (*TEXT_SUFFIXES, ".parquet", ".xlsx")
"""What counts as a table in a folder; a file that is named itself may have any suffix of text."""
SEPARATORS = {"comma": ",", "semicolon": ";", "tab": "\t", "pipe": "|"}
MOST_BYTES = GIB
"""Of a table that is held whole: 120,000 images of 80 classes are 2 % of it."""
MOST_CELLS = 2 * GIB
"""Of a Parquet or XLSX file, which may hold far more than its size tells."""
_BLOCK = 16 * MIB  # a row may be this long
_LAST = "\x1e"
_BLANK_LINES = re.compile(r"\A(?:[^\S\n]*\n)+")
_MARKS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}


@dataclass(frozen=True)
class Sheet:
    """A table: R rows of text below a header."""

    path: Path
    names: tuple[str, ...]
    """Of the columns, each on one line; a column without a name has ""."""
    columns: Sequence[pa.DictionaryArray]
    """R cells each, as codes into the column's distinct cells."""
    numbers: np.ndarray
    """(R,) rows as a spreadsheet counts them: the header is usually row 1, and empty rows count."""
    notes: tuple[str, ...] = ()
    """What had to be found out to read it, for the user to see."""
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


def tables_in(folder: Path) -> list[Path]:
    """The tables in a folder, sorted; plain text that is called .txt does not count."""
    suffixes = tuple(suffix for suffix in SUFFIXES if suffix != ".txt")
    try:
        return sorted(path for path in folder.iterdir() if path.name.lower().endswith(suffixes))
    except OSError as error:
        raise DataError(f"cannot list {folder}: {error.strerror}; name the file itself with --root") from error


def read_table(
    path: Path, problems: Problems, separator: str | None = None, encoding: str | None = None, most: int | None = None
) -> Sheet:
    """The table in a file. `separator` is a character, and `encoding` Python's name of one; None finds them.

    Columns without a name and without a cell are left out, rows without a cell too; rows of another width than the
    header are `problems`. Raises DataError for what is no table.
    """
    most = most or MOST_BYTES
    try:
        if path.suffix.lower() == ".parquet":
            return _from_parquet(path, most)
        if path.suffix.lower() == ".xlsx":
            return _from_workbook(path)
        return _from_text(path, problems, separator, encoding, most)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or one_line(error)}; check the path") from error


def peek(path: Path, rows: int = 20) -> list[list[str]]:
    """The first `rows` rows of a text table, its header among them, to recognise it by; [] for what is none."""
    try:
        text, _ = _beginning(path, None)
        text, separator = _separator(path, text, None)
        return [cells for cells in _parsed(text, separator, rows) if any(cells)]
    except (DataError, OSError, csv.Error):
        return []


def stream(path: Path, columns: Sequence[str], problems: Problems) -> Iterator[pa.RecordBatch]:
    """Batches of the named `columns` of a large CSV with a header, plain or compressed, all of them text.

    Memory is that of a few blocks of 16 MiB. Raises DataError for a file without one of the columns or no table.
    """
    import pyarrow as pa
    from pyarrow import csv as parser

    text, encoding = _beginning(path, None)
    header = next(iter(_parsed(text, ",", 1)), [])
    if missing := [name for name in columns if name not in header]:
        raise DataError(f"{path} has no column {', '.join(missing)}, only {short(', '.join(header))}; check the file")
    try:
        with open_file(path) as raw, pa.input_stream(raw, compression="gzip" if _is_packed(path) else None) as source:
            reading = parser.ReadOptions(block_size=_BLOCK, encoding=encoding.removesuffix("-sig"))
            kept = parser.ConvertOptions(column_types=dict.fromkeys(columns, pa.string()), include_columns=columns)
            handled = parser.ParseOptions(invalid_row_handler=_reporter(problems, len(header), set()))
            yield from parser.open_csv(source, read_options=reading, parse_options=handled, convert_options=kept)
    except (pa.ArrowException, UnicodeDecodeError, EOFError) as error:
        raise DataError(f"{path} is no readable table: {one_line(error)}; fetch or save it again") from error


# Text


def _from_text(path: Path, problems: Problems, separator: str | None, encoding: str | None, most: int) -> Sheet:
    import pyarrow as pa
    from pyarrow import csv as parser

    text, encoding, notes = _decoded(path, encoding, most)
    beginning, separator = _separator(path, text[:MIB], separator)
    whole = text[len(text[:MIB]) - len(beginning) :]  # without a line that only names the separator
    text = _BLANK_LINES.sub("", whole)  # the first line says how many columns there are
    above = whole[: len(whole) - len(text)].count("\n")
    width = len(next(iter(_parsed(beginning, separator, 1)), []))
    if not width:
        raise DataError(f"{path} has nothing in it; {_NEEDED}")
    left_out = set[int]()
    # pyarrow says nothing of a quote that is never closed, and leaves out what follows: a last row of ours shows it.
    data = (text.removesuffix("\n") + "\n" + separator.join([_LAST] * width) + "\n").encode(errors="surrogatepass")
    try:
        table = parser.read_csv(
            pa.py_buffer(data),
            read_options=parser.ReadOptions(use_threads=False, block_size=_BLOCK, autogenerate_column_names=True),
            parse_options=parser.ParseOptions(
                delimiter=separator,
                newlines_in_values=True,
                ignore_empty_lines=False,
                invalid_row_handler=_reporter(problems, width, left_out, above),
            ),
            convert_options=parser.ConvertOptions(
                column_types={f"f{column}": pa.dictionary(pa.int32(), pa.string()) for column in range(width)},
                strings_can_be_null=False,
            ),
        )
    except pa.ArrowException as error:
        raise DataError(f"{path} is no readable table: {one_line(error)}; check its quotes") from error
    if not table.num_rows or table.column(0)[-1].as_py() != _LAST:
        raise DataError(f"{path} is no readable table: a quote is never closed; check its quotes")
    table = table.slice(0, table.num_rows - 1)
    if table.num_rows < 2:
        problems.raise_if_any(str(path), "correct the table, or say with --separator what stands between its cells")
    numbers = [above + row for row in range(1, table.num_rows + len(left_out) + 1) if row not in left_out]
    return _sheet(path, table.columns, numbers, notes)


def _reporter(problems: Problems, width: int, left_out: set[int], above: int = 0) -> Callable[[Any], str]:
    """What pyarrow asks about each row of another width than the header's; blank ones are left out without a word."""

    def leave_out(row: Any) -> str:
        left_out.add(row.number)
        if row.text.strip():
            where = f"row {above + row.number}: " if row.number else ""
            problems.add(f"rows do not have the header's {width} cells", f"{where}{row.actual_columns}")
        return "skip"

    return leave_out


def _decoded(path: Path, encoding: str | None, most: int) -> tuple[str, str, tuple[str, ...]]:
    """The text of a file, its encoding, and what to say of it."""
    with open_file(path, most) as raw, _unpacked(path, raw) as stream:
        data = stream.read(most + 1)
    if len(data) > most:
        raise DataError(f"{path} holds more than {most} bytes; split it")
    found = encoding or _mark(data)
    if not found and 4 * data[:MIB].count(0) > len(data[:MIB]):  # UTF-16 without its mark
        raise DataError(f"{path} is no UTF-8 text; name its encoding with --encoding, or save it as CSV in UTF-8")
    try:
        return data.decode(found or "utf-8"), found or "utf-8", ()
    except LookupError as error:
        raise DataError(f"no encoding is called '{encoding}'; name one of Python's, such as cp1252") from error
    except UnicodeDecodeError as error:
        if found:
            raise DataError(f"{path} is no {found} text; name its encoding with --encoding") from error
    try:
        return (
            data.decode("cp1252"),
            "cp1252",
            (f"{path.name} is no UTF-8 and is read as cp1252; --encoding names another",),
        )
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is neither UTF-8 nor cp1252; name its encoding with --encoding") from error


def _mark(data: bytes) -> str | None:
    return next((encoding for mark, encoding in _MARKS.items() if data.startswith(mark)), None)


def _is_packed(path: Path) -> bool:
    return path.suffix.lower() == ".gz"


def _unpacked(path: Path, raw: IO[bytes]) -> IO[bytes]:
    import gzip

    return gzip.GzipFile(fileobj=raw) if _is_packed(path) else raw  # type: ignore[return-value]


def _beginning(path: Path, encoding: str | None) -> tuple[str, str]:
    """The first MiB of a file as text, and its encoding; what a cut character leaves is dropped."""
    with open_file(path) as raw, _unpacked(path, raw) as stream:
        data = stream.read(MIB)
    encoding = encoding or _mark(data) or "utf-8"
    return data.decode(encoding, errors="replace").rstrip("\N{REPLACEMENT CHARACTER}"), encoding


def _separator(path: Path, text: str, given: str | None) -> tuple[str, str]:
    """`text` without a line that only names the separator, and the separator.

    It is the one that gives every row as many cells as the header, the more the better; where none does, the one
    that splits the header most.
    """
    first, _, rest = text.partition("\n")
    if (named := first.strip().strip('"')).lower().startswith("sep=") and len(named) <= 5:
        return rest, given or named[4:] or "\t"
    if given or path.name.lower().removesuffix(".gz").endswith((".tsv", ".tab")):
        return text, given or "\t"
    return text, max(SEPARATORS.values(), key=lambda separator: _fit(text, separator))


def _fit(text: str, separator: str) -> tuple[bool, int]:
    try:
        header, *rows = [len(row) for row in _parsed(text, separator, 20)]
    except (csv.Error, ValueError):
        return False, 0
    return header > 1 and all(width == header for width in rows), header if header > 1 else 0


def _parsed(text: str, separator: str, rows: int) -> list[list[str]]:
    """The first `rows` rows that are not blank."""
    read = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    filled = ([cell.strip() for cell in cells] for cells in read if any(map(str.strip, cells)))
    return list(islice(filled, rows))


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


def _from_workbook(path: Path) -> Sheet:
    """The only sheet of an XLSX file that has a cell."""
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
            read = {sheet.title: [list(row) for row in sheet.iter_rows(values_only=True)] for sheet in book.worksheets}
    except OSError:
        raise
    except Exception as error:  # openpyxl and the XML parser below it raise a dozen kinds
        raise DataError(f"{path} is no readable XLSX file: {one_line(error)}; save it again") from error
    filled = {title: rows for title, rows in read.items() if any(cell is not None for row in rows for cell in row)}
    if len(filled) != 1:
        found = first_few(filled) or "none"
        raise DataError(f"{path} has {len(filled)} sheets with cells ({found}); save the one with the labels as CSV")
    (rows,) = filled.values()
    width = max(map(len, rows))
    cells = [[_told(value) for value in row] + [""] * (width - len(row)) for row in rows]
    columns = [pa.chunked_array([column]).dictionary_encode() for column in zip(*cells, strict=True)]
    return _sheet(path, columns, range(1, len(rows) + 1), ())


def _told(value: object) -> str:
    return "" if value is None else str(value)


def _check_size(path: Path, rows: int, columns: int) -> None:
    if rows * columns > MOST_CELLS:
        raise DataError(f"{path} holds {rows * columns} cells or bytes, expected at most {MOST_CELLS}; split it")


# Both

_NEEDED = "a table needs an image column, a column per class and a row per image"


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
        raise DataError(f"{path} has {found}; {_NEEDED}")
    names = [" ".join(column[int(rows[0])].as_py().split()) for column in whole]
    kept = [column for column, name in enumerate(names) if name or not empty[column].all()]
    cells = [whole[column].take(pa.array(rows[1:])) for column in kept]
    return Sheet(path, tuple(names[column] for column in kept), cells, np.asarray(numbers)[rows[1:]], notes)
