"""Average precision and precision/recall figures of multi-label recognition (method.md, benchmark protocol).

Axes: N images, C classes. Labels are label states; unknown cells are left out of every figure. So is a class that is
not `measurable`: without a known absent cell precision is 1 whatever the scores, without a known positive it is 0.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from sklearn.metrics import average_precision_score, precision_recall_curve

from mlrpl_cli.core.io.errors import DataError
from mlrpl_cli.core.labels.states import ABSENT, PRESENT, UNKNOWN


@dataclass(frozen=True)
class PrecisionRecall:
    """Overall and per-class precision, recall and F1, each in [0, 1], of one way to turn scores into labels.

    A ratio over nothing counts as 0, as the field's public evaluation code does. NaN when no class is measurable.
    """

    op: float
    """Overall precision: over all (image, class) cells together."""
    or_: float
    """Overall recall."""
    of1: float
    """Harmonic mean of OP and OR."""
    cp: float
    """Mean over classes of precision."""
    cr: float
    """Mean over classes of recall."""
    cf1_of_means: float
    """Harmonic mean of CP and CR: the definition of SSGRL, SST, SARB, HST and DSRB."""
    cf1_mean_of_f1: float
    """Mean over classes of each class's F1: the definition of DualCoOp."""


@dataclass(frozen=True)
class Metrics:
    """All figures of one set of scores."""

    mean_average_precision: float
    """Mean of the average precisions of the measurable classes, in [0, 1]; NaN when there is none."""
    average_precision: np.ndarray
    """(C,) in [0, 1]; NaN for a class that is not measurable."""
    at_threshold: PrecisionRecall
    at_top_k: PrecisionRecall


def compute_metrics(
    probabilities: np.ndarray, labels: np.ndarray, *, threshold: float = 0.5, top_k: int = 3, ap: str = "all-point"
) -> Metrics:
    """All figures for probabilities (N, C) in [0, 1] and labels (N, C); `ap` as `EvaluationOptions` has it."""
    per_class = average_precisions(probabilities, labels, ap)
    return Metrics(
        mean_average_precision=mean_of_classes(per_class),
        average_precision=per_class,
        at_threshold=precision_recall(probabilities > threshold, labels),
        at_top_k=precision_recall(top_k_mask(probabilities, top_k), labels),
    )


def measurable(labels: np.ndarray) -> np.ndarray:
    """(C,) bool: whether labels (N, C) know a present and an absent cell of a class; no figure counts the others."""
    return (labels == PRESENT).any(axis=0) & (labels == ABSENT).any(axis=0)


def rare(labels: np.ndarray, least_positives: int) -> np.ndarray:
    """(C,) bool: which classes have fewer present cells than that in labels (N, C); at 1 none is, as without any."""
    return ((labels == PRESENT).sum(axis=0) < least_positives) & (least_positives > 1)


def average_precisions(scores: np.ndarray, labels: np.ndarray, ap: str = "all-point") -> np.ndarray:
    """(C,) average precision of each class over its known cells; NaN where the class is not `measurable`.

    Raises DataError for a score that is not a number.
    """
    if np.isnan(scores).any():
        raise DataError(f"{np.isnan(scores).sum()} of {scores.size} scores are NaN; they cannot be ranked")
    columns = zip(np.ascontiguousarray(scores.T), np.ascontiguousarray(labels.T), strict=True)
    return np.array([_average_precision(of_class, known, ap) for of_class, known in columns], dtype=float)


def precision_recall_points(scores: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(K,) precision and (K,) recall of a class at each score that its known cells have, recall falling to 0.

    Of scores and labels (N,); the last point, precision 1 at recall 0, belongs to no score. Both are empty for a class
    that is not `measurable`.
    """
    targets, ranks = _ranked(scores, labels)
    if targets.all() or not targets.any():
        return np.empty(0), np.empty(0)
    precision, recall, _ = precision_recall_curve(targets, ranks)
    return precision, recall


def or_none(share: float) -> float | None:
    """A share as JSON and rows hold it: None for NaN."""
    return None if np.isnan(share) else float(share)


def mean_of_classes(average_precision: np.ndarray) -> float:
    """Mean average precision of the classes (C,) that have one, in [0, 1]; NaN when none has."""
    return float(np.nanmean(average_precision)) if np.isfinite(average_precision).any() else float("nan")


def top_k_mask(scores: np.ndarray, k: int) -> np.ndarray:
    """(N, C) bool: the k highest scores of each image; of equal scores the earlier class comes first."""
    ranks = np.argsort(np.argsort(-scores, axis=1, kind="stable"), axis=1)
    return ranks < k


def precision_recall(predicted: np.ndarray, labels: np.ndarray) -> PrecisionRecall:
    """Figures for predictions (N, C) bool against labels (N, C), over the classes that are `measurable`."""
    told = measurable(labels)
    if not told.any():
        return PrecisionRecall(*[float("nan")] * len(fields(PrecisionRecall)))
    predicted, labels = predicted[:, told], labels[:, told]
    known, present = labels != UNKNOWN, labels == PRESENT
    hits = (predicted & present).sum(axis=0).astype(float)  # (C,)
    claims = (predicted & known).sum(axis=0).astype(float)
    positives = present.sum(axis=0).astype(float)
    op, or_ = ratio(hits.sum(), claims.sum()), ratio(hits.sum(), positives.sum())
    precision, recall = ratio(hits, claims), ratio(hits, positives)
    cp, cr = precision.mean(), recall.mean()
    figures = (op, or_, f1(op, or_), cp, cr, f1(cp, cr), f1(precision, recall).mean())
    return PrecisionRecall(*(float(figure) for figure in figures))


def _average_precision(scores: np.ndarray, labels: np.ndarray, ap: str) -> float:
    targets, ranks = _ranked(scores, labels)
    if targets.all() or not targets.any():
        return float("nan")
    if ap == "all-point":
        return min(float(average_precision_score(targets, ranks)), 1.0)  # its sum can round to more
    precision, recall = precision_recall_points(scores, labels)
    envelope = np.maximum.accumulate(precision)  # precision at this recall or any higher; recall falls along the curve
    if ap == "interpolated":
        return min(float(-np.sum(np.diff(recall) * envelope[:-1])), 1.0)
    # The curve's last point, precision 1 at recall 0, belongs to no threshold.
    reached = [envelope[:-1][recall[:-1] >= level] for level in np.linspace(0, 1, 11)]
    return float(np.mean([points.max(initial=0.0) for points in reached]))


def _ranked(scores: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Whether each known cell of a class is present, and the rank of its score.

    Ranks say the same as scores, and scikit-learn refuses infinite ones.
    """
    known = labels != UNKNOWN
    return labels[known] == PRESENT, np.unique(scores[known], return_inverse=True)[1]


def ratio(numerator: np.ndarray | float, denominator: np.ndarray | float) -> np.ndarray:
    """Their quotient, 0 where the denominator is."""
    return np.divide(numerator, denominator, out=np.zeros(np.shape(numerator)), where=np.asarray(denominator) > 0)


def f1(precision: np.ndarray | float, recall: np.ndarray | float) -> np.ndarray:
    """Their harmonic mean, 0 where both are."""
    return ratio(2 * precision * recall, precision + recall)
