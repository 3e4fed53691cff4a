"""The form between a label file and its matrix: what was said of which image and class, mark by mark.

Every reader fills it, whatever the file looks like: wide and long tables, lists of tags, boxes, and annotations
that say what was checked. A cell without a mark has the one state that the format's documentation or the user gives it.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from mlrpl_cli.core.images.names import ImageNames
from mlrpl_cli.core.io.errors import DataError
from mlrpl_cli.core.io.reading import GIB, is_name, short
from mlrpl_cli.core.labels.states import ABSENT, PRESENT, UNKNOWN

if TYPE_CHECKING:
    import numpy as np

    from mlrpl_cli.core.labels.records import Reading

MOST_CELLS = 4 * GIB
"""Images times classes, a byte each."""
MOST_CLASSES = 50_000
"""More than twice those of Open Images, the most of any published data set: more labels than that are none."""
_NO_MARK = 2
NOWHERE = -1
"""The row of an image that is not there and the column of a class that is not wanted: marks in it count for nothing."""


def raise_too_many(name: str) -> NoReturn:
    """Raise DataError for more than MOST_CLASSES labels, `name` being one."""
    raise DataError(
        f"there are more than {MOST_CLASSES} different labels, such as '{short(name)}'; look whether labels are what "
        "is read, or name yours with --classes"
    )


class Marks:
    """Marks of images and classes, both in the order in which they first appear."""

    def __init__(self, root: Path, reading: Reading, classes: Iterable[str] = ()) -> None:
        """Images lie below `root`; `classes` are those that are known to come, in their order."""
        self._names, self._problems = ImageNames(root, reading.problems), reading.problems
        self._wanted = None if reading.classes is None else set(reading.classes)
        self._merged = reading.merged
        self._seen = reading.seen
        self.images: dict[str, int] = {}
        """Row of each image file."""
        self.splits: list[str | None] = []
        """Of each row; None where the source does not say."""
        self.classes: dict[str, int] = {}
        """Column of each class."""
        self._marks = _none()
        self._chunks: list[Any] = []
        self._checked: list[Any] = []
        for name in classes:
            self.label(name)

    def has(self, name: str) -> bool:
        """Whether there is an image that the source calls `name`; without it there is no problem."""
        return self._names.has(name)

    def image(self, name: str, split: str | None = None) -> int:
        """The row of the image that the source calls `name`; NOWHERE, and a problem, for one that is not there.

        An image may come again, in the same split or where the source does not say.
        """
        if (found := self._names.find(name)) is None:
            return NOWHERE
        row = self.images.setdefault(found, len(self.splits))
        if row == len(self.splits):
            self.splits.append(split)
        elif split and self.splits[row] not in (None, split):
            self._problems.add("images are in two splits", f"{short(found)}: {self.splits[row]}, {split}")
        self.splits[row] = self.splits[row] or split
        return row

    def report_repeated(self, rows: Iterable[int]) -> None:
        """A problem for each image that comes more than once in `rows`, of a source in which each comes once."""
        images, counts = tuple(self.images), Counter(rows)
        twice = (images[row] for row, count in counts.items() if row != NOWHERE and count > 1)
        self._problems.extend("images are listed twice", twice)

    def label(self, name: str) -> int:
        """The column of a class; NOWHERE for one that is not wanted, and, with a problem, for what can be no class.

        Raises DataError when there are more different classes than MOST_CLASSES.
        """
        name = " ".join(name.split())
        self._seen.add(name)
        name = self._merged.get(name, name)
        if not is_name(name):
            self._problems.add("labels have a name that no class can have", short(name) or "an empty one")
            return NOWHERE
        if self._wanted is not None and name not in self._wanted:
            return NOWHERE
        column = self.classes.setdefault(name, len(self.classes))
        if column == MOST_CLASSES:
            raise_too_many(name)
        return column

    def mark(self, row: int, column: int, state: int) -> None:
        """Say that the cell has `state`."""
        if row != NOWHERE and column != NOWHERE:
            for values, value in zip(self._marks, (row, column, state), strict=True):
                values.append(value)

    def extend(self, rows: np.ndarray, columns: np.ndarray, states: np.ndarray) -> None:
        """As `mark`, for integer arrays of the same length."""
        import numpy as np

        kept = (rows != NOWHERE) & (columns != NOWHERE)
        kinds = (np.int32, np.int32, np.int8)
        self._chunks.append(tuple(a[kept].astype(kind) for a, kind in zip((rows, columns, states), kinds, strict=True)))

    def checked(self, rows: np.ndarray, columns: np.ndarray) -> None:
        """Say that these images were looked at for all of these classes: cells without a mark are absent there."""
        self._checked.append((rows[rows != NOWHERE], columns[columns != NOWHERE]))

    def settle(self) -> int:
        """Forget what was said of the cells that are said to be both present and absent. Returns how many those are.

        What is merged is present where any of it is.
        """
        import numpy as np

        rows, columns, states = (np.concatenate(values) for values in zip(*self._all(), strict=True))
        keys = rows.astype(np.int64) * len(self.classes) + columns
        single = ~np.isin(columns, self._merged_columns())
        both = np.intersect1d(keys[single & (states == PRESENT)], keys[states == ABSENT])
        if len(both):
            kept = ~np.isin(keys, both)
            self._marks, self._chunks = _none(), [(rows[kept], columns[kept], states[kept])]
        return len(both)

    def labels(self, unlisted: int, union: bool = False) -> np.ndarray:
        """(N, C) int8 label states, `unlisted` where there is no mark and nobody checked.

        Of several marks present counts before unknown, and unknown before absent. A cell that is said to be both
        present and absent is a problem, unless its class is merged of several, or with `union` the marks are of parts
        of the image.
        """
        import numpy as np

        shape = len(self.images), len(self.classes)
        if shape[0] * shape[1] > MOST_CELLS:
            told = f"{shape[0]} images and {shape[1]} classes are more than memory holds"
            raise DataError(f"{told}; choose classes with --classes")
        chunks = self._all()
        labels = np.full(shape, _NO_MARK, np.int8)
        for state in (ABSENT, UNKNOWN, PRESENT):
            if state == UNKNOWN and not union:
                self._report_both(labels, chunks)
            for rows, columns, states in chunks:
                labels[rows[states == state], columns[states == state]] = state
        for rows, columns in self._checked:
            block = labels[rows[:, None], columns]
            block[block == _NO_MARK] = ABSENT
            labels[rows[:, None], columns] = block
        labels[labels == _NO_MARK] = unlisted
        return labels

    def _merged_columns(self) -> list[int]:
        """The columns of classes that are made of several."""
        times = Counter(self._merged.get(name, name) for name in self._seen)
        return [column for name, column in self.classes.items() if times[name] > 1]

    def _all(self) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Arrays of rows, columns and states."""
        import numpy as np

        rows, columns, states = self._marks
        return [*self._chunks, (np.array(rows, np.int32), np.array(columns, np.int32), np.array(states, np.int8))]

    def _report_both(self, labels: np.ndarray, chunks: list[Any]) -> None:
        """A problem for each cell that is absent in `labels` and present in `chunks`."""
        import numpy as np

        images, classes, found = tuple(self.images), tuple(self.classes), dict[tuple[int, int], None]()
        merged = self._merged_columns()
        for rows, columns, states in chunks:
            both = (states == PRESENT) & (labels[rows, columns] == ABSENT) & ~np.isin(columns, merged)
            found.update(dict.fromkeys(zip(rows[both].tolist(), columns[both].tolist(), strict=True)))
        told = (f"{short(images[row])} '{short(classes[column])}'" for row, column in found)
        self._problems.extend("cells are said to be present and absent", told)


def _none() -> tuple[array[int], array[int], array[int]]:
    return array("i"), array("i"), array("b")
