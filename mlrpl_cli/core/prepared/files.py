"""The files beside a manifest: a row an image, and a cell an image and class.

What is read may be damaged: nothing is made of the size that a file claims before the file has that size.
"""

from __future__ import annotations

import csv
import io
import tokenize
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from mlrpl_cli.core.io.errors import DataError
from mlrpl_cli.core.io.reading import GIB, is_file_name, leads_outside, open_file, shown
from mlrpl_cli.core.labels.records import SPLITS

AGAIN = "run mlrpl prepare again"
MOST_OF_IMAGES, MOST_OF_LABELS = GIB, 64 * GIB
"""Bytes: an image takes some 30, a label one."""
IMAGES_HEADER = ("split", "image")
NPY_VERSION = (1, 0)
"""What numpy writes for a header as short as ours."""


def damaged(folder: Path, what: str) -> DataError:
    """The error for a prepared folder that does not hold what `prepare` wrote."""
    return DataError(f"{folder} is damaged: {what}; {AGAIN}")


def write_images(path: Path, splits: Sequence[str], images: Sequence[str]) -> None:
    """Write a row an image, its split before its name."""
    # surrogateescape: a file name need not be valid UTF-8, and has to come back as the same bytes.
    with path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(IMAGES_HEADER)
        writer.writerows(zip(splits, images, strict=True))


def read_images(path: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Splits and images. Raises DataError for what `write_images` cannot have written."""
    with io.TextIOWrapper(open_file(path, MOST_OF_IMAGES), "utf-8", "surrogateescape", newline="") as stream:
        reader = csv.reader(stream, strict=True)
        try:
            rows = [tuple(row) for row in reader]
        except csv.Error as error:
            raise damaged(path.parent, f"{path.name} is no table ({error})") from error
    if not rows or rows[0] != IMAGES_HEADER:
        raise damaged(path.parent, f"{path.name} does not begin with {','.join(IMAGES_HEADER)}")
    for number, row in enumerate(rows[1:], 2):
        if len(row) != 2 or row[0] not in SPLITS or not is_file_name(row[1]) or leads_outside(row[1]):
            raise damaged(path.parent, f"row {number} of {path.name} is no split and image inside: {shown(row)}")
    return tuple(row[0] for row in rows[1:]), tuple(row[1] for row in rows[1:])


def read_labels(path: Path, shape: tuple[int, int]) -> np.ndarray:
    """(N, C) int8. Raises DataError for a header that says otherwise, before anything of its size is made."""
    with open_file(path) as stream:
        got_shape, by_column, dtype = _read_header(path, stream)
        if got_shape != shape or dtype != np.int8:
            got = f"{dtype} {got_shape}"
            raise damaged(path.parent, f"{path.name} holds {got}, expected int8 {shape} (images, classes)")
        cells = path.stat().st_size - stream.tell()
        if cells != shape[0] * shape[1]:
            raise damaged(path.parent, f"{path.name} holds {cells} cells, expected {shape[0]} × {shape[1]}")
        return np.fromfile(stream, np.int8, cells).reshape(shape, order="F" if by_column else "C")


def _read_header(path: Path, stream: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype]:
    try:
        if np.lib.format.read_magic(stream) != NPY_VERSION:
            raise ValueError("of another version")
        return np.lib.format.read_array_header_1_0(stream)
    # Numpy reads the header as Python, whose parser has errors of its own.
    except (ValueError, TypeError, SyntaxError, tokenize.TokenError, RecursionError, MemoryError) as error:
        raise damaged(path.parent, f"{path.name} is no array that mlrpl wrote") from error
