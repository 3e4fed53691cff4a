"""What a file of text does not say of itself: its encoding, what separates its cells, and where its header is."""

from __future__ import annotations

import csv
import gzip
import io
import re
import zlib
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import IO

from mlrpl_cli.core.io.errors import DataError
from mlrpl_cli.core.io.reading import MIB, open_file, short

SEPARATORS = {"comma": ",", "semicolon": ";", "tab": "\t", "pipe": "|"}
NEEDED = "a table needs an image column, a column per class and a row per image"
MOST_COLUMNS = 20_000
"""Ten times the classes of any data set that is published as a table; each takes some 10 KB while a table is read."""
UNPACKING = EOFError, zlib.error, gzip.BadGzipFile
"""What a damaged compressed file raises."""
_MARKS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
BEGINNING = 20
"""Rows that tell what a table is."""
_NEAR = 1000  # with the blank ones between them
_BLANK_LINES = re.compile(r"\A(?:[^\S\n]*\n)+")


class EmptyTableError(DataError):
    """A table without a row below its header, or without a cell."""


def without_blank_lines(text: str) -> str:
    """`text` from the first line on that is not blank."""
    return _BLANK_LINES.sub("", text)


def peek(path: Path, rows: int = BEGINNING) -> list[list[str]]:
    """The first `rows` rows of a text table, its header among them, to recognise it by; [] for what is none.

    Rows above the header do not count: reading refuses them with a sentence that says what to do.
    """
    try:
        text, _ = beginning_of(path, None)
        text, separator = separator_of(path, text, None)
        begun = parsed(text, separator, BEGINNING)
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


def check_width(path: Path, columns: int) -> None:
    """Raise DataError for more columns than a table may have."""
    if columns > MOST_COLUMNS:
        raise DataError(
            f"{path} has {columns} columns, expected at most {MOST_COLUMNS}; write a row per image and label instead "
            "(--dataset long)"
        )


def decoded(path: Path, encoding: str | None, most: int) -> tuple[str, str, tuple[str, ...]]:
    """The text of a file, its encoding, and what to say of it."""
    with open_file(path, most) as raw, unpacked(path, raw) as stream:
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


def unpacked(path: Path, raw: IO[bytes]) -> IO[bytes]:
    """`raw`, unpacked when the file is called as a compressed one."""
    return gzip.GzipFile(fileobj=raw) if path.suffix.lower() == ".gz" else raw  # type: ignore[return-value]


def beginning_of(path: Path, encoding: str | None) -> tuple[str, str]:
    """The first MiB of a file as text, and its encoding; what a cut character leaves is dropped."""
    with open_file(path) as raw, unpacked(path, raw) as stream:
        data = stream.read(MIB)
    encoding = encoding or _mark(data) or "utf-8"
    return data.decode(encoding, errors="replace").rstrip("\N{REPLACEMENT CHARACTER}"), encoding


def separator_of(path: Path, text: str, given: str | None) -> tuple[str, str]:
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
        begun = parsed(text, separator, BEGINNING)
        above = titles_above(begun)
        header, *rows = [len(row) for row in begun[above:]]
    except (csv.Error, ValueError):
        return False, True, 0
    return header > 1 and all(width == header for width in rows), not above, header if header > 1 else 0


def parsed(text: str, separator: str, rows: int) -> list[list[str]]:
    """The first `rows` rows that are not blank, of the _NEAR that begin with the first of them."""
    read = csv.reader(io.StringIO(without_blank_lines(text), newline=""), delimiter=separator)
    filled = ([cell.strip() for cell in cells] for cells in islice(read, _NEAR) if any(map(str.strip, cells)))
    return list(islice(filled, rows))


def numbered(text: str, separator: str) -> tuple[list[list[str]], list[int]]:
    """The first rows that are not blank and their numbers; none where a later one cannot be parsed."""
    read = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    filled = (
        (number, [cell.strip() for cell in cells]) for number, cells in enumerate(islice(read, _NEAR), 1) if any(cells)
    )
    try:
        begun = list(islice(filled, BEGINNING))
    except csv.Error:
        return [], []
    return [cells for _, cells in begun], [number for number, _ in begun]
