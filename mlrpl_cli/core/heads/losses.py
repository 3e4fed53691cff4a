"""Losses over known labels only, divided by how many are known (method.md, part 6).

Axes: B images, C classes. Labels are label states; an unknown cell contributes neither loss nor gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from inspect import signature
from pkgutil import resolve_name

import torch
import torch.nn.functional as F
from torch import Tensor

from mlrpl_cli.core.config import TrainConfig
from mlrpl_cli.core.labels.states import ABSENT, PRESENT, UNKNOWN

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]

SMALLEST, FAINTEST = 1e-8, 1e-30
SATURATED = 1000.0
"""Logit beyond which a sigmoid is 0 or 1 exactly, in float64 too.

Where a sigmoid is a factor, its logit is clamped there: its slope is 0 far out, where what it multiplies may be too
large for the product.
"""


def count_known(labels: Tensor) -> Tensor:
    """How many cells of (B, C) are known, as a scalar of the default float type."""
    return (labels != UNKNOWN).sum().to(torch.get_default_dtype())


def partial_bce(logits: Tensor, labels: Tensor, known: Tensor) -> Tensor:
    """Σ over known cells of -log p (present) or -log(1-p) (absent), over max(known, 1), p = sigmoid(logit).

    Logits and labels (B, C) → scalar ≥ 0. `known` is the number to divide by: the known cells of the whole batch,
    which in data-parallel training is more than this process sees.
    """
    logits = logits.where(labels != UNKNOWN, 0)
    return _mean_over_known(F.softplus(-logits * labels), labels, known)


def partial_asl(
    logits: Tensor,
    labels: Tensor,
    known: Tensor,
    gamma_negative: float = 2.0,
    gamma_positive: float = 1.0,
    margin: float = 0.05,
) -> Tensor:
    """Asymmetric loss (Ridnik et al., ICCV 2021) over known cells, over max(known, 1).

    Present: -(1-p)^γ⁺ log p. Absent: -p_m^γ⁻ log(1-p_m) with p_m = max(p - margin, 0).
    Logits and labels (B, C) → scalar ≥ 0; `known` as in `partial_bce`.
    """
    # Each form sees its own cells alone: the gradient of the other at an infinite logit would be 0 times infinity.
    present = _present(logits.where(labels == PRESENT, 0), gamma_positive)
    absent = _absent(logits.where(labels == ABSENT, 0), gamma_negative, margin)
    return _mean_over_known(torch.where(labels == PRESENT, present, absent), labels, known)


def _present(logits: Tensor, gamma: float) -> Tensor:
    absence = torch.sigmoid(-logits.clamp(-SATURATED, SATURATED)).clamp(min=SMALLEST)  # 1 - p without rounding to 0
    return -(absence**gamma) * F.logsigmoid(logits)


def _absent(logits: Tensor, gamma: float, margin: float) -> Tensor:
    shifted = (torch.sigmoid(logits.clamp(-SATURATED, SATURATED)) - margin).clamp(min=0)
    # A clamp alone would leave 0 ** γ, whose gradient is infinite for γ < 1.
    weight = (shifted.clamp(min=SMALLEST) ** gamma).where(shifted > 0, 0)
    # log(1 - p_m) from the logit's own side: 1 - sigmoid rounds to 0, and its gradient with it, from logit 17.
    if margin == 0:
        return -weight * F.logsigmoid(-logits)
    return -weight * torch.log((torch.sigmoid(-logits) + margin).clamp(min=FAINTEST, max=1))


def _mean_over_known(cells: Tensor, labels: Tensor, known: Tensor) -> Tensor:
    return cells.where(labels != UNKNOWN, 0).sum() / known.clamp(min=1)


LOSSES: dict[str, str] = {
    "asl": "mlrpl_cli.core.heads.losses:partial_asl",
    "bce": "mlrpl_cli.core.heads.losses:partial_bce",
}


def make_loss(config: TrainConfig) -> Loss:
    """The loss that `config.loss` names; its parameters that are called like an option of training get its value."""
    function = resolve_name(LOSSES[config.loss])
    options = signature(function).parameters.keys() & vars(config).keys()
    return partial(function, **{name: getattr(config, name) for name in options})
