"""Which image is of which fold: a table with a header, image and fold, or what `mlrpl prepare --folds` drew.

Axes: N images of a prepared folder.
"""

from __future__ import annotations

import posixpath
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from unicodedata import normalize

import numpy as np

from mlrpl_cli.core.io.errors import DataError, Problems, counted, first_few
from mlrpl_cli.core.io.reading import MIB, short
from mlrpl_cli.core.labels.formats.tabular.dialect import EmptyTableError
from mlrpl_cli.core.labels.formats.tabular.sheets import read_table
from mlrpl_cli.core.prepared.folder import NO_FOLD, Prepared

OF_PREPARED = Path("prepared")
"""What stands for the folds of the prepared folder."""
IMAGE_COLUMNS, FOLD_COLUMN = ("image", "id"), "fold"
HEADER = "expected a header with image (or id) and fold, and a row for each image"
MOST_BYTES = 256 * MIB
_FOLD = re.compile(r"(\d{1,2})(\.0)?", re.ASCII)
"""A whole number, also as pandas writes it in a column with blanks."""
_CORRECT = "correct the file of --folds"


def read_folds(path: Path) -> dict[str, int]:
    """The fold of each image that the file gives one. Raises DataError, which tells all that is wrong in the file."""
    problems = Problems()
    try:
        sheet = read_table(path, problems, most=MOST_BYTES)
    except EmptyTableError as error:
        raise DataError(f"{path} names no image; {HEADER}") from error
    image, fold = sheet.find(*IMAGE_COLUMNS), sheet.find(FOLD_COLUMN)
    if image is None or fold is None:
        raise DataError(f"{path} has the columns {first_few(map(short, sheet.names), 6)}; {HEADER}")
    found, named = dict[str, int](), set[str]()
    for number, name, cell in zip(sheet.numbers.tolist(), sheet.column(image), sheet.column(fold), strict=True):
        if name in named:
            problems.add("images are named twice", short(name))
        elif told := _FOLD.fullmatch(cell):
            found[name] = int(told[1])
        elif cell:
            problems.add("folds are other than a whole number from 0 to 99", f"row {number}: '{short(cell)}'")
        named.add(name)
    problems.raise_if_any(str(path), _CORRECT)
    if (count := len(set(found.values()))) < 2:
        raise DataError(f"{path} has {counted(count, 'fold')}, expected at least 2; {_CORRECT}")
    return found


def folds_of(prepared: Prepared, source: Path) -> np.ndarray:
    """(N,) int16: the fold of each image by `source`, a file or OF_PREPARED; NO_FOLD for those of none.

    Raises DataError for a file that is wrong, that names an image twice or one that the data do not have, and where
    there are no folds.
    """
    if source != OF_PREPARED:
        return _of_names(prepared.images, read_folds(source), source)
    if prepared.folds is None or prepared.folds.max(initial=NO_FOLD) < 1:
        raise DataError(f"{prepared.folder} has no folds; prepare it with --folds K, or name a file with --folds")
    return prepared.folds


def _of_names(images: Sequence[str], named: Mapping[str, int], path: Path) -> np.ndarray:
    at = _by_last_part(images)
    folds, problems = np.full(len(images), NO_FOLD, np.int16), Problems()
    for name, fold in named.items():
        meant = normalize("NFC", name.replace("\\", "/"))
        rows = [row for row in at.get(posixpath.basename(meant), ()) if _fits(images[row], meant)]
        rows = [row for row in rows if normalize("NFC", images[row]) == meant] or rows
        if len(rows) > 1:
            fitting = first_few(short(images[row]) for row in rows)
            problems.add("names fit several images", f"{short(name)}: {fitting}")
        elif not rows:
            problems.add("images are not in the data", short(name))
        elif folds[rows[0]] != NO_FOLD:
            problems.add("images are named twice", short(images[rows[0]]))
        else:
            folds[rows[0]] = fold
    problems.raise_if_any(
        str(path), "name each image once, by its name in the data, the end of its path, or its name without suffix"
    )
    return folds


def _by_last_part(images: Sequence[str]) -> dict[str, list[int]]:
    """The rows of images by the last part of their names, with suffix and without."""
    found = defaultdict[str, list[int]](list)
    for row, image in enumerate(images):
        last = posixpath.basename(normalize("NFC", image))
        for key in {last, posixpath.splitext(last)[0]}:
            found[key].append(row)
    return found


def _fits(image: str, name: str) -> bool:
    """Whether a name is an image's, or the end of its path, with suffix or without."""
    whole = "/" + normalize("NFC", image)
    return any(way.endswith(f"/{name}") for way in (whole, posixpath.splitext(whole)[0]))
