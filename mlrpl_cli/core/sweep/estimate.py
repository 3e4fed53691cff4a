"""How much a sweep asks for, how much of it is done, and how long the rest takes."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from mlrpl_cli.core.sweep.plan import Cell
from mlrpl_cli.core.sweep.results import Row, name_of
from mlrpl_cli.core.sweep.stored import STALE, code_of


@dataclass(frozen=True)
class SweepSize:
    """How much a sweep asks for, and how much of it is done."""

    tuning_runs: int
    tuning_done: int
    runs: int
    """Trainings; over folds, each fold of a run is one."""
    runs_done: int
    stale: dict[str, int]
    """Stored rows of code that was changed since, which count as not done: how many of each variant."""
    seconds: float | None
    """What the runs that are left take, by the stored rows of their methods; None where a method has no row."""
    untimed: tuple[str, ...]
    """Methods without a stored row."""

    @property
    def left(self) -> int:
        """Runs that are still to do."""
        return self.tuning_runs + self.runs - self.tuning_done - self.runs_done


def stale_rows(rows: Sequence[Row]) -> dict[str, int]:
    """How many rows of each variant were computed by other code than the present."""
    return dict(Counter(name_of(row) for row in rows if code_of(row) == STALE))


def seconds_left(methods: Sequence[str], rows: Sequence[Row], jobs: int) -> tuple[float | None, tuple[str, ...]]:
    """Seconds that a run of each of `methods` takes, over `jobs` at a time; None and the methods without a row.

    A run takes the median of training and testing of the stored rows of its method.
    """
    times: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        if "train_seconds" in row and "folds" not in row:  # the row of all folds has their sum
            times[row["method"]].append(row["train_seconds"] + row.get("test_seconds", 0.0))
    if untimed := tuple(dict.fromkeys(method for method in methods if method not in times)):
        return None, untimed
    return sum(median(times[method]) for method in methods) / jobs, ()


def first_untimed(cells: Sequence[Cell], rows: Sequence[Row]) -> list[Cell]:
    """The first cell of each method that no stored row is of."""
    timed = {row["method"] for row in rows if "train_seconds" in row}
    return list({cell.method: cell for cell in reversed(cells) if cell.method not in timed}.values())
