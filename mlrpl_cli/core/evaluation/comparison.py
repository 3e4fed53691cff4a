"""What a comparison of methods rests on: paired bootstrap intervals and semantic confusion.

Axes: N test images, C classes, R resamples.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mlrpl_cli.core.evaluation.metrics import f1, ratio
from mlrpl_cli.core.labels.states import ABSENT, PRESENT, UNKNOWN

RESAMPLES, LEVEL = 1000, 0.95
_RANKS_AT_ONCE = 64
"""Ranks whose (rank, R) figures are worked on together: few enough to stay in the processor's cache."""


@dataclass(frozen=True)
class Interval:
    """A figure or a difference of two, and the percentile interval that resampling the test images gives it."""

    value: float
    low: float
    high: float


def resample_weights(images: int, resamples: int, seed: int = 0) -> np.ndarray:
    """(R, N) float32: how often each image is drawn in each bootstrap resample of N images with replacement.

    A column, the counts of one image, lies in one piece of memory, as `resampled_maps` reads it.
    """
    random = np.random.RandomState(seed)
    weights = np.empty((images, resamples), np.float32)
    for resample in range(resamples):
        weights[:, resample] = random.multinomial(images, np.full(images, 1 / max(images, 1)))
    return weights.T


def resampled_maps(scores: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(R,) mAP of scores (N, C) against labels (N, C) with the images weighted by each row of `weights` (R, N).

    All-point average precision; a class without a weighted positive, or without a weighted absent cell, is left out of
    that resample's mean, which is NaN when it leaves out all. The bootstrap is exact: one sort serves all resamples,
    since weights do not change the order, and average precision needs the summed weights only at the ranks of
    positives, one sum of rows a rank. Counts are exact in float32 below 2^24 images. Beside the weights it takes memory
    for a few hundred rows of R figures.
    """
    return mean_of_resamples(resampled_average_precisions(scores, labels, weights), len(weights))


def resampled_average_precisions(scores: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> Iterator[np.ndarray]:
    """(R,) average precision of one class after the other, as `resampled_maps` averages them.

    NaN in the resamples without a weighted positive or without a weighted absent cell of the class.
    """
    table = torch.from_numpy(np.ascontiguousarray(weights.T, dtype=np.float32))  # (N, R)
    for of_class, known in zip(scores.T, labels.T, strict=True):
        yield _weighted_ap(of_class, known, table)


def mean_of_resamples(average_precisions: Iterable[np.ndarray], resamples: int) -> np.ndarray:
    """(R,) mean over the classes that have one in a resample; NaN where none has."""
    total, counted = np.zeros((2, resamples))
    for average_precision in average_precisions:
        total += np.nan_to_num(average_precision)
        counted += np.isfinite(average_precision)
    return np.divide(total, counted, out=np.full(resamples, np.nan), where=counted > 0)


def resampled_f1s(predicted: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(R,) OF1, and (R,) CF1 as the harmonic mean of CP and CR, of predictions (N, C) bool in each resample.

    As `metrics.precision_recall` has them of the resampled images; NaN where no class is measurable.
    """
    known, present = labels != UNKNOWN, labels == PRESENT
    of_cells = (predicted & present, predicted & known, present, known)
    hits, claims, positives, told = (weights @ cells.astype(np.float32) for cells in of_cells)  # (R, C)
    counted = (positives > 0) & (told > positives)
    op, or_ = (ratio((hits * counted).sum(axis=1), (of * counted).sum(axis=1)) for of in (claims, positives))
    classes = counted.sum(axis=1)
    cp, cr = (ratio((ratio(hits, of) * counted).sum(axis=1), classes) for of in (claims, positives))
    of1, cf1 = f1(op, or_), f1(cp, cr)
    return np.where(classes > 0, of1, np.nan), np.where(classes > 0, cf1, np.nan)


def interval_of(figures: np.ndarray, whole: float) -> Interval:
    """The interval of a figure `whole`, from what it is in each resample (R,).

    Resamples whose figure is NaN say nothing and are left out; with none left the interval is NaN.
    """
    tail, told = 100 * (1 - LEVEL) / 2, figures[np.isfinite(figures)]
    low, high = np.percentile(told, (tail, 100 - tail)) if told.size else (np.nan, np.nan)
    return Interval(whole, float(low), float(high))


def paired_difference(first: np.ndarray, second: np.ndarray, whole: float) -> Interval:
    """The interval of a difference `whole`, from figures (R,) of the same resamples: the first minus the second.

    Resamples in which either is NaN say nothing, as in `interval_of`.
    """
    return interval_of(first - second, whole)


def outscored(scores: np.ndarray, labels: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """For one class after the other, over the images that show it: (C,) how often each class that is known to be absent
    outscores it, equal scores counting half, and (C,) in how many of these images that class is known to be absent.
    """
    for p in range(scores.shape[1]):
        shows = labels[:, p] == PRESENT
        rivals, own, absent = scores[shows], scores[shows, p, None], labels[shows] == ABSENT
        worse = ((rivals > own) + 0.5 * (rivals == own)) * absent
        yield worse.sum(axis=0), absent.sum(axis=0)


def confusion(
    scores: np.ndarray, labels: np.ndarray, alike: Collection[tuple[int, int]] = ()
) -> tuple[float | None, float | None]:
    """How often an absent class outscores a present one of the same image: (classes made to look alike, the others).

    A share in [0, 1] of the (image, present class, absent class) triples, equal scores counting half; None where there
    is no such triple. `alike` holds pairs of columns.
    """
    errors, triples = np.zeros((2, 2))  # (others, made to look alike)
    for p, (worse, absent) in enumerate(outscored(scores, labels)):
        look_alike = np.zeros(scores.shape[1], bool)
        look_alike[[a for pair in alike if p in pair for a in pair if a != p]] = True
        for kind, columns in enumerate((~look_alike, look_alike)):
            errors[kind] += worse[columns].sum()
            triples[kind] += absent[columns].sum()
    others, made_alike = (float(e / n) if n else None for e, n in zip(errors, triples, strict=True))
    return made_alike, others


def pairs_of_columns(pairs: Sequence[tuple[str, str]], classes: Sequence[str]) -> list[tuple[int, int]]:
    """The pairs of class names that are both among `classes`, as columns."""
    return [(classes.index(one), classes.index(other)) for one, other in pairs if {one, other} <= set(classes)]


def _weighted_ap(scores: np.ndarray, labels: np.ndarray, table: Tensor) -> np.ndarray:
    """(R,) average precision Σ_n (R_n - R_{n-1}) P_n, equal scores entering together; NaN where one state is not drawn.

    A term is zero where no positive enters, so n runs over the ranks where one does.
    """
    known = np.flatnonzero(labels != UNKNOWN)
    order = known[np.argsort(-scores[known], kind="stable")]
    ranked, hits = scores[order], labels[order] == PRESENT
    ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True)[: len(ranked)])  # of each group of equal scores
    shown = np.cumsum(hits)[ends]
    ends, shown = (values[np.diff(shown, prepend=0) > 0] for values in (ends, shown))
    claims, found = torch.zeros(2, table.shape[1])
    total = torch.zeros(table.shape[1], dtype=torch.float64)
    ranks = zip(_sums(table, order, ends + 1), _sums(table, order[hits], shown), strict=True)
    for entered, gained in ranks:  # (n, R) each
        until = torch.ones(len(entered), len(entered)).tril()
        all_claims, all_found = torch.addmm(claims, until, entered), torch.addmm(found, until, gained)
        total += (all_found.double() / all_claims.clamp(min=1) * gained).sum(dim=0)
        claims, found = all_claims[-1], all_found[-1]
    found[~_drawn(table, order[labels[order] == ABSENT])] = torch.nan
    return (total / found).numpy()  # 0 / 0 where a resample drew no positive


def _drawn(table: Tensor, rows: np.ndarray) -> Tensor:
    """(R,) bool: whether each resample draws any of the `rows`; a few of them settle it for nearly every resample."""
    drawn = torch.zeros(table.shape[1], dtype=torch.bool)
    for first in range(0, len(rows), _RANKS_AT_ONCE):
        drawn |= (table[rows[first : first + _RANKS_AT_ONCE]] > 0).any(dim=0)
        if drawn.all():
            break
    return drawn


def _sums(table: Tensor, rows: np.ndarray, stops: np.ndarray) -> Iterator[Tensor]:
    """Sums (n, R) of the `rows` of `table` up to each stop from the one before, a few stops at a time."""
    starts = np.append(0, stops[:-1])
    for first in range(0, len(stops), _RANKS_AT_ONCE):
        part = slice(first, first + _RANKS_AT_ONCE)
        begin, end = starts[part][0], stops[part][-1]
        yield F.embedding_bag(
            torch.from_numpy(rows[begin:end]), table, torch.from_numpy(starts[part] - begin), mode="sum"
        )
