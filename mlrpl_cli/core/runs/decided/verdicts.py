"""Yes, no or unsure, from a calibrated probability and a threshold. Axes: N images, C classes."""

from __future__ import annotations

import numpy as np

from mlrpl_cli.core.runs.decided.calibration import Calibration, logit, sigmoid

YES, NO, UNSURE = "yes", "no", "unsure"
VERDICTS = (NO, UNSURE, YES)
CONFIDENCE_90 = 1.6448536269514722
"""How many standard errors to each side hold nine tenths of a normal distribution."""


def verdicts(
    logits: np.ndarray, calibration: Calibration, thresholds: np.ndarray, learnable: np.ndarray | None = None
) -> np.ndarray:
    """(N, C) of "yes", "no" and "unsure" for logits (N, C), as they are before calibration.

    "yes" where p ≥ t and "no" where p < t; "unsure" where t lies in the 90% interval of p, where the class has no
    threshold (NaN), and where it could not be learned.
    """
    calibrated = calibration.calibrated_logits(logits)
    found = np.where(sigmoid(calibrated) >= thresholds, YES, NO)
    with np.errstate(invalid="ignore"):  # a threshold of 1 is infinitely far from all but the surest
        open_ = np.abs(calibrated - logit(thresholds)) < CONFIDENCE_90 * calibration.standard_error(logits)
    open_ |= np.isnan(thresholds)
    if learnable is not None:
        open_ |= ~np.asarray(learnable, bool)
    return np.where(open_, UNSURE, found)
