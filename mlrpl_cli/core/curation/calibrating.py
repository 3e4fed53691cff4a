"""Cross-fitted scores as calibrated ones, in which a cell still has no say for itself.

Axes: N images, C classes, K parts.
"""

from __future__ import annotations

import numpy as np

from mlrpl_cli.core.curation.cross_fitting import SEED, CrossFitted
from mlrpl_cli.core.decisions.calibration import choose
from mlrpl_cli.core.io.progress import Progress, Silent, track
from mlrpl_cli.core.labels.states import UNKNOWN


def calibrated_logits(found: CrossFitted, progress: Progress | None = None) -> np.ndarray:
    """(N, C) float64 logits of calibrated probabilities, of each part by the known cells of the other parts."""
    logits, numbers = np.empty(found.logits.shape), np.unique(found.parts)
    for part in track(progress or Silent(), numbers, "calibrating without each part", len(numbers), "parts"):
        held = found.parts == part
        labels = np.where(held, UNKNOWN, found.labels).astype(np.int8)
        calibration = choose(found.logits, labels, np.random.default_rng(SEED)).calibration
        logits[held] = calibration.calibrated_logits(found.logits)[held]
    return logits
