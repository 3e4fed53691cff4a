"""How far probabilities can be believed: calibration error, Brier score and log loss over known cells.

Axes: N images, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlrpl_cli.core.evaluation.metrics import mean_of_classes, measurable
from mlrpl_cli.core.labels.states import PRESENT, UNKNOWN

BINS = 15
LEAST = 1e-12
"""A probability of 0 or 1 that is wrong costs 27.6 nats, not infinitely many."""


@dataclass(frozen=True)
class Reliability:
    """Of one set of probabilities; NaN where no cell is known."""

    ece: float
    """Mean over the measurable classes of each class's expected calibration error, in [0, 1]."""
    brier: float
    """Mean over known cells of (p - y)², in [0, 1]."""
    log_loss: float
    """Mean over known cells, in nats."""
    mean_probability: float
    """Over known cells, in [0, 1]: beside the share of them that is present."""
    present: float
    """That share, in [0, 1]."""


def reliability(probabilities: np.ndarray, labels: np.ndarray) -> Reliability:
    """Of probabilities (N, C) in [0, 1] against labels (N, C), label states of which unknown cells do not count."""
    known = labels != UNKNOWN
    p, y = np.asarray(probabilities, float)[known], (labels == PRESENT)[known]
    if not len(p):
        return Reliability(*[float("nan")] * 5)
    of_truth = np.clip(np.where(y, p, 1 - p), LEAST, 1)
    ece = mean_of_classes(calibration_errors(probabilities, labels))
    return Reliability(
        ece, float(((p - y) ** 2).mean()), float(-np.log(of_truth).mean()), float(p.mean()), float(y.mean())
    )


def calibration_errors(probabilities: np.ndarray, labels: np.ndarray, bins: int = BINS) -> np.ndarray:
    """(C,) expected calibration error of each class over its known cells: Σ_b n_b/n |mean p - share present|.

    The bins hold the same number of cells each (adaptive bins, Nguyen and O'Connor 2015), one cell at least. NaN for a
    class that is not `measurable`. With few cells a bin's share is noise, and the error of perfect probabilities is not
    0: about sqrt(2/π · p(1-p) · bins/n).
    """
    found = np.full(labels.shape[1], np.nan)
    for c in np.flatnonzero(measurable(labels)):
        of = bins_of(probabilities[:, c], labels[:, c], bins)
        found[c] = (of[:, 2] * np.abs(of[:, 0] - of[:, 1])).sum() / of[:, 2].sum()
    return found


def bins_of(p: np.ndarray, labels: np.ndarray, bins: int = BINS) -> np.ndarray:
    """(B, 3) of the known cells among p and labels (n,), by rising p: mean p, share present, number of cells."""
    known = labels != UNKNOWN
    p, y = p[known], labels[known] == PRESENT
    parts = np.array_split(np.argsort(p, kind="stable"), min(bins, len(p)) or 1)
    return np.array([(p[of].mean(), y[of].mean(), len(of)) for of in parts if len(of)]).reshape(-1, 3)
