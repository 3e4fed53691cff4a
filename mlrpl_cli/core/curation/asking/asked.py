"""What was asked, and why."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

DOUBTFUL, LITTLE_KNOWN = "doubtful", "little known"


def reasons(doubt: np.ndarray, variance: np.ndarray) -> list[str]:
    """(S,) what sets each of some cells apart from the median of them, by p (1 - p) and the variance of the logit."""
    little_known = variance * np.median(doubt) > doubt * np.median(variance)
    return [LITTLE_KNOWN if little else DOUBTFUL for little in little_known.tolist()]


@dataclass(frozen=True)
class AskedCell:
    """A question, and why it is asked."""

    class_name: str
    probability: float
    """That the class is present, calibrated, by classifiers that did not know the cell."""
    present: int
    """Known cells of the class that are present."""
    absent: int
    """Known cells of the class that are absent."""
    deviation: float
    """Standard deviation of the cell's logit, by what is known and what is asked before it."""
    deviation_after: float
    """The same once it is answered."""
    information: float
    """What the answer is expected to tell of the class's weights, in nats."""
    because: str = DOUBTFUL
    """What sets it apart among the asked cells: "doubtful" (p near one half) or "little known" (a large deviation)."""


@dataclass(frozen=True)
class Asked:
    """A cell, or an image with its open cells."""

    rank: int
    """From 1."""
    image: str
    split: str
    worth: float
    """By the strategy, in a unit of its own, divided by the cost."""
    cost: float
    """1 of a cell; of an image what it costs to open and to answer."""
    cells: list[AskedCell]


@dataclass(frozen=True)
class Suggested:
    """What should be asked next, and where it was written."""

    data: Path
    """The prepared folder."""
    run: Path
    strategy: str
    by: str
    """"cell" or "image"."""
    open_cells: int
    """Unknown cells of the training and validation images, of which was chosen."""
    path: Path
    format: str
    notes: list[str]
    """A sentence for everything that has to be known of it."""
    asked: list[Asked]
    """The best first."""
