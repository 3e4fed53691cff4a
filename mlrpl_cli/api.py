"""The commands as functions: the same options by the same names, results as objects instead of tables.

Each raises MlrplError, whose text is one line that says what to change, and is silent unless it is given a
`progress` (see `mlrpl_cli.core.io.progress.Progress`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlrpl_cli.core.curation import correcting
from mlrpl_cli.core.curation.asking import simulating, suggesting
from mlrpl_cli.core.curation.asking.asked import Suggested
from mlrpl_cli.core.curation.asking.curves import Simulated
from mlrpl_cli.core.curation.asking.options import SuggestOptions
from mlrpl_cli.core.curation.check_options import CheckOptions
from mlrpl_cli.core.curation.completing import complete as completing
from mlrpl_cli.core.curation.completing.options import CompleteOptions
from mlrpl_cli.core.decisions import of_run
from mlrpl_cli.core.decisions.after_training import train_and_decide
from mlrpl_cli.core.evaluation import evaluate as evaluation
from mlrpl_cli.core.evaluation.options import EvaluationOptions
from mlrpl_cli.core.export import labels as label_files
from mlrpl_cli.core.export import models
from mlrpl_cli.core.export.model_options import ModelOptions
from mlrpl_cli.core.export.options import ExportOptions
from mlrpl_cli.core.io.errors import ConfigError
from mlrpl_cli.core.io.progress import Progress
from mlrpl_cli.core.labels.records import PrepareOptions
from mlrpl_cli.core.prepared import build, folder
from mlrpl_cli.core.prepared.build import Made
from mlrpl_cli.core.prepared.folder import Prepared
from mlrpl_cli.core.reports.html.options import ReportOptions
from mlrpl_cli.core.reports.html.report import write_report
from mlrpl_cli.core.reports.html.results import Written
from mlrpl_cli.core.runs.decided.objective import parse_objective
from mlrpl_cli.core.runs.options import asked_config
from mlrpl_cli.core.training import train as training


def prepare(
    dataset: str | None = None,
    *,
    keep: float | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    validation_fraction: float | None = None,
    folds: int | None = None,
    classes: Sequence[str] | None = None,
    merge_classes: Mapping[str, str] | None = None,
    download: bool = False,
    check_images: bool | None = None,
    drop_broken: bool = False,
    allow_truncated: bool = False,
    replace: bool = False,
    progress: Progress | None = None,
    **reading: Any,
) -> Prepared:
    """Read a data set, hide labels, write the prepared folder and return it; one that is the same stays as it is.

    `reading` holds the options of the data set's format by name, such as `root="labels.csv"`; the others are those of
    `mlrpl_cli.core.labels.records.PrepareOptions`.
    """
    if isinstance(classes, str):
        raise ConfigError(f"classes: expected a list of names, got {classes!r}")
    if not isinstance(merge_classes or {}, Mapping):
        raise ConfigError(f"merge_classes: expected a mapping, such as {{'Car': 'car'}}, got {merge_classes!r}")
    chosen = None if classes is None else tuple(classes)
    options = PrepareOptions(
        dataset=dataset,
        keep=keep,
        seed=seed,
        out=_path(out),
        validation_fraction=validation_fraction,
        folds=folds,
        classes=chosen,
        merge_classes=merge_classes or {},
        download=download,
        reading=reading,
        check_images=check_images,
        drop_broken=drop_broken,
        allow_truncated=allow_truncated,
        replace=replace,
    )
    return build.prepare(options, progress)


def update_prepared(data: str | Path, *, progress: Progress | None = None, **options: Any) -> Made:
    """Prepare the folder at `data` again from what its labels are by now; images that it has keep their splits.

    `options` may be `out`, `check_images` and `drop_broken`; all others are those that it was prepared with.
    Returns the prepared folder, whether it was written, and what changed.
    """
    if "out" in options:
        options["out"] = Path(options["out"])
    return build.update(Path(data), options, progress)


def read_prepared(data: str | Path) -> Prepared:
    """The prepared folder at `data`, verified. Raises DataError when it is missing, damaged or of another version."""
    return folder.read_prepared(Path(data))


def train(
    config: str | Path | None = None,
    *,
    resume: bool = False,
    fresh: bool = False,
    progress: Progress | None = None,
    **options: Any,
) -> training.TrainingSummary:
    """Train a method on a prepared folder and write a run folder.

    `options` are those of docs/options.md by name, above those of the YAML file `config`: `data` is the prepared
    folder (default: the newest below ./prepared), `run` the folder to write. Where that run is already, it goes on, or
    is returned as it is when it is finished; with `fresh` it starts over. With `resume`, `run` (default: the newest)
    goes on from its last epoch whatever made it.
    """
    return train_and_decide(asked_config(_path(config), options, resume=resume), progress, resume, fresh)


def evaluate(
    run: str | Path | None = None, *, progress: Progress | None = None, **options: Any
) -> evaluation.Evaluation:
    """The figures of a run (default: the newest below ./runs) on the test images of the data it was trained on.

    `options` are the fields of `mlrpl_cli.core.evaluation.options.EvaluationOptions`.
    """
    return evaluation.evaluate(EvaluationOptions(_path(run), **options), progress)


def export_labels(
    data: str | Path | None = None,
    *,
    format: str,
    overwrite: bool = False,
    progress: Progress | None = None,
    **options: Any,
) -> label_files.Exported:
    """Write the labels of a prepared folder (default: the newest below ./prepared), or a run's predictions, as a file.

    `options` are the fields of `mlrpl_cli.core.export.options.ExportOptions`, such as `out="labels.csv"`.
    """
    return label_files.export_labels(ExportOptions(format=format, data=_path(data), **options), progress, overwrite)


def export(
    run: str | Path | None = None, *, overwrite: bool = False, progress: Progress | None = None, **options: Any
) -> models.ExportedModel:
    """Write a run (default: the newest below ./runs) as one file for onnxruntime or torch.export, and say what it is.

    `options` are the fields of `mlrpl_cli.core.export.model_options.ModelOptions`, such as `out="model.onnx"`.
    """
    return models.export_model(ModelOptions(run=_path(run), **options), progress, overwrite)


def decide(run: str | Path | None = None, *, objective: str | None = None) -> of_run.Decided:
    """Choose calibration and thresholds of a run (default: the newest below ./runs) again, and keep them in it.

    `objective` is "f1", "precision=0.9", "recall=0.95" or "cost=5:1"; None is the one that the run has.
    """
    wanted = None if objective is None else parse_objective(objective)
    return of_run.decide(_path(run), wanted)


def complete(
    data: str | Path | None = None, *, overwrite: bool = False, progress: Progress | None = None, **options: Any
) -> completing.Completed:
    """Fill the unknown labels of a prepared folder (default: the run's) that keep a promise, and write all labels.

    `options` are the fields of `mlrpl_cli.core.curation.completing.options.CompleteOptions`, such as `precision=0.9`.
    """
    return completing.complete(CompleteOptions(data=_path(data), **options), progress, overwrite)


def suggest(
    data: str | Path | None = None, *, overwrite: bool = False, progress: Progress | None = None, **options: Any
) -> Suggested:
    """Rank the unknown labels of a prepared folder (default: the run's) by what an answer is worth; write the first.

    `options` are the fields of `mlrpl_cli.core.curation.asking.options.SuggestOptions`, such as `budget=50`.
    """
    return suggesting.suggest(SuggestOptions(data=_path(data), **options), progress, overwrite)


def simulate(
    data: str | Path | None = None, *, overwrite: bool = False, progress: Progress | None = None, **options: Any
) -> Simulated:
    """What `suggest` is worth where hidden labels answer: `mlrpl suggest --simulate`, without its picture."""
    return simulating.simulate(SuggestOptions(data=_path(data), **options), progress, overwrite)


def check(
    data: str | Path | None = None, *, overwrite: bool = False, progress: Progress | None = None, **options: Any
) -> correcting.Check:
    """Rank the given labels of a prepared folder (default: the run's) by how probably they are right.

    `options` are the fields of `mlrpl_cli.core.curation.check_options.CheckOptions`, such as `drop=True`.
    """
    return correcting.check_labels(CheckOptions(data=_path(data), **options), progress, overwrite)


def report(
    run: str | Path | None = None, *, overwrite: bool = False, progress: Progress | None = None, **options: Any
) -> Written:
    """Write a run (default: the newest below ./runs) or a sweep as one HTML file, and say where it is.

    `options` are the fields of `mlrpl_cli.core.reports.html.options.ReportOptions`, such as `out="mine.html"`.
    """
    return write_report(ReportOptions(run=_path(run), **options), progress, overwrite)


def _path(place: str | Path | None) -> Path | None:
    return None if place is None else Path(place)
