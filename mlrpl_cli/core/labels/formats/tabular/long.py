"""Long tables: a row says one label of one image."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from mlrpl_cli.core.io.errors import ConfigError, DataError, agreeing
from mlrpl_cli.core.io.reading import short
from mlrpl_cli.core.labels.formats.tabular import columns as known
from mlrpl_cli.core.labels.formats.tabular.options import TableOptions, recognised
from mlrpl_cli.core.labels.formats.tabular.sheets import Sheet, key_of
from mlrpl_cli.core.labels.marks import Marks
from mlrpl_cli.core.labels.records import Reading, Records
from mlrpl_cli.core.labels.states import ABSENT, PRESENT, UNKNOWN

if TYPE_CHECKING:
    import numpy as np

STATE_COLUMNS = (
    *(*known.CONFIDENCES[:7], "present", "is_present", "presence", "state", "value", "answer", "exists"),
    *("positive", "is_positive", "target"),
)
"""Names of the column that says whether the image shows the label. Not "verified", which says who looked."""


class Long(TableOptions):
    """A row an image and a label, and, in a third column, whether the image shows it."""

    state_column: str | None = Field(
        None, description="the column that says whether the image shows the label, else one that is called so"
    )

    holds: ClassVar[str] = "a CSV, TSV, Parquet or XLSX file with a row per image and label"
    is_general: ClassVar[bool] = True

    @classmethod
    def recognise(cls, root: Path) -> str | None:
        """By a column of labels beside one of confidences, which a list of tags has not."""
        return recognised(root, _fits, "a row per image and label")

    def read(self, reading: Reading) -> Records:
        """Images in the order in which they first appear, classes in the order of their names.

        The third column, of any name in STATE_COLUMNS, holds what cells of a table do. A label that no row says of an
        image is unknown where rows say that others are absent; where none does, `unlisted` has to say.
        Raises DataError, naming everything found at once, for wrong data.
        """
        import numpy as np

        sheet, problems = self.read_sheet(reading), reading.problems
        label, told = self._columns(sheet)
        names = sheet.column(label)
        marks = Marks(self.image_root(sheet.path), reading, sorted(set(filter(None, names))))
        problems.extend(
            "rows name no label", (f"row {n}" for n, name in zip(sheet.numbers, names, strict=True) if not name)
        )
        known.check_names([list(filter(None, names))], f"column {short(sheet.names[label])} of {sheet.path}")
        splits = self.splits(sheet, reading)
        rows = np.array(self.image_rows(sheet, splits, marks, reading))
        columns = np.array([marks.label(name) if name else -1 for name in names])
        states = np.full(sheet.rows, PRESENT, np.int8)
        if told is not None:
            states = sheet.codes(told, known.state_of())
            for row in np.flatnonzero((states > PRESENT) & (states != known.EMPTY)).tolist():
                cell = short(sheet.column(told)[row])
                what = known.SCORES if known.is_score(cell) else "rows say neither yes nor no, nor unknown"
                problems.add(what, f"row {sheet.numbers[row]}: '{cell}'")
        if twice := _repeated(rows, columns):
            reading.notes.append(agreeing(twice, "rows say a label of an image again"))
        marks.extend(rows, columns, np.where(states > PRESENT, UNKNOWN, states))
        return self.records(marks, reading, self._unlisted(sheet, states, reading), sheet.path)

    def label_columns_of(self, sheet: Sheet, reading: Reading) -> list[int]:
        """Those of labels, and those that say whether they are there: a file without them would say nothing."""
        return [*self.called(sheet, known.TAG_COLUMNS), *self._state_columns(sheet)]

    def _state_columns(self, sheet: Sheet) -> list[int]:
        return self.called(sheet, (self.state_column,) if self.state_column else STATE_COLUMNS)

    def _columns(self, sheet: Sheet) -> tuple[int, int | None]:
        """The column of labels, and the one that says whether they are there. Raises ConfigError for several."""
        labels = self.called(sheet, known.TAG_COLUMNS)
        told = self._state_columns(sheet)
        found = ", ".join(map(short, sheet.names))
        if not labels:
            raise DataError(f"{sheet.path} has no column of labels, only {found}; call it label")
        if self.state_column and not told:
            raise DataError(
                f"{sheet.path} has no column '{short(self.state_column)}', only {found}; see --state-column"
            )
        for columns, what, option in (
            (labels, "be labels", "leave all but one out with --ignore-columns"),
            (told, "say whether the image shows the label", "name one with --state-column"),
        ):
            if len(columns) > 1:
                names = ", ".join(short(sheet.names[column]) for column in columns)
                raise ConfigError(f"columns {names} of {sheet.path} can each {what}; {option}")
        return labels[0], next(iter(told), None)

    def _unlisted(self, sheet: Sheet, states: np.ndarray, reading: Reading) -> int:
        if self.unlisted or not (states == ABSENT).any():
            return self.otherwise(sheet.path, reading, "only labels that are there")
        reading.unlisted = "unknown: no row of a long table says"
        return UNKNOWN


def _repeated(rows: np.ndarray, columns: np.ndarray) -> int:
    """How many rows are of an image and a label that an earlier one is of."""
    import numpy as np

    kept = (rows >= 0) & (columns >= 0)
    keys = rows[kept] * (int(columns.max(initial=0)) + 1) + columns[kept]
    return len(keys) - len(np.unique(keys))


def _fits(names: list[str]) -> bool:
    keys = set(map(key_of, names))
    return bool(keys & set(map(key_of, known.TAG_COLUMNS))) and bool(keys & set(map(key_of, STATE_COLUMNS)))
