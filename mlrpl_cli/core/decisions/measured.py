"""What a run's decisions are worth on the images that `evaluate` measured. Axes: N images, C classes."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mlrpl_cli.core.decisions.reliability import Reliability, calibration_errors, reliability
from mlrpl_cli.core.evaluation.evaluate import Evaluation
from mlrpl_cli.core.evaluation.metrics import PrecisionRecall, precision_recall
from mlrpl_cli.core.io.progress import Progress, Silent
from mlrpl_cli.core.labels.records import TRAIN
from mlrpl_cli.core.labels.states import UNKNOWN
from mlrpl_cli.core.runs.decided.calibration import finite_logit, sigmoid
from mlrpl_cli.core.runs.decided.decisions import Decision, decision_of
from mlrpl_cli.core.runs.decided.scores import OUT_OF_FOLD, VALIDATION
from mlrpl_cli.core.runs.decided.verdicts import UNSURE

AS_GIVEN = "as the method gives them"
OF_SPLIT = {VALIDATION: VALIDATION, OUT_OF_FOLD: TRAIN}
"""Which images a source of held-out scores is of."""


@dataclass(frozen=True)
class MeasuredDecisions:
    """Figures of probabilities and decisions over the known cells of a split."""

    before: Reliability
    """Of probabilities as the method gives them."""
    errors_before: np.ndarray
    """(C,) calibration error of each class in [0, 1]; NaN for a class that is not measurable."""
    after: Reliability | None = None
    """Of calibrated ones; None for a run without."""
    errors_after: np.ndarray | None = None
    at_thresholds: PrecisionRecall | None = None
    """Where a class is predicted when its calibrated probability is at its threshold or above."""
    unsure: float | None = None
    """Share of the known cells whose decision is "unsure", in [0, 1]."""
    objective: str | None = None
    """What the thresholds were chosen for."""
    family: str | None = None

    @property
    def reliabilities(self) -> dict[str, Reliability]:
        """By what the probabilities are."""
        after = {} if self.after is None else {calibrated_by(self.family): self.after}
        return {AS_GIVEN: self.before} | after

    @property
    def decided(self) -> dict[str, PrecisionRecall]:
        """`at_thresholds` by what it is; none of a run without."""
        return (
            {} if self.at_thresholds is None else {f"calibrated p ≥ thresholds ({self.objective})": self.at_thresholds}
        )


def calibrated_by(family: str | None) -> str:
    """What probabilities are called that a family has calibrated."""
    return f"calibrated ({family})"


def measure(evaluation: Evaluation, progress: Progress | None = None) -> MeasuredDecisions:
    """The decisions of the run on the images of `evaluation`; raw probabilities alone where it has none.

    Raises RunError for a damaged file of decisions.
    """
    run, which = evaluation.options.run, evaluation.options.checkpoint
    assert run is not None  # evaluate has filled it in
    labels, p = evaluation.labels, evaluation.probabilities
    decision, notice = decision_of(run, which, len(evaluation.classes))
    if notice:
        (progress or Silent()).warn(notice)
    before = MeasuredDecisions(reliability(sigmoid(finite_logit(p)), labels), calibration_errors(p, labels))
    if decision is None or not decision.calibration.checked:
        return before
    if evaluation.options.split == OF_SPLIT[decision.source]:
        told = f"calibration and thresholds were chosen by {decision.source} images, which flatters them here"
        (progress or Silent()).warn(f"{told}; --split test measures others")
    return _with(decision, before, p, labels, evaluation.learnable)


def as_dict(measured: MeasuredDecisions) -> dict[str, Any]:
    """Plain values for JSON; NaN for what is not measurable."""
    found = asdict(measured)
    return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in found.items()}


def _with(
    decision: Decision,
    raw: MeasuredDecisions,
    p: np.ndarray,
    labels: np.ndarray,
    learnable: tuple[bool, ...] | None,
) -> MeasuredDecisions:
    logits = finite_logit(p)
    calibrated, known = decision.calibration.apply(logits), labels != UNKNOWN
    unsure = (decision.verdicts(logits, learnable) == UNSURE)[known]
    return MeasuredDecisions(
        before=raw.before,
        errors_before=raw.errors_before,
        after=reliability(calibrated, labels),
        errors_after=calibration_errors(calibrated, labels),
        at_thresholds=precision_recall(calibrated >= decision.thresholds, labels),
        unsure=float(unsure.mean()) if unsure.size else None,
        objective=str(decision.objective),
        family=decision.calibration.family,
    )
