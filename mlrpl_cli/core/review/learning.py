"""What is learned from the answers so far: probabilities, what to ask next, what looks wrong, and how good it is.

λ of `anchored` is chosen once for a while, by all known cells, since choosing takes four times as many fits as all
else; each cell is still scored by a classifier that was fitted without it. Axes: N images, C classes, S cells.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from mlrpl_cli.core.curation.asking.asked import reasons
from mlrpl_cli.core.curation.asking.choosing import choose, units_of
from mlrpl_cli.core.curation.asking.information import Information
from mlrpl_cli.core.curation.asking.options import CELL
from mlrpl_cli.core.curation.asking.pool import Pool, pool_of
from mlrpl_cli.core.curation.checking import rank
from mlrpl_cli.core.curation.cross_fitting import CrossFitted, fit_parts
from mlrpl_cli.core.curation.ground import Ground
from mlrpl_cli.core.decisions import calibration
from mlrpl_cli.core.evaluation import comparison
from mlrpl_cli.core.evaluation.comparison import Interval
from mlrpl_cli.core.evaluation.metrics import average_precisions, mean_of_classes, measurable
from mlrpl_cli.core.io.devices import make_generator
from mlrpl_cli.core.io.errors import DataError
from mlrpl_cli.core.io.progress import Silent
from mlrpl_cli.core.labels.states import UNKNOWN
from mlrpl_cli.core.runs.decided.calibration import sigmoid

SEED = 0
MOST_ASKED = 1000
"""Cells that are put in an order; after them, and until the next training, the order is that of the data set."""
RESAMPLES = 200
"""Of the interval: its ends stand on five resamples each."""


@dataclass(frozen=True)
class Cells:
    """Cells in the order to look at them."""

    rows: np.ndarray
    """(S,) among the images that are reviewed."""
    columns: np.ndarray
    """(S,)"""
    because: tuple[str, ...]
    """S words of why."""


NO_CELLS = Cells(np.empty(0, np.int64), np.empty(0, np.int64), ())


@dataclass(frozen=True)
class Estimate:
    """How good the model is, as far as known cells say."""

    map: float
    """Mean average precision in [0, 1] of cells that the classifiers did not know."""
    low: float
    """Of its interval (95%, images resampled)."""
    high: float
    told: str
    """Which cells it is of."""
    of_given: bool
    """Whether they are all cells that were known before anybody was asked."""


@dataclass(frozen=True)
class Lesson:
    """What one training came to."""

    version: int
    """From 1."""
    answers: int
    """How many answers it knew."""
    precision: float
    """λ of its classifiers."""
    known: int
    """Cells that it learned from."""
    probabilities: np.ndarray
    """(N, C) float32 in [0, 1], of a cell by classifiers that did not know it."""
    calibrated: bool
    """Whether they are probabilities: without known cells of both kinds they are only an order."""
    suggested: Cells
    """Unknown ones, the answer that is expected to tell most first."""
    doubtful: Cells
    """Known ones, the label that is least probably right first."""
    estimate: Estimate | None
    """None where no class has known cells of both kinds."""


@dataclass(frozen=True)
class Task:
    """What is known when a training begins."""

    version: int
    labels: np.ndarray
    """(N, C) int8, answers among them."""
    answers: int
    precision: float | None
    """λ; None to choose it."""


def learn(ground: Ground, parts: np.ndarray, given: np.ndarray, task: Task) -> Lesson:
    """Fit to the labels of a task. `given` (N, C) bool: the cells that were known before anybody was asked.

    `parts` (N, C) are those that are held out together, as `cross_fitting.parts_of` draws them.
    """
    labels, random = task.labels, np.random.default_rng(SEED)
    whole = ground.fit(labels, make_generator(SEED, "suggest"), precision=task.precision)
    precision = float(whole.precision)
    logits = fit_parts(ground.described, ground.texts, labels, parts, ground.config, Silent(), precision)
    chosen = calibration.choose(logits, labels, random).calibration
    p = chosen.apply(logits) if chosen.checked else sigmoid(logits)
    pool = pool_of(whole, ground.described, labels, p)
    rows = np.arange(len(labels))
    return Lesson(
        version=task.version,
        answers=task.answers,
        precision=precision,
        known=int((labels != UNKNOWN).sum()),
        probabilities=p.astype(np.float32),
        calibrated=chosen.checked,
        suggested=suggested(pool),
        doubtful=doubtful(CrossFitted(tuple(map(str, range(labels.shape[1]))), rows, labels, parts, logits)),
        estimate=estimate(logits, labels, given),
    )


def suggested(pool: Pool) -> Cells:
    """The unknown cells in the order of `suggest`, with what sets each apart from the median of them."""
    worth, units = Information(pool), units_of(pool.may_ask, CELL, (1.0, 0.0))
    if units.column is None or not len(units.rows):
        return NO_CELLS
    deviations = worth.deviations()
    order = [unit for unit, _ in choose(worth, units, MOST_ASKED)]
    rows, columns = units.rows[order], units.column[order]
    return Cells(rows, columns, tuple(reasons(pool.doubt[rows, columns], deviations[rows, columns] ** 2)))


def doubtful(scored: CrossFitted) -> Cells:
    """The known cells in the order of `check`; none where nothing can be told."""
    with suppress(DataError):
        found = rank(scored)
        first = slice(MOST_ASKED)
        because = tuple(f"right with p {right:.3f}" for right in found.right[first].tolist())
        return Cells(found.rows[first], found.columns[first], because)
    return NO_CELLS


def estimate(logits: np.ndarray, labels: np.ndarray, given: np.ndarray) -> Estimate | None:
    """mAP of known cells, each scored by a classifier that did not know it, with its interval.

    Of the cells that were `given` (N, C) where they can tell, since nobody drew at random which ones were answered.
    """
    before = np.where(given, labels, UNKNOWN)
    of, told, of_given = before, "labels that were given", True
    if not measurable(before).any():
        of, of_given = labels, False
        told = "answers, which nobody drew at random: it may be far off, either way"
    if not measurable(of).any():
        return None
    whole = mean_of_classes(average_precisions(logits, of))
    weights = comparison.resample_weights(len(of), RESAMPLES)
    found: Interval = comparison.interval_of(comparison.resampled_maps(logits, of, weights), whole)
    cells = f"{int((of != UNKNOWN).sum()):,}"
    return Estimate(found.value, found.low, found.high, f"estimated on {cells} {told}", of_given)
