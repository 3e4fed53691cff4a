"""The one coding of labels inside the package. Readers convert at the door; no other coding appears further in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

ABSENT, UNKNOWN, PRESENT = -1, 0, 1
"""What is known of one (image, class) cell: the label states."""


@dataclass(frozen=True)
class StateCounts:
    """How many cells are in each state."""

    present: int
    absent: int
    unknown: int

    @property
    def known_share(self) -> float:
        """Known cells as a share of all, in [0, 1]; 0 for no cells."""
        known = self.present + self.absent
        return known / (known + self.unknown) if known else 0.0


def count_states(labels: np.ndarray) -> StateCounts:
    """Count the states of an integer array of any shape that holds only label states."""
    return StateCounts(*(int((labels == state).sum()) for state in (PRESENT, ABSENT, UNKNOWN)))


def make_labels(shape: tuple[int, int], otherwise: int, *layers: tuple[int, Sequence[tuple[int, int]]]) -> np.ndarray:
    """(N, C) int8 of `shape`: the state of each layer in its (row, column) cells, `otherwise` in all others.

    A cell of several layers has the state of the last one.
    """
    import numpy as np  # here, so that the formats' options can be listed without it

    labels = np.full(shape, otherwise, dtype=np.int8)
    for state, cells in layers:
        rows, columns = np.fromiter(chain.from_iterable(cells), np.intp, 2 * len(cells)).reshape(-1, 2).T
        labels[rows, columns] = state
    return labels
