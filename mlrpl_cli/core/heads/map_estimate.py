"""The fit of `anchored`: maximum a posteriori logistic regression of all classes at once, over known cells.

    minimise Σ_bc g_bc softplus(-y_bc z_bc) + ½ λ Σ w² + ½ κ Σ δ² + ½ ρ Σ ε² + ½ μ (Σ α² + β²)

over z_bc = Σ_m (α_m + δ_cm) s_bcm + w_c · φ_b + β + ε_c with y in {-1, 1} and the weight g_bc of a cell, 0 for an
unknown one. The problem is convex. Trust α and bias β are shared by the classes, so that a class with few known cells,
or none, keeps what the others say. How far a class may leave the zero-shot scores, λ, is what held-out known cells say.
Axes: N images, C classes, D channels, M zero-shot scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from mlrpl_cli.core.heads.losses import Cells

PRECISIONS = (3.0, 1.0, 0.3, 0.1, 0.03, 0.01)
"""What λ is chosen from, the strictest first: it is taken where none does better."""
OF_TRUST, OF_BIAS, OF_SHARED = 30.0, 1.0, 0.01
"""κ, ρ and μ."""
FOLDS = 4
"""Parts that the images are held out in, in turn."""
MEMORY = 10
ROUGHLY, EXACTLY = (60, 1e-4, 1e-9), (300, 1e-6, 1e-12)
"""Most iterations, and what ends them sooner: a gradient and a step so small. The first is to compare values of λ, the
second, in float64, so that processors and processes agree on what is kept."""


@dataclass(frozen=True)
class Evidence:
    """Known cells and what they are explained by."""

    scores: Tensor
    """(N, C, M) float32, of zero mean and unit variance."""
    content: Tensor
    """(N, D) float32, of zero mean and mean square length 1."""
    cells: Cells
    """Of (N, C)."""


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
        return (scores * self.trust).sum(dim=-1) + content @ self.weight + self.offset


def fit(evidence: Evidence, precision: float) -> Estimate:
    """The minimum for one λ, found in float64, in float32."""
    exact = Evidence(
        evidence.scores.double(), evidence.content.double(), Cells(*(of.double() for of in evidence.cells))
    )
    found, _ = _minimum(exact, precision, EXACTLY)
    return Estimate(found.trust.float(), found.weight.float(), found.offset.float())


def _minimum(
    evidence: Evidence, precision: float, until: tuple[int, float, float], start: Tensor | None = None
) -> tuple[Estimate, Tensor]:
    """By L-BFGS; with the point where it lies, from which that of a near λ is found sooner."""
    (classes, scores), channels = evidence.scores.shape[1:], evidence.content.shape[1]
    sizes = (classes * channels, classes * scores, classes, scores, 1)
    point = evidence.scores.new_zeros(sum(sizes)) if start is None else start.clone()
    point.requires_grad_(True)
    # One prior precision for each coordinate, in the order of the parts below.
    prior = torch.cat([torch.full((size,), value) for size, value in zip(sizes, _priors(precision), strict=True)])
    prior = prior.to(point)

    def estimate(of: Tensor) -> Estimate:
        weight, own_trust, own_offset, trust, offset = of.split(sizes)
        shared = trust + own_trust.view(classes, scores)
        return Estimate(shared, weight.view(channels, classes), own_offset + offset)

    iterations, gradient, step = until
    ends = {"max_iter": iterations, "tolerance_grad": gradient, "tolerance_change": step}
    optimizer = torch.optim.LBFGS([point], **ends, history_size=MEMORY, line_search_fn="strong_wolfe")

    def objective() -> Tensor:
        optimizer.zero_grad()
        logits = estimate(point).logits(evidence.scores, evidence.content)
        losses = evidence.cells.weights * F.softplus(-evidence.cells.targets * logits)
        loss = losses.sum() + (prior * point**2).sum() / 2
        loss.backward()
        return loss

    with torch.enable_grad():
        optimizer.step(objective)
    found = point.detach()
    return estimate(found), found


def chosen_precision(evidence: Evidence, generator: torch.Generator) -> float:
    """The λ with the highest mean average precision of known cells that were held out; the strictest of equals.

    Every image is held out once, with all of its cells, and the scores of all parts are ranked together. Without a
    class that has a present and an absent known cell there is nothing to choose by: the strictest.
    """
    part = torch.randint(FOLDS, (len(evidence.content),), generator=generator).to(evidence.content.device)
    targets, weights = evidence.cells
    logits = torch.zeros(len(PRECISIONS), *targets.shape, device=part.device)
    for held in range(FOLDS):
        out, point = part == held, None
        seen = Evidence(evidence.scores, evidence.content, Cells(targets, weights * ~out[:, None]))
        for number, precision in enumerate(PRECISIONS):
            estimate, point = _minimum(seen, precision, ROUGHLY, point)
            logits[number, out] = estimate.logits(evidence.scores[out], evidence.content[out])
    found = [_mean_average_precision(each, evidence.cells) for each in logits]
    return PRECISIONS[max(range(len(found)), key=lambda number: found[number])]


def _priors(precision: float) -> Sequence[float]:
    return precision, OF_TRUST, OF_BIAS, OF_SHARED, OF_SHARED


def _mean_average_precision(logits: Tensor, cells: Cells) -> float:
    """Over the classes that have one, of the cells that count; -1 where none has."""
    found = []
    for scores, targets, weights in zip(logits.T, cells.targets.T, cells.weights.T, strict=True):
        counted = targets[weights > 0][scores[weights > 0].argsort(descending=True, stable=True)] > 0
        if 0 < int(counted.sum()) < len(counted):
            precision = counted.cumsum(dim=0) / torch.arange(1, len(counted) + 1, device=counted.device)
            found.append(float(precision[counted].mean()))
    return sum(found) / len(found) if found else -1.0
