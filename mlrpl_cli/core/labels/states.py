"""The one coding of labels inside the package. Readers convert at the door; no other coding appears further in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

ABSENT, UNKNOWN, PRESENT = -1, 0, 1
"""What is known of one (image, class) cell: the label states."""
STATES = {"present": PRESENT, "absent": ABSENT, "unknown": UNKNOWN}
"""The same by the words that options, reports and tables have for them."""


def classes_without(state: int, classes: Sequence[str], labels: np.ndarray) -> list[str]:
    """Those of the C `classes` of which no cell of labels (N, C) is in `state`."""
    found = (labels == state).any(axis=0)
    return [name for name, is_found in zip(classes, found, strict=True) if not is_found]
