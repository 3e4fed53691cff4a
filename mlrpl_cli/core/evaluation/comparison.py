"""What a comparison of methods rests on: paired bootstrap intervals over test images, and semantic confusion.

Axes: N test images, C classes, R resamples.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from mlrpl_cli.core.labels.states import ABSENT, PRESENT, UNKNOWN

RESAMPLES, LEVEL = 1000, 0.95


@dataclass(frozen=True)
class Interval:
    """A difference, and the percentile interval that resampling the test images gives it."""

    value: float
    low: float
    high: float


def resample_weights(images: int, resamples: int, seed: int = 0) -> np.ndarray:
    """(R, N) float32: how often each image is drawn in each bootstrap resample of N images with replacement."""
    random = np.random.RandomState(seed)
    return random.multinomial(images, np.full(images, 1 / max(images, 1)), size=resamples).astype(np.float32)


def resampled_maps(scores: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(R,) mAP of scores (N, C) against labels (N, C) with the images weighted by each row of `weights` (R, N).

    All-point average precision; a class without a weighted positive is left out of that resample's mean, which is NaN
    when none has one. One sort serves all resamples, since weights do not change the order.
    """
    per_class = np.empty((scores.shape[1], len(weights)))  # (C, R)
    for c, average_precision in enumerate(per_class):
        average_precision[:] = _weighted_ap(scores[:, c], labels[:, c], weights)
    counted = np.isfinite(per_class).sum(axis=0)
    return np.divide(np.nansum(per_class, axis=0), counted, out=np.full(len(weights), np.nan), where=counted > 0)


def paired_difference(first: np.ndarray, second: np.ndarray, whole: float) -> Interval:
    """The interval of a difference `whole`, from figures (R,) of the same resamples under one method and another.

    Resamples whose figure is NaN say nothing and are left out; with none left the interval is NaN.
    """
    tail = 100 * (1 - LEVEL) / 2
    differences = first - second
    told = differences[np.isfinite(differences)]
    low, high = np.percentile(told, (tail, 100 - tail)) if told.size else (np.nan, np.nan)
    return Interval(whole, float(low), float(high))


def confusion(
    scores: np.ndarray, labels: np.ndarray, alike: Collection[tuple[int, int]] = ()
) -> tuple[float | None, float | None]:
    """How often an absent class outscores a present one of the same image: (classes made to look alike, the others).

    A share in [0, 1] of the (image, present class, absent class) triples, equal scores counting half; None where there
    is no such triple. `alike` holds pairs of columns.
    """
    present, absent = (labels == PRESENT).astype(np.float64), (labels == ABSENT).astype(np.float64)
    triples, errors = np.zeros((2, scores.shape[1], scores.shape[1]))  # (present class, absent class)
    for p in range(scores.shape[1]):
        own = scores[:, p, None]
        worse = (scores > own) + 0.5 * (scores == own)
        both = present[:, p, None] * absent
        triples[p], errors[p] = both.sum(axis=0), (both * worse).sum(axis=0)
    look_alike = np.zeros(triples.shape, bool)
    for one, other in alike:
        look_alike[one, other] = look_alike[other, one] = True
    return _share(errors[look_alike], triples[look_alike]), _share(errors[~look_alike], triples[~look_alike])


def pairs_of_columns(pairs: Sequence[tuple[str, str]], classes: Sequence[str]) -> list[tuple[int, int]]:
    """The pairs of class names that are both among `classes`, as columns."""
    known = [pair for pair in pairs if set(pair) <= set(classes)]
    return [(classes.index(one), classes.index(other)) for one, other in known]


def _weighted_ap(scores: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(R,) average precision Σ_n (R_n - R_{n-1}) P_n, equal scores entering together; NaN without positives."""
    known = np.flatnonzero(labels != UNKNOWN)
    order = known[np.argsort(-scores[known], kind="stable")]
    ranked, hits = scores[order], labels[order] == PRESENT
    if not hits.any():
        return np.full(len(weights), np.nan)
    ends = np.append(np.flatnonzero(ranked[1:] != ranked[:-1]), len(ranked) - 1)
    drawn = weights[:, order].astype(np.float64)
    claims = np.cumsum(drawn, axis=1)[:, ends]
    found = np.cumsum(drawn * hits, axis=1)[:, ends]
    gained = np.diff(found, axis=1, prepend=0)
    precision = np.divide(found, claims, out=np.zeros_like(found), where=claims > 0)
    positives = found[:, -1]
    with np.errstate(invalid="ignore"):
        return np.asarray((gained * precision).sum(axis=1) / positives)


def _share(errors: np.ndarray, triples: np.ndarray) -> float | None:
    return float(errors.sum() / triples.sum()) if triples.sum() else None
