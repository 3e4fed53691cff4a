"""Tables that are no text: Parquet and XLSX, as columns of text."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlrpl_cli.core.io.errors import DataError, agreeing, did_you_mean, first_few, one_line
from mlrpl_cli.core.io.reading import GIB, open_file, short
from mlrpl_cli.core.labels.formats.tabular.dialect import NEEDED, EmptyTableError, check_width

Cells = tuple[list[Any], Sequence[int], tuple[str, ...]]
"""The columns of a table, header included, the number of each row, and what had to be found out to read it."""
MOST_CELLS = 2 * GIB
"""Of a Parquet or XLSX file, which may hold far more than its size tells."""


def read_parquet(path: Path, most: int) -> Cells:
    """The columns of a Parquet file of at most `most` bytes. Raises DataError for what is none."""
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with open_file(path, most) as raw:
            file = parquet.ParquetFile(raw)
            check_width(path, file.metadata.num_columns)
            _check_size(path, file.metadata.num_rows, file.metadata.num_columns)
            table = file.read(use_threads=False)
        columns = [_as_text(column) for column in table.columns]
    except (pa.ArrowException, OSError, EOFError) as error:
        raise DataError(f"{path} is no readable Parquet file: {one_line(error)}; save it again") from error
    header = [pa.chunked_array([[name]]).dictionary_encode() for name in table.column_names]
    joined = [pa.chunked_array([*head.chunks, *column.chunks]) for head, column in zip(header, columns, strict=True)]
    return joined, range(table.num_rows + 1), ()


def _as_text(column: Any) -> Any:
    """A column of any type as a dictionary of text: missing is "", and what holds several values is JSON.

    Of these a missing one is null: nobody said anything, while an empty list says that there is nothing.
    """
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_nested(column.type):
        cells = (json.dumps(value, default=str) for value in column.to_pylist())
        column = pa.chunked_array([pa.array(cells, pa.string())])
    try:
        column = column.cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):  # bytes that are no text, such as those of images
        told = (None if value is None else short(str(value)) for value in column.to_pylist())
        column = pa.chunked_array([pa.array(told, pa.string())])
    return column.fill_null("").dictionary_encode()


def read_workbook(path: Path, most: int, title: str | None) -> Cells:
    """The sheet of an XLSX file that is called `title`, else the only one that has a cell.

    Raises DataError for what is no such file or longer than `most` bytes, and where it is not clear which sheet counts.
    """
    try:
        import openpyxl
    except ImportError as error:
        raise DataError(f"{path} needs openpyxl; pip install 'mlrpl[xlsx]', or save the sheet as CSV") from error
    import pyarrow as pa

    try:
        with open_file(path, most) as raw:
            with zipfile.ZipFile(raw) as packed:
                _check_size(path, sum(info.file_size for info in packed.infolist()), 1)
            book = openpyxl.load_workbook(raw, read_only=True, data_only=True)
            read = _rows_of(book)
            stored = _rows_of(openpyxl.load_workbook(raw, read_only=True))
    except OSError:
        raise
    except Exception as error:  # openpyxl and the XML parser below it raise a dozen kinds
        raise DataError(f"{path} is no readable XLSX file: {one_line(error)}; save it again") from error
    chosen = _chosen(path, read, title)
    rows = read[chosen]
    if formulas := sum(map(_without_values, rows, stored[chosen])):
        where = agreeing(formulas, "cells hold formulas without a value")
        raise DataError(f"{path}: {where}; open and save it in a spreadsheet program, or save it as CSV")
    if not any(cell is not None for row in rows for cell in row):
        raise EmptyTableError(f"{path} has nothing in it; {NEEDED}")
    width = max(map(len, rows))
    check_width(path, width)
    cells = [[_told(value) for value in row] + [""] * (width - len(row)) for row in rows]
    columns = [pa.chunked_array([column]).dictionary_encode() for column in zip(*cells, strict=True)]
    return columns, range(1, len(rows) + 1), ()


def _rows_of(book: Any) -> dict[str, list[list[object]]]:
    """The rows of each sheet of a workbook."""
    return {sheet.title: [list(row) for row in sheet.iter_rows(values_only=True)] for sheet in book.worksheets}


def _chosen(path: Path, read: Mapping[str, list[list[object]]], title: str | None) -> str:
    """The sheet that counts. Raises DataError, which asks, where it is not clear."""
    if title is not None and title not in read:
        raise DataError(f"{path} has no sheet '{short(title)}'; {did_you_mean(title, read)}")
    filled = [name for name, rows in read.items() if any(cell is not None for row in rows for cell in row)]
    if title is None and not filled:
        raise EmptyTableError(f"{path} has nothing in it; {NEEDED}")
    if title is None and len(filled) > 1:
        found = first_few((f"'{short(name)}'" for name in filled), 6)
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
