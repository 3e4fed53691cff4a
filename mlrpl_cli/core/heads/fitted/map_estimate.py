"""The fit of `anchored`: maximum a posteriori logistic regression of all classes at once, over known cells.

    minimise Σ_bc g_bc softplus(-y_bc z_bc) + ½ (λ Σ w² + κ Σ δ² + ρ Σ ε² + Σ (α - 1)² + μ β²)

over z_bc = Σ_m (α_m + δ_cm) s_bcm + w_c · φ_b + β + ε_c with y in {-1, 1} and the weight g_bc of a cell, 0 for an
unknown one. The problem is convex. Trust α and bias β are shared by the classes, so that a class with few known cells,
or none, keeps what the others say; without any known cell the zero-shot scores are added up as they are. How far a
class may leave them, λ, is what held-out known cells say.
Axes: N images, C classes, D channels, M zero-shot scores.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from mlrpl_cli.core.heads.losses import Cells

PRECISIONS = (3.0, 1.0, 0.3, 0.1, 0.03, 0.01)
"""What λ is chosen from, the strictest first: it is taken where none does better."""
OF_TRUST, OF_BIAS, OF_SHARED_TRUST, OF_SHARED_BIAS = 30.0, 1.0, 1.0, 0.01
"""κ, ρ, 1 and μ."""
FOLDS = 4
"""Parts that the images are held out in, in turn."""
FITS = FOLDS * len(PRECISIONS) + 1
"""How many minima `chosen_precision` and `fit` look for together."""
MEMORY, ITERATIONS = 20, 500
NOTHING = 1e-12
"""Of the largest variance along an axis: what is below it is rounding."""
ROUGHLY, EXACTLY = 1e-2, 1e-6
"""The largest slope that ends a search, along coordinates of unit curvature, so that a logit is off by as much: to
compare values of λ, and, in float64, for what is kept."""


@dataclass(frozen=True)
class Evidence:
    """Known cells and what they are explained by."""

    scores: Tensor
    """(N, C, M), of zero mean and unit variance."""
    content: Tensor
    """(N, D), of zero mean and mean square length 1."""
    cells: Cells
    """Of (N, C)."""

    @cached_property
    def axes(self) -> Tensor:
        """(D, R) orthonormal, float64: content times it has uncorrelated columns, in which a minimum is soon found.

        R is the rank of the content. Along any other direction no image says anything, and the prior keeps w at 0.
        """
        exact = self.content.double()
        small = exact @ exact.T if len(exact) < exact.shape[1] else exact.T @ exact
        squares, vectors = torch.linalg.eigh(small)
        found = squares > NOTHING * squares.max()
        squares, vectors = squares[found], vectors[:, found]
        return exact.T @ vectors / squares.sqrt() if len(exact) < exact.shape[1] else vectors


@dataclass(frozen=True)
class Estimate:
    """The minimum."""

    trust: Tensor
    """(C, M) α + δ."""
    weight: Tensor
    """(D, C) w."""
    offset: Tensor
    """(C,) β + ε."""

    def logits(self, scores: Tensor, content: Tensor) -> Tensor:
        """(N, C) of scores (N, C, M) and content (N, D), standardised as the evidence was."""
        return torch.einsum("ncm,cm->nc", scores, self.trust) + content @ self.weight + self.offset


def fit(evidence: Evidence, precision: float) -> Estimate:
    """The minimum for one λ, found in float64, in float32."""
    cells = Cells(*(of.double() for of in evidence.cells))
    exact = Evidence(evidence.scores.double(), evidence.content.double() @ evidence.axes, cells)
    found, _ = _minimum(exact, precision, EXACTLY)
    return Estimate(found.trust.float(), (evidence.axes @ found.weight).float(), found.offset.float())


def chosen_precision(
    evidence: Evidence, generator: torch.Generator, done: Callable[[], object] = lambda: None
) -> float:
    """The λ with the highest mean average precision of cells that were held out; the strictest of equals.

    Every image is held out once, with all of its cells, and the scores of all parts are ranked together. Without a
    class that has a present and an absent cell there is nothing to choose by: the strictest. `done` is told of each
    minimum.
    """
    content = evidence.content @ evidence.axes.to(evidence.content)
    part = torch.randint(FOLDS, (len(content),), generator=generator).to(content.device)
    targets, weights = evidence.cells
    logits = content.new_zeros(len(PRECISIONS), *targets.shape)
    for held in range(FOLDS):
        out, start = part == held, None
        seen = Evidence(evidence.scores, content, Cells(targets, weights * ~out[:, None]))
        for number, precision in enumerate(PRECISIONS):
            estimate, start = _minimum(seen, precision, ROUGHLY, start)
            logits[number, out] = estimate.logits(evidence.scores[out], content[out])
            done()
    found = [_mean_average_precision(each, evidence.cells) for each in logits]
    return PRECISIONS[max(range(len(found)), key=lambda number: found[number])]


def _minimum(
    evidence: Evidence, precision: float, slope: float, start: Tensor | None = None
) -> tuple[Estimate, Tensor]:
    """By L-BFGS; with the point where it lies, from which that of a near λ is found sooner.

    Coordinates are scaled to a curvature of about one: the prior's, and a quarter of what known cells add along each
    axis, which is theirs at even odds and more than theirs elsewhere.
    """
    (classes, scores), channels = evidence.scores.shape[1:], evidence.content.shape[1]
    counted = evidence.cells.weights.sum(dim=0)  # (C,)
    length = evidence.content.square().mean(dim=0)  # (D,)
    priors = (precision, OF_TRUST, OF_BIAS, OF_SHARED_TRUST, OF_SHARED_BIAS)
    of_cells = (
        length[:, None] * counted,
        counted[:, None].expand(classes, scores),
        counted,
        counted.sum().expand(scores),
        counted.sum()[None],
    )
    sizes = [part.numel() for part in of_cells]
    prior = torch.cat([part.new_full((part.numel(),), value) for part, value in zip(of_cells, priors, strict=True)])
    scale = (prior + torch.cat([part.flatten() for part in of_cells]) / 4).rsqrt()
    centre = torch.zeros_like(prior)
    centre[-1 - scores : -1] = 1

    def estimate(of: Tensor) -> Estimate:
        weight, own_trust, own_offset, trust, offset = of.split(sizes)
        return Estimate(trust + own_trust.view(classes, scores), weight.view(channels, classes), own_offset + offset)

    point = (torch.zeros_like(prior) if start is None else (start - centre) / scale).requires_grad_(True)
    optimizer = torch.optim.LBFGS(
        [point],
        max_iter=ITERATIONS,
        tolerance_grad=slope,
        tolerance_change=0.0,
        history_size=MEMORY,
        line_search_fn="strong_wolfe",
    )

    def objective() -> Tensor:
        optimizer.zero_grad()
        away = scale * point
        logits = estimate(centre + away).logits(evidence.scores, evidence.content)
        losses = evidence.cells.weights * F.softplus(-evidence.cells.targets * logits)
        loss = losses.sum() + (prior * away**2).sum() / 2
        loss.backward()
        return loss

    with torch.enable_grad():
        optimizer.step(objective)
    found = (centre + scale * point).detach()
    return estimate(found), found


def _mean_average_precision(logits: Tensor, cells: Cells) -> float:
    """Over the classes that have one, of the cells that count; -1 where none has."""
    found = []
    for scores, targets, weights in zip(logits.T, cells.targets.T, cells.weights.T, strict=True):
        counted = targets[weights > 0][scores[weights > 0].argsort(descending=True, stable=True)] > 0
        if 0 < int(counted.sum()) < len(counted):
            precision = counted.cumsum(dim=0) / torch.arange(1, len(counted) + 1, device=counted.device)
            found.append(float(precision[counted].mean()))
    return sum(found) / len(found) if found else -1.0
