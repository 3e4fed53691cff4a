"""A calibration: a rising map from the logit of each class to one whose probability can be believed.

    logit p = θ_c · x(z)

with x(z) = (z) for "temperature", (z, 1) for "platt" (Platt 1999), and (ln s, -ln(1 - s), 1) for "beta", s = sigmoid(z)
(Kull, Silva Filho and Flach 2017). Axes: N images, C classes, K coefficients.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

NONE, TEMPERATURE, PLATT, BETA = "none", "temperature", "platt", "beta"
FAMILIES = (NONE, TEMPERATURE, PLATT, BETA)
"""The simplest first. "none" leaves logits as they are."""
IDENTITY = {NONE: (1.0, 0.0), TEMPERATURE: (1.0,), PLATT: (1.0, 0.0), BETA: (1.0, 1.0, 0.0)}
"""The K coefficients that leave a logit as it is."""
SLOPES = {NONE: 1, TEMPERATURE: 1, PLATT: 1, BETA: 2}
"""How many of the coefficients, the first ones, are slopes: above zero, so that the map rises."""


@dataclass(frozen=True)
class Calibration:
    """The maps of C classes, and what is behind each."""

    family: str
    """One of FAMILIES."""
    coefficients: np.ndarray
    """(C, K) float64 θ."""
    covariance: np.ndarray
    """(C, K, K) float64, of the posterior of θ (Laplace)."""
    present: np.ndarray
    """(C,) held-out cells known to be present."""
    absent: np.ndarray
    """(C,) held-out cells known to be absent."""
    shared: np.ndarray
    """(C,) bool: too few cells of one kind, so that the class takes the rule of all classes together."""
    shrinkage: float
    """κ: how many units of information hold a class to that rule; infinite where all take it."""
    unlike: tuple[int, ...] = ()
    """Classes that are left as they are: their known cells do not stand for their unknown ones."""

    @property
    def checked(self) -> bool:
        """Whether any class has held-out cells of both kinds that stand for others: else nothing is calibrated."""
        return bool((self.both & self.like).any())

    @property
    def both(self) -> np.ndarray:
        """(C,) bool: whether the class has held-out cells of both kinds."""
        return (self.present > 0) & (self.absent > 0)

    @property
    def like(self) -> np.ndarray:
        """(C,) bool: whether the known cells of the class stand for its unknown ones, as far as can be seen."""
        return ~np.isin(np.arange(len(self.present)), self.unlike)

    def apply(self, logits: np.ndarray) -> np.ndarray:
        """(N, C) logits → (N, C) float64 probabilities in [0, 1]; within a class they rise with the logits."""
        return sigmoid(self.calibrated_logits(logits))

    def calibrated_logits(self, logits: np.ndarray) -> np.ndarray:
        """(N, C) logits → (N, C) float64 logits of the calibrated probabilities."""
        return np.einsum("nck,ck->nc", terms(self.family, logits), self.coefficients)

    def standard_error(self, logits: np.ndarray) -> np.ndarray:
        """(N, C) logits → (N, C) standard error of each calibrated logit, sqrt(xᵀ Σ_c x)."""
        x = terms(self.family, logits)
        return np.sqrt(np.maximum(np.einsum("nck,ckl,ncl->nc", x, self.covariance, x, optimize=True), 0))


def terms(family: str, logits: np.ndarray) -> np.ndarray:
    """x(z): logits of any shape (…) → (…, K) float64."""
    z = np.asarray(logits, float)
    if family == TEMPERATURE:
        return z[..., None]
    if family == BETA:
        return np.stack([-np.logaddexp(0, -z), np.logaddexp(0, z), np.ones_like(z)], axis=-1)
    return np.stack([z, np.ones_like(z)], axis=-1)


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """1 / (1 + e^-z), which never overflows."""
    return np.exp(-np.logaddexp(0, -np.asarray(logits, float)))


NEAREST = 2.0**-24
"""How near to 0 and 1 a float32 probability is told apart from it."""


def finite_logit(probabilities: np.ndarray) -> np.ndarray:
    """`logit` of float32 probabilities, of which 0 and 1 are taken for the nearest that are told apart from them."""
    return logit(np.clip(probabilities, NEAREST, 1 - NEAREST))


def logit(probabilities: np.ndarray) -> np.ndarray:
    """ln p - ln(1 - p) in float64; ±infinity at 0 and 1."""
    p = np.asarray(probabilities, float)
    with np.errstate(divide="ignore"):
        return np.log(p) - np.log1p(-p)
