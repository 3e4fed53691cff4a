"""Labels of a prepared folder, or a run's predictions on its images, as a file that other programs read.

Axes: N images, C classes.
"""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mlrpl_cli.core.config import BEST, raise_together
from mlrpl_cli.core.export.options import OF_A_RUN, ExportOptions
from mlrpl_cli.core.io.errors import DataError, Problems, RunError, agreeing, counted, first_few
from mlrpl_cli.core.io.files import check_writable
from mlrpl_cli.core.io.progress import Progress, Silent, track
from mlrpl_cli.core.io.reading import short
from mlrpl_cli.core.labels.formats.registry import DATASETS
from mlrpl_cli.core.labels.records import TRAIN, Records
from mlrpl_cli.core.labels.states import ABSENT, PRESENT, UNKNOWN
from mlrpl_cli.core.labels.writers.coco import FILES, FOLDER
from mlrpl_cli.core.labels.writers.registry import SUFFIXES, Export, Written, writer_of
from mlrpl_cli.core.prepared.folder import Prepared, newest_prepared, read_prepared

if TYPE_CHECKING:
    from mlrpl_cli.core.prediction.predictor import TrainedPredictor

EXPORTS = Path("exports")
"""Where label files are written when nothing else is said, below the current folder."""
THRESHOLD = 0.5


@dataclass(frozen=True)
class Exported:
    """What was written."""

    path: Path
    """The file, or the folder."""
    format: str
    data: Path
    """The prepared folder that it was made from."""
    images: int
    classes: int
    states: dict[str, int]
    """How many cells are present, absent and unknown, by these names."""
    notes: tuple[str, ...]
    """A sentence for everything that the format loses, or that another program has to know."""
    read_back: str | None
    """The command that prepares it again; None where there is none."""
    not_learnable: tuple[str, ...] | None = None
    """Classes that the run could not learn, whose cells say nothing; None for labels, and where that is not known."""


def export_labels(options: ExportOptions, progress: Progress | None = None, overwrite: bool = False) -> Exported:
    """Write what `options` describe, whole or not at all, and return what has to be known of it.

    With `overwrite` a file, or a folder with nothing in it but what this writes, is replaced.
    Raises ConfigError for options that cannot be, DataError for names and images that the format cannot hold and
    rather than replace anything else, and RunError for a run that does not fit.
    """
    progress = progress or Silent()
    writer = writer_of(options.format)
    _check(options)
    predictor, prepared = _read(options)
    path = _target(options, prepared, overwrite)
    rows = _rows(prepared, options)
    records = _chosen(prepared, rows, options)
    model = f"{_name(options.run)} epoch {predictor.info.epoch}" if options.run and predictor else ""
    export = Export(records, None, model, options.prefix or "", progress)
    _check_names(list(map(export.image, range(len(rows)))))
    if predictor is None:
        return _summary(export, writer(export, path), path, options.format, prepared)
    threshold = THRESHOLD if options.threshold is None else options.threshold
    export = _predicted(export, predictor, prepared.paths(rows), threshold, options.workers)
    written = writer(export, path)
    told = [f"cells are predictions of {export.model}, present above {threshold:g}"]
    if names := predictor.info.not_learnable:
        of = f"{len(names)} of {counted(len(records.classes), 'class')}: {first_few(map(short, names), 10)}"
        told.append(f"cells say nothing of classes that the run could not learn, {of}")
    found = _summary(export, written._replace(notes=(*told, *written.notes)), path, options.format, prepared)
    return replace(found, not_learnable=None if predictor.info.learnable is None else names)


def _check(options: ExportOptions) -> None:
    """Raises ConfigError for what would not be used, and for a name that the format's reader would not take."""
    found = []
    if options.run is None and (idle := [name for name in OF_A_RUN if getattr(options, name) is not None]):
        flags = ", ".join(f"--{name}" for name in idle)
        found.append(f"{flags} is for predictions; name a run with --run, or leave it out")
    if options.run is not None and options.labels is not None:
        found.append("--labels chooses among prepared labels, and --run predicts others; leave one of them out")
    suffix = SUFFIXES[options.format]
    if options.out is not None and suffix and options.out.suffix.lower() != suffix:
        found.append(f"--out {options.out}: {options.format} is a file that ends in {suffix}; name one")
    if options.out is not None and not suffix and options.out.suffix.lower() == ".json":
        found.append(f"--out {options.out}: {options.format} is a folder with a file for each split; name a folder")
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


def _check_names(names: list[str]) -> None:
    """Raises DataError for names that are bytes beyond UTF-8, in which all formats are written."""
    odd = [short(name) for name in names if name.encode(errors="replace") != name.encode(errors="surrogatepass")]
    if odd:
        advice = "rename them and prepare again"
        raise DataError(
            f"{agreeing(len(odd), 'image names are not UTF-8, which label files are')} ({first_few(odd)}); {advice}"
        )


def _predicted(
    export: Export, predictor: TrainedPredictor, paths: list[Path], threshold: float, workers: int | None
) -> Export:
    """`export` with what a run says of its images. Raises DataError, which names them, for images it cannot read."""
    from mlrpl_cli.core.prediction.predictor import Unreadable

    scores, problems = np.zeros((len(paths), len(predictor.classes)), np.float32), Problems()
    results = predictor.predict_files(paths, workers=workers)
    for row, result in enumerate(track(export.progress, results, "predicting", len(paths))):
        if isinstance(result, Unreadable):
            problems.add("images cannot be read", result.reason)
        else:
            scores[row] = result.probabilities
    problems.raise_if_any(str(export.records.image_root), "restore them, or prepare the data without them")
    if broken := int((~np.isfinite(scores)).any(axis=1).sum()):
        raise RunError(f"{broken} of {len(scores)} images got NaN or infinite scores; train again with a lower lr")
    labels = np.where(scores > threshold, PRESENT, ABSENT).astype(np.int8)
    return replace(export, records=replace(export.records, full_labels=labels), scores=scores)


def _name(folder: Path) -> str:
    return folder.absolute().name


def _target(options: ExportOptions, prepared: Prepared, overwrite: bool) -> Path:
    """Where to write. Raises DataError rather than replace what is not to be replaced."""
    suffix = SUFFIXES[options.format]
    named = "-".join([_name(prepared.folder), *([_name(options.run)] if options.run else []), options.format])
    path = options.out or EXPORTS / f"{named}{suffix}"
    path = Path(os.path.realpath(path)) if os.path.islink(path) else path  # what a link leads to is replaced
    if Path(os.path.realpath(path)).is_relative_to(os.path.realpath(prepared.folder)):
        raise DataError(f"{path} is in the prepared folder {prepared.folder}; name another place with --out")
    if os.path.lexists(path):
        _check_replaceable(path, bool(suffix), overwrite)
    check_writable(path)
    return path


def _check_replaceable(path: Path, as_file: bool, overwrite: bool) -> None:
    """Raises DataError for what is neither an empty folder nor, with `overwrite`, what an export of this kind wrote."""
    kind, fits = ("file", os.path.isfile) if as_file else ("folder", os.path.isdir)
    if not fits(path):
        raise DataError(f"{path} is there and no {'regular ' * as_file}{kind}; name a {kind} with --out")
    if not as_file:
        try:
            names = os.listdir(path)
            inside = [f"{FOLDER}/{name}" for name in os.listdir(path / FOLDER)] if FOLDER in names else []
        except OSError as error:
            raise DataError(f"cannot list {path}: {error.strerror}; name another folder with --out") from error
        if foreign := sorted({*names, *inside} - {FOLDER, *FILES}):
            told = first_few(map(short, foreign))
            raise DataError(f"{path} holds more than label files ({told}); name another folder with --out")
        if not names:
            return
    if not overwrite:
        raise DataError(f"{path} is there already; --overwrite replaces it, and --out names another place")


def _summary(export: Export, written: Written, path: Path, name: str, prepared: Prepared) -> Exported:
    records, notes = export.records, written.notes
    has_training = TRAIN in records.splits
    if export.prefix:
        notes += (f"names of images begin with {short(export.prefix)}, so mlrpl prepare finds no images by them",)
    if not has_training:
        notes += ("it has no training image, and mlrpl prepare needs some",)
    read_back = None
    if has_training and not export.prefix and written.dataset and written.dataset in DATASETS:
        command = ["mlrpl", "prepare", "--dataset", written.dataset, "--root", str(path)]
        truncated = ["--allow-truncated"] * prepared.allow_truncated
        read_back = shlex.join([*command, "--images", str(records.image_root), *written.flags, *truncated])
    states = {"present": PRESENT, "absent": ABSENT, "unknown": UNKNOWN}
    counts = {state: int((records.full_labels == value).sum()) for state, value in states.items()}
    return Exported(path, name, prepared.folder, len(records.images), len(records.classes), counts, notes, read_back)
