"""Losses over known labels only, divided by how many are known (method.md, part 6).

Axes: B images, C classes. Labels are label states; an unknown cell contributes neither loss nor gradient.
"""

from collections.abc import Callable
from functools import partial
from inspect import signature
from pkgutil import resolve_name

import torch
import torch.nn.functional as F
from torch import Tensor

from mlrpl_cli.core.config import TrainConfig
from mlrpl_cli.core.labels.states import ABSENT, PRESENT, UNKNOWN

SMALLEST, FAINTEST = 1e-8, 1e-30
SATURATED = 1000.0
"""Logit beyond which a sigmoid is 0 or 1 exactly, in float64 too: one that is a factor is clamped there, since far out
its slope of 0 meets what may be too large for the product."""


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
    present, absent = logits.where(labels == PRESENT, 0), logits.where(labels == ABSENT, 0)
    absence = torch.sigmoid(-present.clamp(-SATURATED, SATURATED)).clamp(min=SMALLEST)  # 1 - p without rounding to 0
    presence = (torch.sigmoid(absent.clamp(-SATURATED, SATURATED)) - margin).clamp(min=0)  # p_m
    # A clamp alone would leave 0 ** γ, whose gradient is infinite for γ < 1.
    weight = (presence.clamp(min=SMALLEST) ** gamma_negative).where(presence > 0, 0)
    if margin == 0:
        log_absence = F.logsigmoid(-absent)
    else:  # from the logit's own side: 1 - sigmoid rounds to 0, and its gradient with it, from logit 17
        log_absence = torch.log((torch.sigmoid(-absent) + margin).clamp(min=FAINTEST, max=1))
    cells = torch.where(labels == PRESENT, -(absence**gamma_positive) * F.logsigmoid(present), -weight * log_absence)
    return _mean_over_known(cells, labels, known)


def _mean_over_known(cells: Tensor, labels: Tensor, known: Tensor) -> Tensor:
    return cells.where(labels != UNKNOWN, 0).sum() / known.clamp(min=1)


LOSSES: dict[str, str] = {
    "asl": "mlrpl_cli.core.heads.losses:partial_asl",
    "bce": "mlrpl_cli.core.heads.losses:partial_bce",
}


def make_loss(config: TrainConfig) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """The loss that `config.loss` names; its parameters that are called like an option of training get its value."""
    function = resolve_name(LOSSES[config.loss])
    options = signature(function).parameters.keys() & vars(config).keys()
    return partial(function, **{name: getattr(config, name) for name in options})
