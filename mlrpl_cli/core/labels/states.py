"""The one coding of labels inside the package. Readers convert at the door; no other coding appears further in."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

ABSENT, UNKNOWN, PRESENT = -1, 0, 1
"""What is known of one (image, class) cell: the label states."""


def classes_without(state: int, classes: Sequence[str], labels: np.ndarray) -> list[str]:
    """Those of the C `classes` of which no cell of labels (N, C) is in `state`."""
    found = (labels == state).any(axis=0)
    return [name for name, is_found in zip(classes, found, strict=True) if not is_found]


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
