"""Whether known cells look as if chance had chosen them, as all that is said of the unknown ones by them supposes.

Nothing here looks at a label: scores of known and of unknown cells are compared, and where known cells lie. It finds
those who label what they expect to see, and those who label whole images or some classes more than others. It cannot
find a choice that scores do not show.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import chi2, norm, rankdata

from mlrpl_cli.core.labels.states import ABSENT, PRESENT, UNKNOWN

DEVIATIONS = 4.0
"""Standard deviations from what chance does: more are seen once in 15,000 times."""

APART = 0.1
"""By how much the share of pairs in which a known cell scores higher has to differ from half for probabilities to be
another's: among many cells less is seen, which hardly moves them."""


def unlike_unknown(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(C,) bool: classes whose known cells do not stand for their unknown ones; logits and label states are (N, C).

    Those that score otherwise, or all where they do so together, and those with present cells and no absent one.
    """
    known = labels != UNKNOWN
    found = np.array([above(*column) for column in zip(logits.T, known.T, strict=True)]).reshape(-1, 2)
    pairs = known.any(axis=0) & ~known.all(axis=0)
    shares, deviations = found[pairs].T
    together = len(shares) > 0 and _differs(shares.mean(), deviations.sum() / np.sqrt(len(shares)))
    lone = (labels == PRESENT).any(axis=0) & ~(labels == ABSENT).any(axis=0)
    return np.full(labels.shape[1], together) | lone | _differs(*found.T)


def _differs(share: np.ndarray, deviations: np.ndarray) -> np.ndarray:
    return (np.abs(deviations) > DEVIATIONS) & (np.abs(share - 0.5) > APART)


def above(scores: np.ndarray, known: np.ndarray) -> tuple[float, float]:
    """How known cells score beside unknown ones, scores and known (M,): the share above, and its deviation from half.

    The share in [0, 1] is of pairs in which the known one has the higher score (Mann and Whitney, 1947); the deviation
    is in standard deviations of what chance does, 0 where there are no pairs.
    """
    n, m = int(known.sum()), int((~known).sum())
    if not n * m:
        return 0.5, 0.0
    ranks = rankdata(scores)
    total = ranks[known].sum() - n * (n + 1) / 2
    spread = np.sqrt(ranks.var() * n * m / (n + m - 1))
    return total / (n * m), float((total - n * m / 2) / spread) if spread else 0.0


def unevenness(counts: np.ndarray, of: int, share: float) -> float:
    """How much more counts (L,) differ than `of` cells each, known with the same probability `share`, would by chance.

    In standard deviations of a normal law that is as rare as Pearson's sum of squares, which is taken for a multiple of
    a χ² with the mean and variance that the sum has for binomial counts; 0 for a share of 0 or 1, and of one cell each.
    """
    variance = of * share * (1 - share)
    if not variance or of < 2:
        return 0.0
    squares = ((counts - of * share) ** 2 / variance).sum()
    unit = 1 + (1 - 6 * share * (1 - share)) / (2 * variance)  # of the variance 2 L of a χ² with L degrees of freedom
    return float(norm.isf(chi2.sf(squares / unit, len(counts) / unit)))


def is_even(known: np.ndarray) -> bool:
    """Whether the classes, and the images, of known (N, C) are known as evenly as cells that are drawn one by one."""
    images, classes = known.shape
    share = float(known.mean()) if known.size else 0.0
    by_class = unevenness(known.sum(axis=0), images, share)
    by_image = unevenness(known.sum(axis=1), classes, share)
    return max(by_class, by_image) <= DEVIATIONS
