"""Which given labels look wrong: the known cells of a prepared folder, by the probability that their label is right.

A cell's score is that of a classifier that did not know it (`cross_fitting`), calibrated by the given labels of other
images, and p is what remains of it under the rates of wrong labels that explain them best (`noise`). No score is set
against those of its class: classes differ in how many of their labels contradict the scores, and p says by how much
more that is worth. Axes: N images, C classes, M known cells.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mlrpl_cli.core.curation.cross_fitting import CrossFitted, cross_fit
from mlrpl_cli.core.curation.noise import Noise, estimate
from mlrpl_cli.core.decisions.calibration import choose
from mlrpl_cli.core.io.errors import DataError
from mlrpl_cli.core.io.progress import Progress
from mlrpl_cli.core.labels.states import ABSENT, PRESENT
from mlrpl_cli.core.prepared.folder import Prepared
from mlrpl_cli.core.runs.decided.calibration import logit
from mlrpl_cli.core.runs.selection import RunOptions

SEED = 0
KINDS = (PRESENT, ABSENT)
SUREST = 30.0
"""Of a calibrated logit, either way: 1 - p has no more digits."""


@dataclass(frozen=True)
class Checked:
    """Known cells, that whose label is least probably right first."""

    classes: tuple[str, ...]
    rows: np.ndarray
    """(M,) rows of their images in the prepared folder; none is a test image."""
    columns: np.ndarray
    """(M,) their classes."""
    given: np.ndarray
    """(M,) int8 their observed label states."""
    right: np.ndarray
    """(M,) float64 in [0, 1], ascending: the probability that the given label is right."""
    noise: Noise
    one_sided: tuple[str, ...]
    """Classes whose known cells are all present or all absent: what stands on the scores of the others."""

    @property
    def expected_wrong(self) -> np.ndarray:
        """(C,) how many known cells of each class are expected to have a wrong label: Σ (1 - p)."""
        return np.bincount(self.columns, weights=1 - self.right, minlength=len(self.classes))

    @property
    def known(self) -> np.ndarray:
        """(C, 2) how many known cells of each class are given as present and as absent."""
        given = [np.bincount(self.columns[self.given == state], minlength=len(self.classes)) for state in KINDS]
        return np.stack(given, axis=1)

    @property
    def rank_in_class(self) -> np.ndarray:
        """(M,) from 1: the place of a cell among those of its class."""
        return places_in_class(self.columns, np.arange(len(self.columns))) + 1


def places_in_class(columns: np.ndarray, strength: np.ndarray) -> np.ndarray:
    """(M,) from 0: the place of each cell of the classes `columns` among those of its class, the least strength first.

    Of equal strengths the earlier cell comes first.
    """
    order = np.lexsort((strength, columns))  # class by class
    counts = np.bincount(columns)
    places = np.empty(len(order), np.int64)
    places[order] = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    return places


def check(prepared: Prepared, options: RunOptions, run: Path, progress: Progress | None = None) -> Checked:
    """The known cells of the training and validation images of `prepared`, by a run's backbone.

    Raises RunError and DataError like `cross_fit`, and DataError for data without a class that has known cells of
    both kinds, by which nothing can be told.
    """
    return rank(cross_fit(prepared, options, run, progress))


def rank(scored: CrossFitted) -> Checked:
    """The known cells of what was scored. Raises DataError without a class that has known cells of both kinds."""
    chosen = choose(scored.logits.astype(float), scored.labels, np.random.default_rng(SEED))
    if not chosen.calibration.checked:
        raise DataError(
            "no class has known cells of both kinds, present and absent, so that no label can contradict the scores; "
            "label some more, and prepare again"
        )
    rows, columns = np.nonzero(scored.known)
    given = scored.labels[rows, columns]
    z = np.clip(logit(chosen.held_out[rows, columns]), -SUREST, SUREST)
    noise = estimate(z, given, columns, len(scored.classes))
    right = noise.right(z, given, columns)
    order = np.lexsort((given * z, right))  # where p says no more, the score does
    counted = chosen.calibration
    lone = np.flatnonzero((counted.present == 0) != (counted.absent == 0))
    ranked = columns[order], given[order], right[order]
    return Checked(scored.classes, scored.rows[rows][order], *ranked, noise, tuple(scored.classes[c] for c in lone))
