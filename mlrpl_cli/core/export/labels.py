"""Labels of a prepared folder, or a run's predictions on its images, as a file that other programs read.

Axes: N images, C classes.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mlrpl_cli.core.config import BEST, raise_together
from mlrpl_cli.core.export.options import OF_A_RUN, ExportOptions
from mlrpl_cli.core.export.writing import (
    Exported,
    check_names,
    name_of,
    out_problems,
    place_of,
    write_export,
)
from mlrpl_cli.core.io.errors import DataError, Problems, RunError, counted, first_few
from mlrpl_cli.core.io.progress import Progress, Silent, track
from mlrpl_cli.core.io.reading import short
from mlrpl_cli.core.labels.records import Records
from mlrpl_cli.core.labels.states import ABSENT, PRESENT, UNKNOWN
from mlrpl_cli.core.labels.writers.registry import Export, writer_of
from mlrpl_cli.core.prepared.folder import Prepared, newest_prepared, read_prepared
from mlrpl_cli.core.runs.decided.verdicts import NO, UNSURE, YES

if TYPE_CHECKING:
    from mlrpl_cli.core.prediction.predictor import TrainedPredictor

THRESHOLD = 0.5
DECIDES = "as the run decides (mlrpl decide)"
DECIDED = {YES: PRESENT, NO: ABSENT, UNSURE: UNKNOWN}


def export_labels(options: ExportOptions, progress: Progress | None = None, overwrite: bool = False) -> Exported:
    """Write what `options` describe, whole or not at all, and return what has to be known of it.

    With `overwrite` a file, or a folder with nothing in it but what this writes, is replaced.
    Raises ConfigError for options that cannot be, DataError for names and images that the format cannot hold and
    rather than replace anything else, and RunError for a run that does not fit.
    """
    progress = progress or Silent()
    writer_of(options.format)  # an unknown one is told first
    _check(options)
    predictor, prepared = _read(options)
    named = "-".join(map(name_of, [prepared.folder, *([options.run] if options.run else [])]))
    path = place_of(options.out, named, options.format, prepared, overwrite)
    rows = _rows(prepared, options)
    records = _chosen(prepared, rows, options)
    model = f"{name_of(options.run)} epoch {predictor.info.epoch}" if options.run and predictor else ""
    export = Export(records, None, model, options.prefix or "", progress)
    check_names(export)
    if predictor is None:
        return write_export(export, path, options.format, prepared)
    if predictor.notice:
        progress.warn(predictor.notice)
    decided = options.threshold is None and predictor.calibrated
    threshold = THRESHOLD if options.threshold is None and not decided else options.threshold
    export = _predicted(export, predictor, prepared.paths(rows), threshold, options.workers)
    rule = f"{DECIDES}, unknown where it is unsure" if decided else f"present above {threshold:g}"
    told = [f"cells are predictions of {export.model}, {rule}"]
    if names := predictor.info.not_learnable:
        of = f"{len(names)} of {counted(len(records.classes), 'class')}: {first_few(map(short, names), 10)}"
        told.append(f"cells say nothing of classes that the run could not learn, {of}")
    found = write_export(export, path, options.format, prepared, tuple(told))
    return replace(found, not_learnable=None if predictor.info.learnable is None else names)


def _check(options: ExportOptions) -> None:
    """Raises ConfigError for what would not be used, and for a name that the format's reader would not take."""
    found = []
    if options.run is None and (idle := [name for name in OF_A_RUN if getattr(options, name) is not None]):
        flags = ", ".join(f"--{name}" for name in idle)
        found.append(f"{flags} is for predictions; name a run with --run, or leave it out")
    if options.run is not None and options.labels is not None:
        found.append("--labels chooses among prepared labels, and --run predicts others; leave one of them out")
    found += out_problems(options.out, options.format)
    raise_together(found)


def _read(options: ExportOptions) -> tuple[TrainedPredictor | None, Prepared]:
    """The run, if there is one, and the data. Raises RunError for a run of other classes."""
    if options.run is None:
        return None, read_prepared(newest_prepared() if options.data is None else options.data)
    # They bring PyTorch, which labels do without.
    from mlrpl_cli.core.evaluation.evaluate import check_classes
    from mlrpl_cli.core.prediction.predictor import Predictor

    predictor = Predictor.from_run(options.run, options.checkpoint or BEST, options.device or "auto")
    prepared = read_prepared(Path(predictor.info.data) if options.data is None else options.data)
    check_classes(predictor.classes, prepared)
    return predictor, prepared


def _rows(prepared: Prepared, options: ExportOptions) -> np.ndarray:
    rows = np.flatnonzero(np.isin(prepared.splits, options.split)) if options.split else np.arange(len(prepared.splits))
    if not len(rows):
        raise DataError(f"{prepared.folder} has no image in {', '.join(options.split)}; choose others with --split")
    return rows


def _chosen(prepared: Prepared, rows: np.ndarray, options: ExportOptions) -> Records:
    """The images of `rows` with the labels that are asked for."""
    labels = prepared.observed_labels if options.labels == "observed" else prepared.full_labels
    images, splits = tuple(prepared.images[row] for row in rows), tuple(prepared.splits[row] for row in rows)
    return Records(prepared.classes, prepared.image_root, images, labels[rows], splits)


def _predicted(
    export: Export, predictor: TrainedPredictor, paths: list[Path], threshold: float | None, workers: int | None
) -> Export:
    """`export` with what a run says of its images, without a `threshold` as it decides.

    Raises DataError, which names them, for images that it cannot read.
    """
    from mlrpl_cli.core.prediction.images import Unreadable

    scores, problems = np.zeros((len(paths), len(predictor.classes)), np.float32), Problems()
    labels = np.full(scores.shape, UNKNOWN, np.int8)
    results = predictor.predict_files(paths, workers=workers)
    for row, result in enumerate(track(export.progress, results, "predicting", len(paths))):
        if isinstance(result, Unreadable):
            problems.add("images cannot be read", result.reason)
        else:
            scores[row] = result.probabilities
            if threshold is None:
                labels[row] = [DECIDED[decision] for decision in result.decisions or ()]
    problems.raise_if_any(str(export.records.image_root), "restore them, or prepare the data without them")
    if broken := int((~np.isfinite(scores)).any(axis=1).sum()):
        raise RunError(f"{broken} of {len(scores)} images got NaN or infinite scores; train again with a lower lr")
    if threshold is not None:
        labels = np.where(scores > threshold, PRESENT, ABSENT).astype(np.int8)
    return replace(export, records=replace(export.records, full_labels=labels), scores=scores)
