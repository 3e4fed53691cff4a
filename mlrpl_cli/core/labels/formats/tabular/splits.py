"""The splits that columns of a table say: by their names, by flags, or by numbers of folds."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from typing import TYPE_CHECKING

from mlrpl_cli.core.io.errors import ConfigError, did_you_mean, first_few
from mlrpl_cli.core.io.reading import short
from mlrpl_cli.core.labels.formats.tabular.columns import FLAGS, FOLD_COLUMNS, MISSING, SPLIT_COLUMNS, state_of
from mlrpl_cli.core.labels.formats.tabular.sheets import Sheet, key_of
from mlrpl_cli.core.labels.records import SPLIT_NAMES, TEST, TRAIN, VALIDATION, Reading
from mlrpl_cli.core.labels.states import ABSENT, PRESENT

if TYPE_CHECKING:
    import numpy as np


def split_columns(sheet: Sheet, taken: Collection[int] = ()) -> set[int]:
    """The columns that `splits_of` reads, of those that are not `taken` for something else."""
    kinds = (set(map(key_of, SPLIT_COLUMNS)), set(FLAGS), set(map(key_of, FOLD_COLUMNS)))
    found = ({c for c, key in enumerate(sheet.keys) if key in kind and c not in taken} for kind in kinds)
    return next(filter(None, found), set())


def splits_of(sheet: Sheet, reading: Reading, test_fold: str | None, taken: Collection[int] = ()) -> list[str | None]:
    """The split of each row, None where the table does not say: by a column of splits, else by flags, else by folds."""
    columns = sorted(split_columns(sheet, taken))
    if not columns:
        return [None] * sheet.rows
    if sheet.keys[columns[0]] in FLAGS:
        return _flagged(sheet, columns, reading)
    if len(columns) > 1:
        names = ", ".join(short(sheet.names[column]) for column in columns)
        raise ConfigError(f"columns {names} of {sheet.path} say splits: leave all but one out with --ignore-columns")
    read = named_splits if sheet.keys[columns[0]] in map(key_of, SPLIT_COLUMNS) else partial(_folds, test_fold)
    splits = read(sheet, columns[0], reading)
    _check_flags(sheet, columns[0], splits, taken)
    return splits


def _check_flags(sheet: Sheet, column: int, splits: Sequence[str | None], taken: Collection[int]) -> None:
    """Raise ConfigError where a flag says yes to another split than `splits`, which `column` says."""
    for flag, key in enumerate(sheet.keys):
        if key in FLAGS and flag not in taken:
            flagged = sheet.codes(flag, state_of()) == PRESENT
            if other := [row for row in flagged.nonzero()[0].tolist() if splits[row] != FLAGS[key]]:
                told, name = short(sheet.names[column]), short(sheet.names[flag])
                raise ConfigError(
                    f"columns {told} and {name} of {sheet.path} say different splits of {len(other)} rows, the first "
                    f"row {sheet.numbers[other[0]]}: leave one of the columns out with --ignore-columns"
                )


def numbers_folds(sheet: Sheet, taken: Collection[int] = ()) -> bool:
    """Whether `splits_of` reads a column of folds."""
    return any(sheet.keys[column] in map(key_of, FOLD_COLUMNS) for column in split_columns(sheet, taken))


_BY_FLAGS = TRAIN, TEST, VALIDATION
"""What an image is where flags leave several: with is_valid alone a no is of train, with is_train alone of test."""


def _flagged(sheet: Sheet, columns: Sequence[int], reading: Reading) -> list[str | None]:
    """The first of _BY_FLAGS that every flag of a row allows; a problem for rows of which they allow none."""
    import numpy as np

    allowed = np.ones((sheet.rows, len(_BY_FLAGS)), bool)
    answered = np.zeros(sheet.rows, bool)
    for column in columns:
        split, name = FLAGS[sheet.keys[column]], short(sheet.names[column])
        states = sheet.codes(column, state_of())
        blank = _blank(sheet, column)
        answered |= ~blank
        # Ticks beside blanks alone do not show whether a blank is a no.
        wrong = (states != PRESENT) & (states != ABSENT) & ~(blank & (states == ABSENT).any())
        told = (f"row {sheet.numbers[row]}: '{short(sheet.column(column)[row])}'" for row in np.flatnonzero(wrong))
        reading.problems.extend(f"cells of {name} are neither yes nor no", told)
        allowed &= (states == PRESENT)[:, None] == (np.array(_BY_FLAGS) == split)
        reading.notes.append(f"column {name} says which images are of {split}")
    names = ", ".join(short(sheet.names[column]) for column in columns)
    none = (f"row {sheet.numbers[row]}" for row in np.flatnonzero(~allowed.any(axis=1) & answered).tolist())
    reading.problems.extend(f"rows are of two splits or of none, by {names}", none)
    places = zip(allowed.argmax(axis=1).tolist(), answered.tolist(), strict=True)
    return [_BY_FLAGS[place] if told else None for place, told in places]


def _blank(sheet: Sheet, column: int) -> np.ndarray:
    """(R,) bool: whether a cell says nothing."""
    return sheet.codes(column, is_blank) == 1


def is_blank(cell: str) -> bool:
    """Whether a cell is empty, or holds what programs write for one."""
    return not cell or cell.casefold() in MISSING


def named_splits(sheet: Sheet, column: int, reading: Reading) -> list[str | None]:
    """The split that each cell names; None for a blank one, of which it is not decided yet."""
    cells = sheet.column(column)
    for number, cell in zip(sheet.numbers, cells, strict=True):
        if cell.casefold() not in SPLIT_NAMES and not is_blank(cell):
            reading.problems.add("splits are none of train, validation, test", f"row {number}: '{short(cell)}'")
    reading.notes.append(f"column {short(sheet.names[column])} says which images are of which split")
    return [None if is_blank(cell) else SPLIT_NAMES.get(cell.casefold(), TRAIN) for cell in cells]


def _folds(test_fold: str | None, sheet: Sheet, column: int, reading: Reading) -> list[str | None]:
    name = short(sheet.names[column])
    cells = [cell.removesuffix(".0") for cell in sheet.column(column)]  # as pandas writes whole numbers
    if {cell.casefold() for cell in cells if not is_blank(cell)} <= SPLIT_NAMES.keys():
        if test_fold is not None:
            raise ConfigError(f"column {name} of {sheet.path} names splits and numbers no folds; leave --test-fold out")
        return named_splits(sheet, column, reading)
    folds = sorted({cell for cell in cells if not is_blank(cell)})
    if test_fold is None:
        raise ConfigError(
            f"column {name} of {sheet.path} numbers folds ({first_few(map(short, folds), 6)}) and does not say "
            f"which one tests: --test-fold {folds[-1]}, or --ignore-columns {name} to draw test images"
        )
    if test_fold not in folds:
        raise ConfigError(f"no row of {sheet.path} is of fold '{test_fold}'; {did_you_mean(test_fold, folds)}")
    reading.notes.append(f"column {name} says which images test: fold {test_fold}")
    return [None if is_blank(cell) else TEST if cell == test_fold else TRAIN for cell in cells]
