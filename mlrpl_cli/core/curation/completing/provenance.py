"""Where each cell of completed labels comes from, as a table for programs: a row for each known or filled cell.

    image, class, label, origin, p, bound, group

`label` is present or absent, `origin` given or completed. p is the cell's calibrated probability of being present, by
classifiers that did not know it. `bound` and `group` are of completed cells: the share that is right, at least, of the
cells with the same promise, and whether the class made it alone or together with others. Names are written as they
are, as in every table of labels, which programs join with this one. Test images are not in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mlrpl_cli.core.curation.completing.filling import Filling
from mlrpl_cli.core.io.progress import Progress, track
from mlrpl_cli.core.labels.states import STATES, UNKNOWN
from mlrpl_cli.core.labels.writers.registry import Export
from mlrpl_cli.core.labels.writers.tabular import write_rows

COLUMNS = ("image", "class", "label", "origin", "p", "bound", "group")
GIVEN, COMPLETED = "given", "completed"
ENDING = ".provenance.csv"
_WORDS = {state: word for word, state in STATES.items()}


def beside(path: Path, is_file: bool) -> Path:
    """Where the table of the labels at `path` lies: labels.provenance.csv beside labels.csv."""
    return path.with_name((path.stem if is_file else path.name) + ENDING)


def write_provenance(
    path: Path, export: Export, rows: np.ndarray, given: np.ndarray, p: np.ndarray, filling: Filling, progress: Progress
) -> None:
    """Write it to `path`, whole or not at all.

    rows (N,) are those of the images in `export`; given (N, C) their label states, and p (N, C) in [0, 1].
    """
    told = track(progress, range(len(rows)), "writing provenance", len(rows))
    write_rows(path, COLUMNS, (cells for row in told for cells in _cells(export, rows, given, p, filling, row)))


def _cells(
    export: Export, rows: np.ndarray, given: np.ndarray, p: np.ndarray, filling: Filling, row: int
) -> Iterator[tuple[str, ...]]:
    image, classes = export.image(int(rows[row])), export.records.classes
    for column in np.flatnonzero((given[row] != UNKNOWN) | (filling.states[row] != UNKNOWN)).tolist():
        known, state = int(given[row, column]), int(filling.states[row, column])
        about = image, classes[column], _WORDS[known or state], COMPLETED if state else GIVEN
        verdict = filling.verdicts[state][column] if state else None
        promise = verdict.promise if verdict else None
        bound = "" if promise is None else f"{promise.bound:.6f}"
        yield *about, f"{p[row, column]:.6f}", bound, (verdict.group or "") if verdict else ""
