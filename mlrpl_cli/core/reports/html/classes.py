"""What a report has of each class: its figures, its curves, and which classes it is taken for.

Axes: N measured images, C classes, B bins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mlrpl_cli.core.curation.checking import Checked
from mlrpl_cli.core.decisions.reliability import bins_of
from mlrpl_cli.core.evaluation.comparison import Interval, outscored
from mlrpl_cli.core.evaluation.metrics import precision_recall_points
from mlrpl_cli.core.labels.records import SPLITS
from mlrpl_cli.core.labels.states import STATES
from mlrpl_cli.core.prepared.folder import Prepared
from mlrpl_cli.core.reports.html.measuring import MeasuredRun
from mlrpl_cli.core.runs.checkpoint import RunInfo

MOST_CURVES = 200
"""Classes whose curves a page has room for; of more, those with most positives have theirs."""
MOST_POINTS = 150
"""Of a curve."""
MOST_PAIRS = 30
SIDE = 200
"""Of the square that a curve is drawn in, in its own units."""
NINE_TENTHS = 1.64
"""Standard errors to each side that hold nine tenths."""


@dataclass(frozen=True)
class ClassRow:
    """A line of the table of classes; None where there is no such figure."""

    number: int
    name: str
    learnable: bool | None
    average_precision: Interval | None
    positives: int | None
    """Measured images that are known to show it."""
    negatives: int | None
    threshold: float | None
    calibration_error: float | None
    known_present: int | None
    """Images that the run learned from."""
    known_absent: int | None
    expected_wrong: float | None
    """Known cells of training and validation images whose label is expected to be wrong."""
    has_curves: bool


@dataclass(frozen=True)
class Bin:
    """A point of a reliability curve, in the units of the drawing."""

    x: float
    y: float
    low: float
    """Nine tenths of the shares that true probabilities would give lie from here"""
    high: float
    """to here."""
    told: str


@dataclass(frozen=True)
class Curves:
    """Of one class, in the units of the drawing."""

    number: int
    name: str
    precision_recall: str
    """Points of an SVG polyline."""
    bins: tuple[Bin, ...]


@dataclass(frozen=True)
class Confused:
    """How often one absent class outscores one present class."""

    present: str
    absent: str
    times: float
    images: int
    """That show the one and are known not to show the other."""


@dataclass(frozen=True)
class ClassCells:
    """Cells of a class in the data."""

    name: str
    counts: tuple[int, ...]
    """Present, absent and unknown in each split that has images."""


def class_rows(info: RunInfo, run: MeasuredRun, checked: Checked | None, drawn: set[int]) -> list[ClassRow]:
    """A row a class, in the order of the data; `drawn` are those with curves."""
    nothing = [None] * len(info.classes)
    found = run.evaluation
    wrong: Sequence[float | None] = nothing if checked is None else checked.expected_wrong.tolist()
    positives, negatives = (found.positives.tolist(), found.negatives.tolist()) if found else (nothing, nothing)
    present, absent = info.known_present or nothing, info.known_absent or nothing
    has_curves = [number in drawn for number in range(len(info.classes))]
    columns = zip(
        info.classes, info.learnable or nothing, run.of_classes or nothing, positives, negatives, run.thresholds,
        run.calibration_errors, present, absent, wrong, has_curves, strict=True,
    )  # fmt: skip
    return [ClassRow(number, *row) for number, row in enumerate(columns)]


def curves_of(run: MeasuredRun) -> list[Curves]:
    """Of each measurable class; of many, of those with most positives, in the order of the data."""
    found = run.evaluation
    if found is None or run.believed is None:
        return []
    told = np.flatnonzero(np.isfinite(found.metrics.average_precision))
    most = told[np.argsort(-found.positives[told], kind="stable")][:MOST_CURVES]
    return [_curves(column, run) for column in sorted(most.tolist())]


def confused(scores: np.ndarray, labels: np.ndarray, classes: Sequence[str]) -> list[Confused]:
    """The pairs of classes that are confused most often, at most MOST_PAIRS."""
    pairs = list[tuple[float, int, int, int]]()
    for present, (times, images) in enumerate(outscored(scores, labels)):
        absent = np.argsort(-times, kind="stable")[:MOST_PAIRS]
        pairs += [(-float(times[a]), present, int(a), int(images[a])) for a in absent if times[a] > 0]
    first = sorted(pairs)[:MOST_PAIRS]
    return [Confused(classes[present], classes[absent], -times, images) for times, present, absent, images in first]


def cells_of(prepared: Prepared) -> tuple[list[str], list[ClassCells]]:
    """The splits that have images, and how many cells of each class are present, absent and unknown in each.

    As training may see them; of the test split all that are published.
    """
    splits = [split for split in SPLITS if split in prepared.splits]
    labels = [prepared.observed_labels[prepared.rows(split)] for split in splits]
    counts = np.array([(of == state).sum(axis=0) for of in labels for state in STATES.values()]).T
    return splits, [ClassCells(*of) for of in zip(prepared.classes, map(tuple, counts.tolist()), strict=True)]


def _curves(column: int, run: MeasuredRun) -> Curves:
    assert run.evaluation is not None
    assert run.believed is not None
    labels = run.evaluation.labels[:, column]
    precision, recall = precision_recall_points(run.evaluation.probabilities[:, column], labels)
    few = np.unique(np.linspace(0, len(recall) - 1, MOST_POINTS).round().astype(int))
    line = " ".join(f"{_across(recall[n]):.1f},{_up(precision[n]):.1f}" for n in few)
    bins = tuple(_bin(*of) for of in bins_of(run.believed[:, column], labels).tolist())
    return Curves(column, run.evaluation.classes[column], line, bins)


def _bin(mean: float, share: float, cells: float) -> Bin:
    spread = NINE_TENTHS * float(np.sqrt(mean * (1 - mean) / cells))
    low, high = (_up(float(np.clip(mean + way * spread, 0, 1))) for way in (-1, 1))
    told = f"{cells:.0f} cells of mean p {mean:.3f}: {share:.3f} present"
    return Bin(round(_across(mean), 1), round(_up(share), 1), round(low, 1), round(high, 1), told)


def _across(share: float) -> float:
    return SIDE * share


def _up(share: float) -> float:
    return SIDE * (1 - share)
