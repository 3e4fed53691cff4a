"""How often given labels are wrong, from the scores of classifiers that did not know them.

A score s = σ(a_c u + b_c), of a calibrated logit u of class c, says what is there; what is given differs from it at two
rates:

    P(given present) = ε₀ (1 - s) + (1 - ε₁) s

with ε₀ the share of absent cells that are given as present and ε₁ that of present cells given as absent: logistic
regression with contaminated labels (Copas, JRSS B 1988). All numbers together maximise the likelihood of the given
labels times a prior by which classes are alike, and the two rates within an order of magnitude:

    ln a_c ~ N(ln a, 0.3²), b_c ~ N(b, 0.5²), ln ε₁ / (1 - ε₁) - ln ε₀ / (1 - ε₀) ~ N(0, 2²)

Errors are told apart from what is hard to see by where labels contradict scores that hardly any other label
contradicts: it is assumed that a label's being wrong depends on the state that it should have and not on the image,
and that the classifier is sure of some cells of either state. A few cells can be explained either way, so that it is
also asked whether there are errors at all: by the likelihood of the labels with and without, and odds of e^-DOUBT.
Axes: C classes, M known cells.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

from mlrpl_cli.core.labels.states import PRESENT
from mlrpl_cli.core.runs.decided.calibration import logit, sigmoid

STARTS = (0.002, 0.05)
"""Of both rates: there may be more than one maximum."""
LEAST, MOST = 1e-6, 0.45
"""What a rate may be. At one half a label would say nothing."""
SHARED = np.array([1.0, 3.0])
"""Deviation of the prior of ln a and b around 0: calibrated logits are nearly right."""
OF_CLASS = np.array([0.3, 0.5])
"""Deviation of those of a class from all."""
ALIKE = 2.0
"""Deviation of the difference of the rates' logits."""
DOUBT = 3.0
"""By how many nats errors have to make the given labels likelier to be as probable as none: right labels do so once in
fifty times."""


@dataclass(frozen=True)
class Noise:
    """The two rates of wrong labels, and what is there by a calibrated logit."""

    slope: np.ndarray
    """(C,) a_c"""
    offset: np.ndarray
    """(C,) b_c"""
    given_present: float = 0.0
    """ε₀ in [0, 0.45]: share of absent cells that are given as present."""
    given_absent: float = 0.0
    """ε₁ in [0, 0.45]: share of present cells that are given as absent."""
    probability: float = 1.0
    """That there are errors at all; where there are none, every label is right."""

    @property
    def is_seen(self) -> bool:
        """Whether it is more probable than not that some of the given labels are wrong."""
        return self.probability > 0.5

    def right(self, logits: np.ndarray, given: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """(M,) probability in [0, 1] that a label is right: P(it is so | what is given, u), by Bayes' rule.

        logits (M,) u, given (M,) known label states, columns (M,) classes.
        """
        z, present = self.slope[columns] * logits + self.offset[columns], given == PRESENT
        kept = 1 - np.where(present, self.given_absent, self.given_present)
        wrong = np.where(present, self.given_present, self.given_absent)
        with np.errstate(over="ignore", invalid="ignore"):  # e^z may be infinite: the label is wrong then, if any is
            right = kept / (kept + np.where(wrong > 0, wrong * np.exp(np.where(present, -z, z)), 0))
        return 1 - self.probability * (1 - right)


def estimate(logits: np.ndarray, given: np.ndarray, columns: np.ndarray, classes: int) -> Noise:
    """The most probable noise, and how probable it is that there is any.

    logits (M,) calibrated, finite; given (M,) known states; columns (M,) classes.
    """
    cells = _Cells(logits, given == PRESENT, columns, classes)
    _, loss = _most_probable(cells, LEAST, LEAST)
    point, least = min((_most_probable(cells, start, MOST) for start in STARTS), key=lambda found: found[1])
    slope, offset = point[:2, None] + point[4:].reshape(2, classes)
    low, high, probability = sigmoid(np.array([*point[2:4], (loss - least) * len(logits) - DOUBT])).tolist()
    return Noise(np.exp(slope), offset, low, high, probability)


def _most_probable(cells: _Cells, start: float, most: float) -> tuple[np.ndarray, float]:
    """A point, with both rates in LEAST … `most`, searched from `start` on, and its loss."""
    anything = [(None, None)]
    bounds = anything * 2 + [tuple(logit(np.array([LEAST, most])))] * 2 + anything * (2 * cells.classes)
    point = np.concatenate([np.zeros(2), np.repeat(logit(np.array(start)), 2), np.zeros(2 * cells.classes)])
    found = minimize(cells.loss, point, jac=True, method="L-BFGS-B", bounds=bounds)
    return found.x, float(found.fun)


@dataclass(frozen=True)
class _Cells:
    logits: np.ndarray
    present: np.ndarray
    columns: np.ndarray
    classes: int

    def loss(self, point: np.ndarray) -> tuple[float, np.ndarray]:
        """Negative log of likelihood and prior, a cell, and its slope.

        The point is (ln a, b, logit ε₀, logit ε₁), then each class's ln a_c - ln a, then each b_c - b.
        """
        shared, (low, high), own = point[:2], sigmoid(point[2:4]), point[4:].reshape(2, self.classes)
        log_slope, offset = shared[:, None] + own
        u = np.exp(log_slope)[self.columns] * self.logits
        s, room = sigmoid(u + offset[self.columns]), 1 - low - high
        p = np.where(self.present, low + room * s, high + room * (1 - s))
        of_s = np.where(self.present, -1, 1) / np.maximum(p, np.finfo(float).tiny)
        of_z = of_s * room * s * (1 - s)
        of_classes = np.stack([np.bincount(self.columns, of, self.classes) for of in (of_z * u, of_z)])
        of_rates = of_s @ np.stack([1 - s, -s], axis=1) * [low * (1 - low), high * (1 - high)]
        apart = (point[3] - point[2]) / ALIKE
        spread = (shared / SHARED, apart, own / OF_CLASS[:, None])
        total = -np.log(np.maximum(p, np.finfo(float).tiny)).sum() + sum(np.sum(one**2) for one in spread) / 2
        slope = np.concatenate([
            of_classes.sum(axis=1) + shared / SHARED**2,
            of_rates + np.array([-1, 1]) * apart / ALIKE,
            (of_classes + own / OF_CLASS[:, None] ** 2).ravel(),
        ])  # fmt: skip
        return float(total / len(u)), slope / len(u)
