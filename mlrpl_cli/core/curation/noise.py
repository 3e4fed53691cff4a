"""How often given labels are wrong, from the scores of classifiers that did not know them.

A score s = σ(a u + b), of a calibrated logit u, says what is there; what is given differs from it at two rates:

    P(given present) = ε₀ (1 - s) + (1 - ε₁) s

with ε₀ the share of absent cells that are given as present and ε₁ that of present cells given as absent: logistic
regression with contaminated labels (Copas, JRSS B 1988). The four numbers are those of the greatest likelihood of the
given labels, times a prior by which the rates are alike unless labels say otherwise:

    ln ε₁ / (1 - ε₁) - ln ε₀ / (1 - ε₀) ~ N(0, τ²)

Errors are told apart from what is hard to see by where the labels contradict scores that nothing
contradicts elsewhere: it is assumed that a label's being wrong does not depend on the image, only on the state that it
should have, and that the classifier can be sure of some cells of either state. Axes: M known cells.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

from mlrpl_cli.core.labels.states import PRESENT
from mlrpl_cli.core.runs.decided.calibration import logit, sigmoid

STARTS = (0.002, 0.05)
"""Of both rates: the likelihood may have more than one peak."""
LEAST, MOST = 1e-6, 0.45
"""What a rate may be. At one half a label would say nothing."""
ALIKE = 0.5
"""τ. Present cells are few, and their rate alone would put all or none of the given absent cells in front."""
STEEPEST, FURTHEST = 20.0, 8.0
"""What a, or 1 / a, and |b| may be: labels that a score tells apart without an exception would make them infinite."""


@dataclass(frozen=True)
class Noise:
    """The two rates of wrong labels, and what is there by a calibrated logit."""

    slope: float = 1.0
    """a"""
    offset: float = 0.0
    """b"""
    given_present: float = 0.0
    """ε₀ in [0, 0.45]: share of absent cells that are given as present."""
    given_absent: float = 0.0
    """ε₁ in [0, 0.45]: share of present cells that are given as absent."""

    def right(self, logits: np.ndarray, given: np.ndarray) -> np.ndarray:
        """Probability in [0, 1] that a given label is right: P(it is so | what is given, u), by Bayes' rule.

        logits u and known label states, both of any one shape.
        """
        z = self.slope * np.asarray(logits, float) + self.offset
        present = given == PRESENT
        so = sigmoid(np.where(present, z, -z))
        kept = 1 - np.where(present, self.given_absent, self.given_present)
        wrong = np.where(present, self.given_present, self.given_absent)
        # Dividing by `so` first keeps what is tiny on both sides apart.
        return kept / (kept + wrong * (1 - so) / np.maximum(so, np.finfo(float).tiny))


def estimate(logits: np.ndarray, given: np.ndarray) -> Noise:
    """The noise of greatest likelihood. logits (M,) calibrated, finite; given (M,) known states of both kinds."""
    u, present = np.asarray(logits, float), np.asarray(given) == PRESENT

    def loss(point: np.ndarray) -> tuple[float, np.ndarray]:
        """Mean negative log of likelihood and prior, and its slope along (ln a, b, logit ε₀, logit ε₁)."""
        slope, (low, high) = np.exp(point[0]), sigmoid(point[2:])
        s = sigmoid(slope * u + point[1])
        p = np.where(present, low + (1 - low - high) * s, high + (1 - low - high) * (1 - s))
        of_s = np.where(present, -1, 1) / (p * len(u))  # of the loss by P(given present)
        steep = of_s @ np.stack([s * (1 - s) * u, s * (1 - s), 1 - s, -s], axis=1)
        inner = np.array([slope, 1, low * (1 - low), high * (1 - high)])
        apart = (point[3] - point[2]) / (ALIKE**2 * len(u))
        of_prior = np.array([0, 0, -apart, apart])
        total = -np.log(p).mean() + apart * (point[3] - point[2]) / 2
        return float(total), steep * inner * np.array([1 - low - high, 1 - low - high, 1, 1]) + of_prior

    rates = tuple(logit(np.array([LEAST, MOST])))
    bounds = [(-np.log(STEEPEST), np.log(STEEPEST)), (-FURTHEST, FURTHEST), rates, rates]
    starts = (np.array([0, 0, logit(np.array(rate)), logit(np.array(rate))], float) for rate in STARTS)
    best = min((minimize(loss, start, jac=True, bounds=bounds) for start in starts), key=lambda found: found.fun)
    return Noise(float(np.exp(best.x[0])), float(best.x[1]), *map(float, sigmoid(best.x[2:])))
