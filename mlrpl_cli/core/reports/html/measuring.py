"""A run measured as `eval` measures it, with intervals, and its decisions of the same images.

Axes: N measured images, C classes, R resamples.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mlrpl_cli.core.decisions.measured import MeasuredDecisions, measure
from mlrpl_cli.core.evaluation import comparison
from mlrpl_cli.core.evaluation.comparison import Interval
from mlrpl_cli.core.evaluation.evaluate import Evaluation, evaluate
from mlrpl_cli.core.evaluation.metrics import PrecisionRecall, or_none, top_k_mask
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


class Way(NamedTuple):
    """A way to decide which classes are predicted, and what it comes to."""

    figures: PrecisionRecall
    of1: Interval | None
    """None where there is no figure, as with the next one."""
    cf1: Interval | None
    """Of CP and CR."""


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
    ways: dict[str, Way] = field(default_factory=dict)
    """By what they are called."""
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
    weights = comparison.resample_weights(found.images, comparison.RESAMPLES)
    mean, of_classes = intervals(found, weights)
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
        ways=ways_of(found, decided, believed, decision, weights),
        believed=believed,
        verdicts=verdicts,
        confusion=comparison.confusion(found.probabilities, found.labels, alike),
    )


def intervals(found: Evaluation, weights: np.ndarray) -> tuple[Interval | None, list[Interval | None]]:
    """mAP and (C,) average precision with the intervals of resamples of the images, their `weights` (R, N).

    None where there is no figure.
    """
    resampled = list(comparison.resampled_average_precisions(found.probabilities, found.labels, weights))
    means = comparison.mean_of_resamples(resampled, len(weights))
    figures = zip(resampled, found.metrics.average_precision.tolist(), strict=True)
    of_classes = [None if np.isnan(ap) else comparison.interval_of(of_class, ap) for of_class, ap in figures]
    mean = found.metrics.mean_average_precision
    return None if np.isnan(mean) else comparison.interval_of(means, mean), of_classes


def ways_of(
    found: Evaluation,
    decided: MeasuredDecisions,
    believed: np.ndarray,
    decision: Decision | None,
    weights: np.ndarray,
) -> dict[str, Way]:
    """Precision and recall as `eval` prints them, with intervals of the resamples of `weights` (R, N)."""
    p, metrics, asked = found.probabilities, found.metrics, found.options
    ways = {
        f"p > {asked.threshold:g}, as the method gives it": (metrics.at_threshold, p > asked.threshold),
        f"the {asked.top_k} highest of each image": (metrics.at_top_k, top_k_mask(p, asked.top_k)),
    }
    if decision is not None:
        ways |= {title: (figures, believed >= decision.thresholds) for title, figures in decided.decided.items()}
    return {title: _way(figures, predicted, found.labels, weights) for title, (figures, predicted) in ways.items()}


def _way(figures: PrecisionRecall, predicted: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> Way:
    if np.isnan(figures.of1):
        return Way(figures, None, None)
    of1, cf1 = comparison.resampled_f1s(predicted, labels, weights)
    whole = figures.of1, figures.cf1_of_means
    return Way(figures, comparison.interval_of(of1, whole[0]), comparison.interval_of(cf1, whole[1]))


def believed_of(found: Evaluation, decision: Decision | None) -> tuple[np.ndarray, np.ndarray]:
    """(N, C) probabilities and (N, C) verdicts; without a decision yes is what is above `eval`'s own threshold."""
    p = found.probabilities
    if decision is None:
        return p, np.where(p > found.options.threshold, YES, NO)
    logits = finite_logit(p)
    return decision.calibration.apply(logits), decision.verdicts(logits, found.learnable)
