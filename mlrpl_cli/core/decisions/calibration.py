"""The calibration of a run, from held-out known cells: fitted for all families, and chosen by cross-validation.

The rule of all classes together comes first, with a weak prior at the identity; then that of each class, held to it:

    minimise Σ_known softplus(-y θ_c·x(z)) + ½ κ Σ_k r_k² (θ_ck - θ_k)²

with r_k² the mean square of x_k, so that κ counts known cells of weight 1 whatever the unit of the logits. A class with
few cells stays where all are. Family and κ are those of the least log loss of cells of held-out images, or a simpler
choice within a standard error of it; none, unless it is sure to 95% that the best is better.
Axes: N images, C classes, M known cells.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy.stats import t as student_t

from mlrpl_cli.core.decisions.newton import Cells, minimum
from mlrpl_cli.core.labels.states import ABSENT, PRESENT, UNKNOWN
from mlrpl_cli.core.runs.decided.calibration import BETA, IDENTITY, NONE, PLATT, SLOPES, TEMPERATURE, sigmoid, terms
from mlrpl_cli.core.runs.decided.calibration import Calibration as Calibration

LEAST_CELLS = 5
"""Of each kind, present and absent, for a class to have a rule of its own."""
TOWARDS_IDENTITY = 1.0
"""κ of the prior of the rule of all classes."""
SHRINKAGES = (np.inf, 64.0, 16.0, 4.0)
TINY = 1e-12
"""The least mean square of a term: a prior holds also where every logit is 0."""
PARTS = 5
"""Parts that the images are held out in, in turn."""


@dataclass(frozen=True)
class Candidate:
    """A way to calibrate."""

    family: str = NONE
    shrinkage: float = np.inf
    """κ; infinite for the rule of all classes alone."""


LEAST_IMAGES = 10
"""Held-out images with a known cell: of fewer, no comparison of log losses says which calibration helps."""
SURE, AS_GOOD = 0.95, 0.84
"""How sure it has to be that a calibration helps at all, and that a less simple one helps more, by Student's t."""
CANDIDATES = (Candidate(), *(Candidate(f, k) for k, f in product(SHRINKAGES, (TEMPERATURE, PLATT, BETA))))
"""The simplest first."""


@dataclass(frozen=True)
class Chosen:
    """A calibration, and how it did on cells of images that it was not fitted to."""

    calibration: Calibration
    """Fitted to all cells."""
    held_out: np.ndarray
    """(N, C) float64 probabilities in [0, 1]: of each image by the same choice, fitted to the other parts of them."""
    losses: dict[Candidate, float]
    """Mean log loss in nats of the held-out cells, of every candidate; empty where there was nothing to choose by."""


def fit(logits: np.ndarray, labels: np.ndarray, candidate: Candidate) -> Calibration:
    """The calibration of one family and κ.

    logits are (N, C), finite; labels (N, C) label states, of which unknown cells count for nothing. Classes without a
    known absent cell are left out of the rule of all: where only present cells were marked, their share says nothing.
    Those without a present one are rare, and leaving them out would make all others look more frequent than they are.
    """
    present, absent = (labels == PRESENT).sum(axis=0), (labels == ABSENT).sum(axis=0)
    family, identity = candidate.family, np.array(IDENTITY[candidate.family])
    cells = _cells(family, logits, labels * (absent > 0))
    size = np.maximum((cells.x**2).mean(axis=0), TINY) if len(cells.y) else np.ones(len(identity))
    everyone = cells._replace(of=np.zeros_like(cells.of))
    prior = TOWARDS_IDENTITY * size
    rule, spread = minimum(everyone, 1, identity, prior, SLOPES[family])
    if family == NONE:
        rule = identity[None]
    shared = (present < LEAST_CELLS) | (absent < LEAST_CELLS)
    classes = logits.shape[1]
    theta, covariance = np.tile(rule, (classes, 1)), np.tile(spread, (classes, 1, 1))
    if np.isfinite(candidate.shrinkage):
        held = candidate.shrinkage * size
        own, own_covariance = minimum(cells, classes, rule[0], held, SLOPES[family])
        theta = np.where(shared[:, None], theta, own)
        covariance = np.where(shared[:, None, None], covariance + np.diag(1 / held), own_covariance)
    return Calibration(family, theta, covariance, present, absent, shared, candidate.shrinkage)


def choose(logits: np.ndarray, labels: np.ndarray, generator: np.random.Generator) -> Chosen:
    """The calibration of logits (N, C) by known cells of labels (N, C), chosen as the module says.

    All cells of an image are in one part. Of less than LEAST_IMAGES images it is the identity, and without a class that
    has known cells of both kinds, too, which is not `checked` then.
    """
    identity = fit(logits, labels, Candidate())
    if not identity.checked or (labels != UNKNOWN).any(axis=1).sum() < LEAST_IMAGES:
        return Chosen(identity, identity.apply(logits), {})
    part = generator.permutation(np.arange(len(logits)) % PARTS)
    held = {candidate: _held_out(logits, labels, candidate, part) for candidate in CANDIDATES}
    losses = {one: cell_losses(z, labels).sum(axis=1) for one, z in held.items()}  # (N,) of an image
    best = min(losses, key=lambda one: float(losses[one].sum()))
    kept = next(
        one for one in CANDIDATES if _as_good(losses[one] - losses[best], AS_GOOD if one != CANDIDATES[0] else SURE)
    )
    cells = (labels != UNKNOWN).sum()
    means = {one: float(loss.sum() / cells) for one, loss in losses.items()}
    return Chosen(fit(logits, labels, kept), sigmoid(held[kept]), means)


def cell_losses(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(N, C) log loss in nats of each cell, softplus(-y z); 0 of an unknown one."""
    return np.where(labels == UNKNOWN, 0, np.logaddexp(0, -labels * logits))


def _held_out(logits: np.ndarray, labels: np.ndarray, candidate: Candidate, part: np.ndarray) -> np.ndarray:
    """(N, C) calibrated logits of each part (N,) of the images by what is fitted to the others."""
    found = np.empty(logits.shape)
    for number in range(PARTS):
        out = part == number
        found[out] = fit(logits[~out], labels[~out], candidate).calibrated_logits(logits[out])
    return found


def _as_good(excess: np.ndarray, share: float) -> bool:
    """Whether the mean of losses (N,) above those of the best may be 0: no further from it than a `share` of chance."""
    error = excess.std(ddof=1) / np.sqrt(len(excess))
    return bool(excess.mean() <= student_t.ppf(share, len(excess) - 1) * error)


def _cells(family: str, logits: np.ndarray, labels: np.ndarray) -> Cells:
    rows, columns = np.nonzero(labels)
    return Cells(terms(family, logits[rows, columns]), labels[rows, columns].astype(float), columns)
