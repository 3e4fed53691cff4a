"""Logistic regressions of all classes at once, by Newton's method with slopes kept above zero.

    minimise Σ_m softplus(-y_m θ_c·x_m) + ½ (θ_c - centre)ᵀ P (θ_c - centre)

over the known cells m of class c, y in {-1, 1}. The problem is convex; coordinates at their bound whose slope points
out of it are held there (projected Newton, Bertsekas 1982). Axes: M known cells, C classes, K coefficients.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mlrpl_cli.core.runs.decided.calibration import sigmoid

LEAST_SLOPE = 0.01
"""A calibration rises at least so fast: what ranks higher stays higher, within the precision of numbers."""
STEPS, HALVINGS, ENOUGH = 60, 30, 1e-9


class Cells(NamedTuple):
    """Known cells in a row, of any order."""

    x: np.ndarray
    """(M, K) terms of the logit."""
    y: np.ndarray
    """(M,) float64: 1 for present, -1 for absent."""
    of: np.ndarray
    """(M,) the class of each, in 0 … C - 1."""


def minimum(
    cells: Cells, classes: int, centre: np.ndarray, precision: np.ndarray, slopes: int
) -> tuple[np.ndarray, np.ndarray]:
    """(C, K) θ and (C, K, K) inverse Hessians at it.

    centre (K,) and precision (K,), of which P is the diagonal, are the prior's. The first `slopes` coefficients stay
    at LEAST_SLOPE or above.
    """
    floor = np.where(np.arange(len(centre)) < slopes, LEAST_SLOPE, -np.inf)
    theta = np.tile(np.maximum(centre, floor), (classes, 1))
    height = _heights(cells, theta, centre, precision)
    for _ in range(STEPS):
        gradient, hessian = _slopes(cells, theta, centre, precision)
        held = (theta <= floor) & (gradient > 0)
        step = np.linalg.solve(_without(hessian, held), np.where(held, 0, gradient)[..., None])[..., 0]
        theta, height, moved = _downhill(cells, theta, step, height, floor, centre, precision)
        if moved < ENOUGH:
            break
    return theta, np.linalg.inv(_slopes(cells, theta, centre, precision)[1])


def _heights(cells: Cells, theta: np.ndarray, centre: np.ndarray, precision: np.ndarray) -> np.ndarray:
    """(C,) what is minimised."""
    losses = np.logaddexp(0, -cells.y * _logits(cells, theta))
    return _sums(losses, cells.of, len(theta)) + ((theta - centre) ** 2 * precision).sum(axis=1) / 2


def _slopes(
    cells: Cells, theta: np.ndarray, centre: np.ndarray, precision: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(C, K) gradients and (C, K, K) Hessians."""
    (classes, size), p = theta.shape, sigmoid(_logits(cells, theta))
    residual, weight = p - (cells.y > 0), p * (1 - p)
    gradient = (theta - centre) * precision
    hessian = np.zeros((classes, size, size))
    for k in range(size):
        gradient[:, k] += _sums(residual * cells.x[:, k], cells.of, classes)
        for other in range(k + 1):
            added = _sums(weight * cells.x[:, k] * cells.x[:, other], cells.of, classes)
            hessian[:, k, other] = hessian[:, other, k] = added
    return gradient, hessian + np.diag(precision)


def _downhill(
    cells: Cells,
    theta: np.ndarray,
    step: np.ndarray,
    height: np.ndarray,
    floor: np.ndarray,
    centre: np.ndarray,
    precision: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, float]:
    """θ after the longest of the halved steps that takes a class no higher, its height, and the largest move."""
    length, best = np.ones(len(theta)), theta.copy()
    for _ in range(HALVINGS):
        tried = np.maximum(theta - length[:, None] * step, floor)
        tried_height = _heights(cells, tried, centre, precision)
        rose = tried_height > height + 1e-12 * (1 + np.abs(height))
        if not rose.any():
            break
        length[rose] /= 2
    best[~rose] = tried[~rose]
    return best, np.where(rose, height, tried_height), float(np.abs(best - theta).max(initial=0.0))


def _without(hessian: np.ndarray, held: np.ndarray) -> np.ndarray:
    """Hessians (C, K, K) that move no coordinate of `held` (C, K)."""
    free = ~held
    return hessian * (free[:, :, None] & free[:, None, :]) + np.eye(held.shape[1]) * held[:, None, :]


def _logits(cells: Cells, theta: np.ndarray) -> np.ndarray:
    return np.einsum("mk,mk->m", cells.x, theta[cells.of])


def _sums(values: np.ndarray, of: np.ndarray, classes: int) -> np.ndarray:
    return np.bincount(of, weights=values, minlength=classes)
