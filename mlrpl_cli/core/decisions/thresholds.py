"""A threshold of each class for an objective, from calibrated probabilities alone.

With calibrated p the expected hits among the images with p ≥ t are Σ_{p ≥ t} p, and the expected positives Σ p. So
every held-out image counts, those of unknown cells too, and no label is needed a second time:

    precision(t) = Σ_{p ≥ t} p / n(t)    recall(t) = Σ_{p ≥ t} p / Σ p    F1(t) = 2 Σ_{p ≥ t} p / (n(t) + Σ p)

with n(t) the images with p ≥ t. F1 is highest at t = F1*/2, half of its highest value (Lipton, Elkan and Naryanaswamy
2014); the least expected cost is at t = 1 / (1 + r), where a miss costs r false alarms (Elkan 2001).
Axes: N images, C classes.
"""

from __future__ import annotations

import numpy as np

from mlrpl_cli.core.runs.decided.objective import COST, F1, PRECISION, RECALL, Objective


def choose_thresholds(probabilities: np.ndarray, objective: Objective, shared: np.ndarray) -> np.ndarray:
    """(C,) float64 t in [0, 1]: a class is there where p ≥ t. NaN where no threshold reaches the objective.

    probabilities are calibrated, (N, C), of held-out images. The classes of `shared`, (C,) bool, take the threshold of
    the cells of all classes together, since their own are not well known; for a precision their own where that is
    higher, and for a recall where it is lower, so that what is expected of them reaches it.
    """
    found = np.array([threshold(of_class, objective) for of_class in probabilities.T])
    if shared.any():
        together = threshold(probabilities.ravel(), objective)
        reach = {PRECISION: np.maximum, RECALL: np.minimum}.get(objective.kind, lambda _, of_all: of_all)
        found[shared] = reach(found[shared], together)
    return found


def threshold(p: np.ndarray, objective: Objective) -> float:
    """t for the probabilities (n,) of one class; NaN where nothing reaches the objective."""
    if objective.kind == COST:
        return 1 / (1 + float(objective.value or 0))
    p = np.sort(np.asarray(p, float))[::-1]
    hits, claims, positives = np.cumsum(p), np.arange(1, len(p) + 1), p.sum()
    if not positives > 0:
        return float("nan")
    if objective.kind == F1:
        return float((hits / (claims + positives)).max())  # half of F1
    target = float(objective.value or 0)
    if objective.kind == PRECISION:
        ends = np.append(p[:-1] > p[1:], True)  # equal ones are claimed together
        reached = np.flatnonzero(ends & (hits >= target * claims))  # the mean of the highest falls with their number
        return float(p[reached[-1]]) if len(reached) else float("nan")
    return float(p[np.searchsorted(hits, target * positives).clip(max=len(p) - 1)])


def expected(p: np.ndarray, t: float) -> tuple[float, float, float]:
    """Expected precision, recall and F1 of p ≥ t for calibrated p (n,); NaN of a ratio over nothing."""
    hits, claims, positives = p[p >= t].sum(), (p >= t).sum(), p.sum()
    ratios = np.divide((hits, hits, 2 * hits), (claims, positives, claims + positives), where=[
        claims > 0, positives > 0, claims + positives > 0], out=np.full(3, np.nan))  # fmt: skip
    return float(ratios[0]), float(ratios[1]), float(ratios[2])
