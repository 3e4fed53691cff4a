"""A trained run as one module: pixels in, calibrated probabilities, decisions and attention maps out.

What `core/runs/decided` computes of logits is written here once more, in operations that a graph can hold.
Axes: B images, C classes, K coefficients, P = H·W grid positions.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlrpl_cli.core.backbones.frozen import FrozenEncoder
from mlrpl_cli.core.runs.checkpoint import TrainedHead
from mlrpl_cli.core.runs.decided.calibration import BETA, TEMPERATURE, Calibration, logit, sigmoid
from mlrpl_cli.core.runs.decided.decisions import Decision
from mlrpl_cli.core.runs.decided.verdicts import CONFIDENCE_90

Outputs = tuple[Tensor, Tensor, Tensor, Tensor]
"""What `prediction.model_info.OUTPUTS` names."""


class RunModel(nn.Module):
    """Normalisation, frozen image encoder, recognizer, calibration and thresholds in float32."""

    def __init__(
        self, encoder: FrozenEncoder, head: TrainedHead, decision: Decision | None, resizes: bool = False
    ) -> None:
        """`decision` is None for a run without held-out images; with `resizes` the module resizes images itself."""
        super().__init__()
        self.rule, self.side, self.size, self.resizes = encoder.rule, encoder.grid_side, encoder.image_size, resizes
        self.tower, self.head = encoder.module.to(memory_format=torch.contiguous_format), head  # type: ignore[call-overload]
        self.calibrating = None if decision is None else Calibrating(decision.calibration)
        self.deciding: Deciding | None = None
        if decision is not None and decision.calibration.checked:
            self.deciding = Deciding(decision, head.info.learnable)
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> Outputs:
        """(B, S, S, 3) uint8 RGB, or of any size where it resizes → what OUTPUTS says."""
        pixels = images.permute(0, 3, 1, 2)
        if self.resizes:
            size = (self.size, self.size)
            pixels = F.interpolate(pixels, size=size, mode=self.rule.resampling, antialias=True)
        recognition = self.head(self.tower(self.rule.normalize(pixels)))
        logits, attention = recognition.logits.float(), recognition.attention.float()
        told = logits if self.calibrating is None else self.calibrating(logits)
        unsure = torch.zeros_like(logits, dtype=torch.int8)
        decisions = unsure if self.deciding is None else self.deciding(logits, told)
        maps = attention.unflatten(2, (self.side, self.side))
        return torch.sigmoid(told), torch.sigmoid(logits), decisions, maps


class Calibrating(nn.Module):
    """`Calibration.calibrated_logits` in float32."""

    coefficients: Tensor
    """(C, K)"""

    def __init__(self, calibration: Calibration) -> None:
        super().__init__()
        self.family = calibration.family
        self.register_buffer("coefficients", _float32(calibration.coefficients))

    def forward(self, logits: Tensor) -> Tensor:
        """(B, C) → (B, C)."""
        return (_terms(self.family, logits) * self.coefficients).sum(dim=-1)


class Deciding(nn.Module):
    """`verdicts.verdicts` in float32, as 1 (yes), -1 (no) and 0 (unsure)."""

    thresholds: Tensor
    """(C,) logits of the thresholds, infinite for 0 and 1; 0 where there is none."""
    answers_from: Tensor
    """(C,) the calibrated logit from which it is yes: where a probability in float64 is the threshold, 1 among them."""
    covariance: Tensor
    """(C, K, K)"""
    open_: Tensor
    """(C,) bool: always unsure."""

    def __init__(self, decision: Decision, learnable: tuple[bool, ...] | None) -> None:
        super().__init__()
        self.family, missing = decision.calibration.family, np.isnan(decision.thresholds)
        open_ = missing if learnable is None else missing | ~np.array(learnable)
        thresholds = np.where(missing, 0.5, decision.thresholds)
        self.register_buffer("thresholds", _float32(logit(thresholds)))
        self.register_buffer("answers_from", _float32(np.minimum(logit(thresholds), _surest())))
        self.register_buffer("covariance", _float32(decision.calibration.covariance))
        self.register_buffer("open_", torch.from_numpy(open_))

    def forward(self, logits: Tensor, calibrated: Tensor) -> Tensor:
        """Logits (B, C) before and after calibration → (B, C) int8."""
        x = _terms(self.family, logits)
        spread = ((x[..., None, :] * self.covariance).sum(dim=-1) * x).sum(dim=-1)
        error = spread.clamp(min=0).sqrt()
        unsure = ((calibrated - self.thresholds).abs() < CONFIDENCE_90 * error) | self.open_
        answer = torch.where(calibrated >= self.answers_from, 1, -1)
        return torch.where(unsure, 0, answer).to(torch.int8)


def _surest() -> float:
    """The logit from which a probability in float64 is 1, and reaches a threshold of 1."""
    logits = np.linspace(30, 40, 100_001)
    return float(logits[np.argmax(sigmoid(logits) >= 1)])


def _terms(family: str, logits: Tensor) -> Tensor:
    """`calibration.terms`: (B, C) → (B, C, K)."""
    if family == TEMPERATURE:
        return logits[..., None]
    if family == BETA:
        return torch.stack([-F.softplus(-logits), F.softplus(logits), torch.ones_like(logits)], dim=-1)
    return torch.stack([logits, torch.ones_like(logits)], dim=-1)


def _float32(values: np.ndarray) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))
