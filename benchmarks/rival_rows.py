"""What mlrpl and mlcpl compute of the same input, a row each: losses, gradients, figures, labels of a VOC folder.

Axes: N images, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks import rival_voc
from mlrpl_cli.core.evaluation.metrics import average_precisions, mean_of_classes, precision_recall
from mlrpl_cli.core.heads.losses import assume_negative, count_all, count_known, partial_asl, partial_bce
from mlrpl_cli.core.labels.states import ABSENT, PRESENT, UNKNOWN

IMAGES, CLASSES, PRESENT_SHARE, KNOWN_SHARE, SEED = 400, 20, 0.3, 0.3, 0
TOLERANCE = 1e-5
"""Relative: both compute in float32."""
SATURATED = 17.0
"""A logit whose sigmoid is 1 in float32."""
ITS_DEFAULTS = {"gamma_negative": 1.0, "gamma_positive": 0.0, "margin": 0.0}

Loss = Callable[[Tensor, Tensor], Tensor]
"""Of logits and label states (N, C) to a scalar."""


@dataclass(frozen=True)
class Row:
    """One thing that both compute."""

    what: str
    ours: np.ndarray
    theirs: np.ndarray
    same: bool
    """Whether both mean the same, so that they have to be equal; else they have to differ."""
    why: str = ""
    """What makes the difference."""

    @property
    def difference(self) -> float:
        """The largest one, as a share of the largest of ours; infinite where one alone is NaN or infinite."""
        finite = np.isfinite(self.ours)
        if not np.array_equal(finite, np.isfinite(self.theirs)):
            return float("inf")
        scale = np.abs(self.ours[finite]).max(initial=0) or 1.0
        return float(np.abs(self.ours[finite] - self.theirs[finite]).max(initial=0) / scale)

    @property
    def equal(self) -> bool:
        return self.difference <= TOLERANCE

    def line(self) -> str:
        """As a row of a Markdown table."""
        shown = " | ".join(map(_shown, (self.ours, self.theirs)))
        return f"| {self.what} | {shown} | {self.difference:.0e} | {'yes' if self.equal else 'no'} | {self.why} |"


def drawn(deviation: float = 2.0) -> tuple[Tensor, Tensor]:
    """Logits (N, C) of N(0, deviation²), and label states of which a part is known."""
    generator = torch.Generator().manual_seed(SEED)
    logits = deviation * torch.randn(IMAGES, CLASSES, generator=generator)
    states = torch.where(torch.rand(logits.shape, generator=generator) < PRESENT_SHARE, PRESENT, ABSENT)
    return logits, states.where(torch.rand(logits.shape, generator=generator) < KNOWN_SHARE, UNKNOWN)


def one_sided(labels: Tensor) -> Tensor:
    """Labels of which one class has no known absent cell, and another no known present one."""
    changed = labels.clone()
    changed[:, 0], changed[:, 1] = labels[:, 0].abs(), -labels[:, 1].abs()
    return changed


def to_mlcpl(labels: Tensor) -> Tensor:
    """Label states in mlcpl's coding: 1, 0, and NaN for unknown."""
    return ((labels.float() + 1) / 2).where(labels != UNKNOWN, torch.nan)


def loss_rows(mlcpl: Any) -> Iterator[Row]:
    """Value and gradient of each loss that both have, then what becomes of them at the edges."""
    (logits, labels), losses = drawn(), mlcpl.losses
    ours, theirs = _over(partial_bce), _coded(losses.PartialBCEWithLogitLoss())
    assuming = _over(assume_negative), _coded(losses.PartialNegativeBCEWithLogitLoss())
    focusing = {"clip": 0.05, "gamma_pos": 1, "gamma_neg": 2}
    whole = _coded(losses.PartialAsymmetricWithLogitLoss(**focusing, discard_focal_grad=False))
    for name, pair in (
        ("BCE", (ours, theirs)),
        ("BCE, unknown as absent (`an`)", assuming),
        ("ASL, γ⁻ 2, γ⁺ 1, margin 0.05", (_over(partial_asl), whole)),
    ):
        yield _value(name, *pair, logits, labels)
        yield _slope(f"{name}, gradient", *pair, logits, labels)
    why = "it takes the focusing factor for a constant, but with `discard_focal_grad=False`"
    constant = _coded(losses.PartialAsymmetricWithLogitLoss(**focusing))
    yield _slope("the same, gradient as it is by default", _over(partial_asl), constant, logits, labels, why)
    default = _coded(losses.PartialAsymmetricWithLogitLoss())
    yield _value("ASL, its defaults", _over(partial_asl, **ITS_DEFAULTS), default, logits, labels)
    why = "ours: γ⁻ 2, γ⁺ 1, margin 0.05; its: 1, 0, 0"
    yield _value("ASL, each with its own defaults", _over(partial_asl), default, logits, labels, why)
    why = "it divides by the known cells, 0"
    yield _value("BCE, no known cell", ours, theirs, logits, torch.zeros_like(labels), why)
    why = "it takes the log of a sigmoid that float32 rounds to 1"
    edge, present = torch.full((1, 1), SATURATED), torch.full((1, 1), PRESENT)
    yield _value(f"BCE, absent, logit {SATURATED:g}", ours, theirs, edge, -present, why)
    for name, state in (("present", present), ("unknown", 0 * present)):
        yield _slope(f"BCE, {name}, logit {SATURATED:g}, gradient", ours, theirs, edge, state, why)


def metric_rows(mlcpl: Any) -> Iterator[Row]:
    """Average precision and the figures at a threshold, then what becomes of them at the edges."""
    logits, labels = drawn()
    scores, rare = logits.sigmoid(), one_sided(labels)
    yield _aps(mlcpl, "AP of each class", scores, labels)
    mean = mean_of_classes(average_precisions(scores.numpy(), labels.numpy()))
    theirs = mlcpl.metrics.partial_multilabel_average_precision(scores, to_mlcpl(labels))
    yield Row("mAP", _array(mean), _array(theirs), True)
    yield _aps(mlcpl, "AP, scores of one decimal, so many alike", scores.round(decimals=1), labels)
    yield _aps(mlcpl, "AP, two classes with one kind of cells", scores, rare)
    why = "it takes the sigmoid of what is not all in [0, 1], and float32 rounds many to 1"
    yield _aps(mlcpl, "AP of logits, deviation 20", drawn(20.0)[0], labels, why)
    yield from _figures(mlcpl, "", scores, labels, ())
    yield from _figures(mlcpl, ", two classes with one kind of cells", scores, rare, ("OP", "OR", "CR"))


def voc_rows(mlcpl: Any, home: Path) -> Iterator[Row]:
    """Labels of a small folder of VOC's form, by whether all objects of a class in an image are difficult."""
    theirs, difficult = rival_voc.theirs(mlcpl, home), rival_voc.difficult_cells()
    read = {meaning: rival_voc.ours(home, difficult=meaning) for meaning in ("absent", "unknown")}
    yield Row("all other cells", read["absent"][~difficult], theirs[~difficult], True)
    for meaning, labels in read.items():
        what = f"cells of which all objects are difficult, `--difficult {meaning}`"
        yield Row(what, labels[difficult], theirs[difficult], False, "it does not read `difficult`: present")


def _figures(mlcpl: Any, of: str, scores: Tensor, labels: Tensor, other: tuple[str, ...]) -> Iterator[Row]:
    """Precision, recall and F1 at 0.5; `other` names those that are expected to differ."""
    found, metrics, given = precision_recall((scores > 0.5).numpy(), labels.numpy()), mlcpl.metrics, to_mlcpl(labels)
    for name, ours, theirs in (
        ("OP", found.op, metrics.partial_multilabel_precision(scores, given, average="micro")),
        ("OR", found.or_, metrics.partial_multilabel_recall(scores, given, average="micro")),
        ("CP", found.cp, metrics.partial_multilabel_precision(scores, given)),
        ("CR", found.cr, metrics.partial_multilabel_recall(scores, given)),
        ("mean F1", found.cf1_mean_of_f1, metrics.partial_multilabel_f1_score(scores, given)),
    ):
        why = "ours leaves such a class out of every figure" if name in other else ""
        yield Row(f"{name} at 0.5{of}", _array(ours), _array(theirs), not why, why)


def _aps(mlcpl: Any, what: str, scores: Tensor, labels: Tensor, why: str = "") -> Row:
    ours = average_precisions(scores.numpy(), labels.numpy())
    theirs = mlcpl.metrics.partial_multilabel_average_precision(scores, to_mlcpl(labels), average="none")
    return Row(what, ours, theirs.double().numpy(), not why, why)


def _over(loss: Callable[..., Tensor], **options: float) -> Loss:
    """A loss of ours, divided by the cells that it is to be divided by."""
    count = count_all if loss is assume_negative else count_known
    return lambda logits, labels: loss(logits, labels, count(labels), **options)


def _coded(loss: Callable[[Tensor, Tensor], Tensor]) -> Loss:
    return lambda logits, labels: loss(logits, to_mlcpl(labels))


def _value(what: str, ours: Loss, theirs: Loss, logits: Tensor, labels: Tensor, why: str = "") -> Row:
    return Row(what, _array(ours(logits, labels)), _array(theirs(logits, labels)), not why, why)


def _slope(what: str, ours: Loss, theirs: Loss, logits: Tensor, labels: Tensor, why: str = "") -> Row:
    return Row(what, _gradient(ours, logits, labels), _gradient(theirs, logits, labels), not why, why)


def _gradient(loss: Loss, logits: Tensor, labels: Tensor) -> np.ndarray:
    leaf = logits.clone().requires_grad_()
    return torch.autograd.grad(loss(leaf, labels), leaf)[0].numpy()


def _array(value: Tensor | float) -> np.ndarray:
    return np.atleast_1d(np.asarray(float(value)))


def _shown(values: np.ndarray) -> str:
    """The value, or of several the mean; how many are NaN or infinite."""
    if values.size == 1:
        return f"{values.item():.6g}"
    finite = values[np.isfinite(values)]
    more = f", {values.size - finite.size} NaN" if finite.size < values.size else ""
    return f"mean {finite.mean():.6g}{more}" if finite.size else "NaN"
