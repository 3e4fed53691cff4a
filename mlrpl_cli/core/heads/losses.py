"""Losses of partial labels, divided by how many cells count (method.md, part 6).

Axes: B images, C classes. Labels are label states. An unknown cell contributes neither loss nor gradient, but in the
losses of single positives: where nothing is known to be absent, they say what an unknown cell is taken for.
"""

import math
from collections.abc import Callable
from functools import partial
from inspect import signature
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mlrpl_cli.core.config import TrainConfig
from mlrpl_cli.core.heads.registry import LOSSES
from mlrpl_cli.core.io.errors import ConfigError
from mlrpl_cli.core.labels.states import ABSENT, PRESENT, UNKNOWN

SMALLEST, FAINTEST = 1e-8, 1e-30
SATURATED = 1000.0
"""Logit beyond which a sigmoid is 0 or 1 exactly, in float64 too: one that is a factor is clamped there, since far out
its slope of 0 meets what may be too large for the product."""


class Cells(NamedTuple):
    """What labels say to what is fitted at once, which knows present and absent."""

    targets: Tensor
    """(N, C) float32: 1 for present, -1 for any other."""
    weights: Tensor
    """(N, C) float32 ≥ 0: how much each cell counts; 0 for one that says nothing."""


def count_known(labels: Tensor) -> Tensor:
    """How many cells of (B, C) are known, as a scalar of the default float type."""
    return (labels != UNKNOWN).sum().to(torch.get_default_dtype())


def count_all(labels: Tensor) -> Tensor:
    """How many cells (B, C) has, as a scalar of the default float type."""
    return labels.new_tensor(labels.numel(), dtype=torch.get_default_dtype())


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


def assume_negative(logits: Tensor, labels: Tensor, cells: Tensor, unknown_weight: float = 1.0) -> Tensor:
    """BCE in which an unknown cell counts as an absent one of weight w, over max(cells, 1), the cells of the batch.

    Cole et al., Multi-Label Learning from Single Positive Labels, CVPR 2021: AN for w = 1, WAN for w = 1/(C-1).
    Present: -log p. Absent: -log(1-p). Unknown: -w log(1-p).
    Logits and labels (B, C) → scalar ≥ 0; `cells` as `known` in `partial_bce`.
    """
    if unknown_weight == 0:
        logits = logits.where(labels != UNKNOWN, 0)  # no weight times an infinite logit is no number
    losses = F.softplus(torch.where(labels == PRESENT, -logits, logits))
    return torch.where(labels == UNKNOWN, unknown_weight * losses, losses).sum() / cells.clamp(min=1)


def entropy_maximization(logits: Tensor, labels: Tensor, cells: Tensor, entropy_weight: float = 0.1) -> Tensor:
    """BCE over known cells that keeps unknown ones undecided, over max(cells, 1), the cells of the batch.

    Zhou et al., Acknowledging the Unknown for Multi-label Learning with Single Positive Labels, ECCV 2022.
    Present: -log p. Absent: -log(1-p). Unknown: α (log 2 - H(p)), H(p) = -p log p - (1-p) log(1-p); the paper's -α H(p)
    has the same gradient. Logits and labels (B, C) → scalar ≥ 0; `cells` as `known` in `partial_bce`.
    """
    known, unknown = logits.where(labels != UNKNOWN, 0), logits.where(labels == UNKNOWN, 0)
    size = unknown.abs().clamp(max=SATURATED)  # H is even, and on this side nothing cancels
    entropy = F.softplus(-size) + size * torch.sigmoid(-size)
    undecided = (math.log(2) - entropy).clamp(min=0)  # rounds to less
    losses = torch.where(labels == UNKNOWN, entropy_weight * undecided, F.softplus(-known * labels))
    return losses.sum() / cells.clamp(min=1)


def _mean_over_known(cells: Tensor, labels: Tensor, known: Tensor) -> Tensor:
    return cells.where(labels != UNKNOWN, 0).sum() / known.clamp(min=1)


COUNTS: dict[str, Callable[[Tensor], Tensor]] = {"known": count_known, "cells": count_all}
"""What a loss is divided by, by the name of its third parameter."""
PARTIAL, POSITIVES_ONLY = "asl", "an"
"""The default, and that of labels of which none is absent: chosen in docs/trials.md."""


def default_loss(labels: np.ndarray) -> str:
    """The loss for training labels (N, C) when none is asked for."""
    return PARTIAL if (labels == ABSENT).any() or not (labels == PRESENT).any() else POSITIVES_ONLY


def make_count(config: TrainConfig) -> Callable[[Tensor], Tensor]:
    """Counts the cells of labels (B, C) that the loss of `config` is divided by, as a scalar."""
    return COUNTS[_parameters(_named(config))[2]]


def takes_unknown(config: TrainConfig) -> bool:
    """Whether the loss of `config` learns from unknown cells, so that a class needs no known absent cell."""
    return make_count(config) is count_all and not (config.loss == POSITIVES_ONLY and config.unknown_weight == 0)


def make_cells(config: TrainConfig, labels: Tensor) -> Cells:
    """Labels (N, C) as the loss of `config` takes them: known cells count 1, and unknown ones nothing.

    A loss that takes unknown cells for something lets them count as absent: with `unknown_weight` if it has one.
    """
    known = (labels != UNKNOWN).float()
    weighted = "unknown_weight" in options_of(_named(config))
    of_unknown = (config.unknown_weight if weighted else 1.0) if takes_unknown(config) else 0.0
    return Cells(torch.where(labels == PRESENT, 1.0, -1.0), known + of_unknown * (1 - known))


def make_loss(config: TrainConfig) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """The loss that `config.loss` names; its parameters that are called like an option of training get its value.

    Raises ConfigError for one that cannot be loaded, or is no function of logits, labels and a count.
    """
    function = LOSSES.load(_named(config))
    return partial(function, **{name: getattr(config, name) for name in options_of(_named(config))})


def options_of(loss: str) -> tuple[str, ...]:
    """Which options of training a loss has a parameter for."""
    return tuple(name for name in _parameters(loss)[3:] if name in TrainConfig.__dataclass_fields__)


def _parameters(loss: str) -> list[str]:
    """The names of a loss's parameters; the third one says what it is divided by. Raises ConfigError for another."""
    function = LOSSES.load(loss)
    names = list(signature(function).parameters) if callable(function) else []
    if len(names) < 3 or names[2] not in COUNTS:
        expected = f"expected a function of logits, labels and one of {', '.join(COUNTS)}"
        raise ConfigError(f"loss '{loss}': {expected}, got ({', '.join(names)}); correct it at {LOSSES[loss]}")
    return names


def _named(config: TrainConfig) -> str:
    return config.loss or PARTIAL  # a run's own is resolved; PARTIAL is where no data are
