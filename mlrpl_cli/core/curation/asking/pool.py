"""What is known of the images that may be asked of. Axes: N images, C classes, D channels, M zero-shot scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from torch import Tensor

from mlrpl_cli.core.heads.fitted.anchored import AnchoredClassifier
from mlrpl_cli.core.labels.states import ABSENT, PRESENT, UNKNOWN


@dataclass(frozen=True)
class Pool:
    """All cells of some images, and which of them may be asked."""

    labels: np.ndarray
    """(N, C) int8 observed label states."""
    may_ask: np.ndarray
    """(N, C) bool; none of them is known."""
    probabilities: np.ndarray
    """(N, C) in [0, 1], by classifiers that did not know the cell."""
    scores: np.ndarray
    """(N, C, M) float32 zero-shot scores, of zero mean and unit variance."""
    content: np.ndarray
    """(N, D) float32, of zero mean and mean square length 1."""
    precision: float
    """λ of the classifier that was fitted to the known cells."""

    @cached_property
    def present(self) -> np.ndarray:
        """(C,) known cells that are present."""
        return (self.labels == PRESENT).sum(axis=0)

    @cached_property
    def absent(self) -> np.ndarray:
        """(C,) known cells that are absent."""
        return (self.labels == ABSENT).sum(axis=0)

    @cached_property
    def doubt(self) -> np.ndarray:
        """(N, C) p (1 - p) in [0, 1/4]: the variance of an answer."""
        return self.probabilities * (1 - self.probabilities)


def pool_of(
    classifier: AnchoredClassifier,
    described: Sequence[Tensor],
    labels: np.ndarray,
    probabilities: np.ndarray,
    may_ask: np.ndarray | None = None,
) -> Pool:
    """The pool of images as a classifier that was fitted to their `labels` sees them.

    `described` is what it says of them by `describe`; without `may_ask`, every unknown cell may be asked.
    """
    scores, contents = described
    standard = (scores - classifier.score_mean) / classifier.score_spread
    centred = (contents - classifier.content_mean) / classifier.content_spread
    may_ask = labels == UNKNOWN if may_ask is None else may_ask
    precision = float(classifier.precision)
    return Pool(labels, may_ask, probabilities, standard.numpy(), centred.numpy(), precision)
