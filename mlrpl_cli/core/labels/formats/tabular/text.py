"""Tables of text: what separates their cells, how they are encoded, read whole, by their beginning, or as a stream.

pyarrow parses. What it cannot know is found here: separator and encoding.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from mlrpl_cli.core.io.errors import DataError, Problems, one_line
from mlrpl_cli.core.io.progress import Task
from mlrpl_cli.core.io.reading import MIB, open_file, short

if TYPE_CHECKING:
    import pyarrow as pa

SEPARATORS = {"comma": ",", "semicolon": ";", "tab": "\t", "pipe": "|"}
NEEDED = "a table needs an image column, a column per class and a row per image"
UNPACKING = EOFError, zlib.error, gzip.BadGzipFile
"""What a damaged compressed file raises."""
_BLOCK = 16 * MIB  # a row may be this long
_STREAM_BLOCK = 4 * MIB  # of which pyarrow reads 32 ahead
_LAST = "\x1e"
_BLANK_LINES = re.compile(r"\A(?:[^\S\n]*\n)+")
_MARKS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}


BEGINNING = 20
"""Rows that tell what a table is."""


def peek(path: Path, rows: int = BEGINNING) -> list[list[str]]:
    """The first `rows` rows of a text table, its header among them, to recognise it by; [] for what is none.

    Rows above the header do not count: reading refuses them with a sentence that says what to do.
    """
    try:
        text, _ = _beginning(path, None)
        text, separator = _separator(path, text, None)
        begun = _parsed(text, separator, BEGINNING)
        return (begun[titles_above(begun) :] or begun)[:rows]
    except (DataError, OSError, csv.Error, *UNPACKING):
        return []


def titles_above(rows: Sequence[Sequence[str]]) -> int:
    """How many of the first rows stand above the header: those of a cell or two, where rows of many cells follow.

    A row of two cells is one only in a table that has a place for every cell of it, as spreadsheets write: elsewhere it
    is a header, below which separators are too many.
    """
    filled = [sum(map(bool, cells)) for cells in rows]
    most = max(filled, default=0)
    above = filled.index(most) if filled else 0
    padded = len({len(cells) for cells in rows}) == 1
    few = 2 if padded and most > 3 else 1
    is_index = most == 2 and padded and not rows[0][0]
    is_even = len({len(cells) for cells in rows[above:]}) == 1 and len(rows) > above + 1
    return above if above and is_even and not is_index and max(filled[:above]) <= few else 0


def check_header(path: Path, rows: Sequence[Sequence[str]], numbers: Sequence[int]) -> None:
    """Raise DataError, which says what to do, where `rows`, the first of a table, begin above its header."""
    if above := titles_above(rows):
        found = ", ".join(f"row {numbers[row]}: '{short(' '.join(filter(None, rows[row])))}'" for row in range(above))
        raise DataError(
            f"{path} has {above} {'rows' if above > 1 else 'row'} of another kind above what looks like the header, "
            f"row {numbers[above]} ({found}); delete what stands above the header"
        )


def read_text_table(
    path: Path, problems: Problems, separator: str | None, encoding: str | None, most: int
) -> tuple[list[pa.ChunkedArray], list[int], tuple[str, ...]]:
    """The columns of a file, header included, the number of each row, and what had to be found out to read it.

    Raises DataError for what is no table, and for one that is larger than `most` bytes.
    """
    import pyarrow as pa
    from pyarrow import csv as parser

    text, encoding, notes = _decoded(path, encoding, most)
    beginning, separator = _separator(path, text[:MIB], separator)
    whole = text[len(text[:MIB]) - len(beginning) :]  # without a line that only names the separator
    text = _BLANK_LINES.sub("", whole)  # the first line says how many columns there are
    above = whole[: len(whole) - len(text)].count("\n")
    width = len(next(iter(_parsed(beginning, separator, 1)), []))
    if not width:
        raise DataError(f"{path} has nothing in it; {NEEDED}")
    check_header(path, *_numbered(beginning, separator))
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
    return table.columns, numbers, notes


def stream(path: Path, columns: Sequence[str], problems: Problems, task: Task) -> Iterator[pa.RecordBatch]:
    """Batches of the named `columns` of a large table of text with a header, plain or compressed, all of them text.

    Memory is that of some 40 blocks of 4 MiB. `task` is told how many bytes of the file are behind each batch. Raises
    DataError for a file without one of the columns or no table.
    """
    import pyarrow as pa
    from pyarrow import csv as parser

    try:
        whole, encoding = _beginning(path, None)
        text, separator = _separator(path, whole, None)
        header = next(iter(_parsed(text, separator, 1)), [])
        if missing := [name for name in columns if name not in header]:
            found = short(", ".join(header)) or "nothing"
            raise DataError(f"{path} has no column {', '.join(missing)}, only {found}; check the file")
        every = [f"f{column}" for column in range(len(header))]
        names = {name: every[header.index(name)] for name in columns}
        skipped = 1 + (text is not whole)  # the header, and a line that only names the separator
        reading = parser.ReadOptions(block_size=_STREAM_BLOCK, skip_rows=skipped, column_names=every)
        kept = parser.ConvertOptions(
            column_types=dict.fromkeys(names.values(), pa.string()), include_columns=list(names.values())
        )
        handled = parser.ParseOptions(
            delimiter=separator,
            quote_char='"' if '"' in text else False,
            invalid_row_handler=_reporter(problems, len(header), set()),
        )
        with open_file(path) as raw, _unpacked(path, raw) as plain:
            ended = _Ended(_in_utf8(plain, encoding), separator.join([_LAST] * len(header)))
            done, is_whole = 0, False
            for batch in parser.open_csv(pa.PythonFile(ended, "r"), reading, handled, kept):
                if is_whole := bool(batch.num_rows) and batch.column(0)[-1].as_py() == _LAST:
                    batch = batch.slice(0, batch.num_rows - 1)
                yield batch.rename_columns(list(columns))
                task.advance(raw.tell() - done)
                done = raw.tell()
    except (pa.ArrowException, csv.Error, UnicodeDecodeError, *UNPACKING) as error:
        raise DataError(f"{path} is no readable table: {one_line(error)}; fetch or save it again") from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or one_line(error)}; check the path") from error
    if not is_whole:
        raise DataError(f"{path} is no readable table: a quote is never closed; check its quotes")


class _Ended:
    """A stream of UTF-8 with one more row at its end. Reading raises UnicodeDecodeError for what is no UTF-8.

    pyarrow says nothing of a quote that is never closed, and leaves out what follows: the row shows it. And it prints a
    traceback where a row that it refuses is no UTF-8.
    """

    closed = False

    def __init__(self, stream: Any, row: str) -> None:
        self._stream, self._row = stream, f"\n{row}\n".encode()
        self._check = codecs.getincrementaldecoder("utf-8")()

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        while len(data) < size and (more := self._stream.read(size - len(data))):
            data += more
        if len(data) < size:  # in one block with the last rows, where pyarrow would take the end for a quote
            data += self._row
            data, self._row = data[:size], data[size:]
        self._check.decode(data, final=not data)
        return data

    def close(self) -> None:
        self.closed = True


def _in_utf8(stream: IO[bytes], encoding: str) -> Any:
    if encoding.startswith("utf-8"):
        return stream
    import pyarrow as pa

    return pa.transcoding_input_stream(pa.PythonFile(stream, "r"), encoding, "utf-8")


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


def _fit(text: str, separator: str) -> tuple[bool, bool, int]:
    """Whether all rows are as wide as the header, with nothing above it, and how wide it is."""
    try:
        begun = _parsed(text, separator, BEGINNING)
        above = titles_above(begun)
        header, *rows = [len(row) for row in begun[above:]]
    except (csv.Error, ValueError):
        return False, True, 0
    return header > 1 and all(width == header for width in rows), not above, header if header > 1 else 0


def _parsed(text: str, separator: str, rows: int) -> list[list[str]]:
    """The first `rows` rows that are not blank."""
    read = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    filled = ([cell.strip() for cell in cells] for cells in read if any(map(str.strip, cells)))
    return list(islice(filled, rows))


def _numbered(text: str, separator: str) -> tuple[list[list[str]], list[int]]:
    """The first rows that are not blank and their numbers; none where a later one cannot be parsed."""
    read = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    filled = ((number, [cell.strip() for cell in cells]) for number, cells in enumerate(read, 1) if any(cells))
    try:
        begun = list(islice(filled, BEGINNING))
    except csv.Error:
        return [], []
    return [cells for _, cells in begun], [number for number, _ in begun]
