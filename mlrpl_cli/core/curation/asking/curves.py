"""What a simulation came to: what a recognizer reaches against how much was answered."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Point:
    """After some answers, the mean over seeds."""

    answers: float
    cost: float
    """What was paid: 1 a cell, or by images, what they cost to open and to answer."""
    known: float
    """Known cells, those known at first included."""
    map: float
    """Mean average precision on the test images, in [0, 1]."""
    complete: float
    """Share in [0, 1] of the training cells that are right once all are filled: answered, or present for p above ½."""
    difference: float
    """mAP less that of asking at random in the same round."""
    low: float
    """Of the paired bootstrap interval of the difference (95%, test images resampled)."""
    high: float
    random_needs: float | None
    """Answers after which random first reaches this mAP, in a line between its rounds; None where it does not."""


@dataclass(frozen=True)
class Curve:
    """Of one strategy."""

    strategy: str
    points: list[Point]
    """After each round; the first one is before any answer."""


@dataclass(frozen=True)
class Simulated:
    """A replay."""

    data: Path
    """The prepared folder."""
    run: Path
    """Whose backbone describes the images."""
    by: str
    """"cell" or "image"."""
    seeds: int
    start: float | None
    """Share of cells known at first; None for those that the folder knows."""
    images: int
    """That may be asked of."""
    test_images: int
    path: Path
    """The file with these figures."""
    figure: Path
    """The same as a picture."""
    curves: list[Curve]
    """Random first."""
