"""A run measured as `eval` measures it, with intervals, and its decisions of the same images.

Axes: N measured images, C classes, R resamples.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mlrpl_cli.core.decisions.measured import MeasuredDecisions, measure
from mlrpl_cli.core.evaluation import comparison
from mlrpl_cli.core.evaluation.comparison import Interval
from mlrpl_cli.core.evaluation.evaluate import Evaluation, evaluate
from mlrpl_cli.core.evaluation.metrics import or_none
from mlrpl_cli.core.evaluation.options import EvaluationOptions
from mlrpl_cli.core.io.progress import Progress
from mlrpl_cli.core.labels.formats.registry import SCENES
from mlrpl_cli.core.labels.records import TEST
from mlrpl_cli.core.prepared.folder import Prepared
from mlrpl_cli.core.reports.html.options import ReportOptions
from mlrpl_cli.core.runs.checkpoint import RunInfo
from mlrpl_cli.core.runs.decided.calibration import finite_logit
from mlrpl_cli.core.runs.decided.decisions import Decision, decision_of
from mlrpl_cli.core.runs.decided.verdicts import NO, YES
from mlrpl_cli.core.scenes.rendering import ALIKE


@dataclass(frozen=True)
class MeasuredRun:
    """What is known of a run; without test images, of its decisions alone."""

    decision: Decision | None
    """None where the run has none that calibrates."""
    thresholds: list[float | None]
    """(C,) of the decision."""
    calibration_errors: list[float | None]
    """(C,) of the probabilities that are `believed`."""
    evaluation: Evaluation | None = None
    """None where there is no test image."""
    decided: MeasuredDecisions | None = None
    mean: Interval | None = None
    """mAP."""
    of_classes: list[Interval | None] | None = None
    """(C,) average precision; None for a class without."""
    believed: np.ndarray | None = None
    """(N, C) calibrated probabilities, or those of the method where nothing is calibrated."""
    verdicts: np.ndarray | None = None
    """(N, C) of "yes", "no" and "unsure"."""
    confusion: tuple[float | None, float | None] = (None, None)
    """As `comparison.confusion`: of classes that were made to look alike, and of the others."""


def measured_run(
    options: ReportOptions, run: Path, info: RunInfo, prepared: Prepared, progress: Progress
) -> MeasuredRun:
    """Raises as `evaluate` does; where there is no test image, nothing is measured."""
    decision, _ = decision_of(run, options.checkpoint, len(info.classes))  # `measure` tells of one that does not fit
    decision = decision if decision and decision.calibration.checked else None
    nothing: list[float | None] = [None] * len(info.classes)
    thresholds = [or_none(t) for t in decision.thresholds] if decision else nothing
    if not len(prepared.rows(TEST)):
        return MeasuredRun(decision, thresholds, nothing)
    asked = EvaluationOptions(run, options.checkpoint, options.device, options.workers, data=options.data)
    found = evaluate(asked, progress)
    decided = measure(found, progress)
    mean, of_classes = intervals(found)
    errors = decided.errors_before if decided.errors_after is None else decided.errors_after
    believed, verdicts = believed_of(found, decision)
    alike = comparison.pairs_of_columns(ALIKE, found.classes) if prepared.dataset == SCENES else ()
    return MeasuredRun(
        decision=decision,
        thresholds=thresholds,
        calibration_errors=[or_none(error) for error in errors],
        evaluation=found,
        decided=decided,
        mean=mean,
        of_classes=of_classes,
        believed=believed,
        verdicts=verdicts,
        confusion=comparison.confusion(found.probabilities, found.labels, alike),
    )


def intervals(found: Evaluation) -> tuple[Interval | None, list[Interval | None]]:
    """mAP and (C,) average precision with the intervals of `comparison.RESAMPLES` resamples of the images.

    None where there is no figure.
    """
    weights = comparison.resample_weights(found.images, comparison.RESAMPLES)
    resampled = list(comparison.resampled_average_precisions(found.probabilities, found.labels, weights))
    means = comparison.mean_of_resamples(resampled, len(weights))
    figures = zip(resampled, found.metrics.average_precision.tolist(), strict=True)
    of_classes = [None if np.isnan(ap) else comparison.interval_of(of_class, ap) for of_class, ap in figures]
    mean = found.metrics.mean_average_precision
    return None if np.isnan(mean) else comparison.interval_of(means, mean), of_classes


def believed_of(found: Evaluation, decision: Decision | None) -> tuple[np.ndarray, np.ndarray]:
    """(N, C) probabilities and (N, C) verdicts; without a decision yes is what is above `eval`'s own threshold."""
    p = found.probabilities
    if decision is None:
        return p, np.where(p > found.options.threshold, YES, NO)
    logits = finite_logit(p)
    return decision.calibration.apply(logits), decision.verdicts(logits, found.learnable)
