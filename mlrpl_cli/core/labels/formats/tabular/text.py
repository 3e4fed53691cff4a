"""Tables of text, read whole or as a stream: pyarrow parses, with the separator and encoding that `dialect` finds."""

from __future__ import annotations

import codecs
import csv
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from mlrpl_cli.core.io.errors import DataError, Problems, one_line
from mlrpl_cli.core.io.progress import Task
from mlrpl_cli.core.io.reading import MIB, open_file, short
from mlrpl_cli.core.labels.formats.tabular.dialect import (
    NEEDED,
    UNPACKING,
    EmptyTableError,
    beginning_of,
    check_header,
    check_width,
    decoded,
    numbered,
    parsed,
    separator_of,
    unpacked,
    without_blank_lines,
)

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

_BLOCK = 16 * MIB  # a row may be this long
_STREAM_BLOCK = 4 * MIB  # of which pyarrow reads 32 ahead
_LAST = "\x1e"


def read_text_table(
    path: Path, problems: Problems, separator: str | None, encoding: str | None, most: int
) -> tuple[list[pa.ChunkedArray], np.ndarray, tuple[str, ...]]:
    """The columns of a file, header included, the number of each row, and what had to be found out to read it.

    Raises DataError for what is no table, and for one that is larger than `most` bytes.
    """
    import numpy as np
    import pyarrow as pa
    from pyarrow import csv as parser

    text, encoding, notes = decoded(path, encoding, most)
    beginning, separator = separator_of(path, text[:MIB], separator)
    whole = text[len(text[:MIB]) - len(beginning) :]  # without a line that only names the separator
    text = without_blank_lines(whole)  # the first line says how many columns there are
    above = whole[: len(whole) - len(text)].count("\n")
    width = len(next(iter(parsed(beginning, separator, 1)), []))
    if not width:
        raise EmptyTableError(f"{path} has nothing in it; {NEEDED}")
    check_width(path, width)
    check_header(path, *numbered(beginning, separator))
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
    counted = np.arange(1, table.num_rows + len(left_out) + 1)
    return table.columns, above + counted[~np.isin(counted, list(left_out))], notes


def stream(path: Path, columns: Sequence[str], problems: Problems, task: Task) -> Iterator[pa.RecordBatch]:
    """Batches of the named `columns` of a large table of text with a header, plain or compressed, all of them text.

    Memory is that of some 40 blocks of 4 MiB. `task` is told how many bytes of the file are behind each batch. Raises
    DataError for a file without one of the columns or no table.
    """
    import pyarrow as pa
    from pyarrow import csv as parser

    try:
        whole, encoding = beginning_of(path, None)
        text, separator = separator_of(path, whole, None)
        header = next(iter(parsed(text, separator, 1)), [])
        check_width(path, len(header))
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
        with open_file(path) as raw, unpacked(path, raw) as plain:
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
