"""The groups that a column of a table says: images of one group are of one split."""

from __future__ import annotations

import re
from collections.abc import Sequence

from mlrpl_cli.core.io.errors import ConfigError, did_you_mean
from mlrpl_cli.core.io.reading import short
from mlrpl_cli.core.labels.formats.tabular.sheets import Sheet
from mlrpl_cli.core.labels.formats.tabular.splits import is_blank
from mlrpl_cli.core.labels.marks import NOWHERE, Marks
from mlrpl_cli.core.labels.records import Reading

_WHOLE = re.compile(r"(-?\d+)\.0")
"""How pandas writes a whole number of a column that has blanks."""


def group_at(sheet: Sheet, name: str | None) -> int | None:
    """The column that is called `name`; None for None. Raises ConfigError where there is none."""
    if name is None:
        return None
    if name not in sheet.names:
        advice = did_you_mean(name, sheet.names)
        raise ConfigError(f"{sheet.path} has no column '{short(name)}' (--group-column); {advice}")
    return sheet.names.index(name)


def tell_groups(cells: Sequence[str], rows: Sequence[int], marks: Marks, reading: Reading) -> None:
    """Say the group of each image of `rows` to `reading`; a blank cell says none. Two groups of one are a problem."""
    images = tuple(marks.images)
    for row, cell in zip(rows, cells, strict=True):
        if row == NOWHERE or is_blank(cell):
            continue
        group = _WHOLE.sub(r"\1", cell)
        if (known := reading.groups.setdefault(images[row], group)) != group:
            reading.problems.add("images are in two groups", f"{short(images[row])}: {short(known)}, {short(group)}")
