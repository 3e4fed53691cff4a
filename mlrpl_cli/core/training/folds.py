"""Cross-validation: each image is scored by a recognizer that was trained on the other folds.

What is scored of a fold is kept in the run folder as soon as it is done: a run that is killed goes on with the next
one. Axes: N images with a fold, C classes.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from mlrpl_cli.core.config import TrainConfig
from mlrpl_cli.core.evaluation.evaluate import score
from mlrpl_cli.core.evaluation.metrics import average_precisions, mean_of_classes, or_none
from mlrpl_cli.core.features.cache import CACHE, image_digests
from mlrpl_cli.core.io.devices import decoding_workers
from mlrpl_cli.core.io.errors import DataError, counted
from mlrpl_cli.core.io.files import write_text
from mlrpl_cli.core.io.progress import Progress, Silent
from mlrpl_cli.core.io.tensorfiles import SUFFIX, open_tensors, write_tensors
from mlrpl_cli.core.labels.records import TEST, TRAIN
from mlrpl_cli.core.labels.states import ABSENT, PRESENT
from mlrpl_cli.core.prepared.folder import Prepared
from mlrpl_cli.core.runs.again import WITHOUT_EFFECT
from mlrpl_cli.core.runs.checkpoint import TrainedHead
from mlrpl_cli.core.runs.folder import FOLDS, OUT_OF_FOLD
from mlrpl_cli.core.training.assembly import MakeTrainer

_PROBABILITIES, _MADE_OF = "probabilities", "made_of"


@dataclass(frozen=True)
class OutOfFold:
    """What recognizers say of images that they were not trained on, put together."""

    folds: int
    classes: tuple[str, ...]
    rows: np.ndarray
    """(N,) rows of the images in the prepared folder, ascending."""
    probabilities: np.ndarray
    """(N, C) float32 in [0, 1]."""
    positives: np.ndarray
    """(C,) known present cells of all folds together."""
    negatives: np.ndarray
    """(C,) known absent ones."""
    average_precision: np.ndarray
    """(C,) over the known cells of all folds together; NaN for a class without a known present or absent one."""

    @property
    def mean_average_precision(self) -> float:
        """Over the classes that have one; NaN where none has."""
        return mean_of_classes(self.average_precision)


def cross_validate(
    config: TrainConfig, prepared: Prepared, folder: Path, make_trainer: MakeTrainer, progress: Progress
) -> OutOfFold | None:
    """Train on all folds but one, score that one, and so on, with the last epoch of each; None for data without folds.

    Labels are the observed ones. Scores are joined before a figure is computed: AP within a fold of few images varies.
    Copies of an image, under whatever name, train no recognizer that scores it. Raises DataError for a fold beside
    which there is no other image.
    """
    if prepared.folds is None:
        return None
    rows = np.flatnonzero(prepared.folds >= 0)
    contents = _contents(config, prepared, rows, progress)
    probabilities = np.empty((len(rows), len(prepared.classes)), np.float32)
    count = int(prepared.folds.max()) + 1
    with progress.task("cross-validation", count, "folds") as task:
        for fold in range(count):
            held = prepared.folds[rows] == fold
            path = folder / FOLDS / f"{fold}{SUFFIX}"
            probabilities[held] = _scores(config, _without(prepared, fold, contents), path, make_trainer)
            task.advance()
    labels = prepared.observed_labels[rows]
    return OutOfFold(
        folds=count,
        classes=prepared.classes,
        rows=rows,
        probabilities=probabilities,
        positives=(labels == PRESENT).sum(axis=0),
        negatives=(labels == ABSENT).sum(axis=0),
        average_precision=average_precisions(probabilities, labels),
    )


def write_figures(found: OutOfFold, folder: Path) -> None:
    """Write the figures to the run folder as JSON: shares are in [0, 1], null for a class that has none."""
    columns = (found.positives, found.negatives, found.average_precision)
    rows = zip(found.classes, *(column.tolist() for column in columns), strict=True)
    classes = [{"class": name, "positives": p, "negatives": n, "ap": or_none(ap)} for name, p, n, ap in rows]
    content = {"folds": found.folds, "images": len(found.rows), "map": or_none(found.mean_average_precision)}
    write_text(folder / OUT_OF_FOLD, json.dumps({**content, "classes": classes}, indent=2) + "\n")


def _contents(config: TrainConfig, prepared: Prepared, rows: np.ndarray, progress: Progress) -> np.ndarray:
    """(N,) a number for the content of each image with a fold: equal ones are copies. Copies in two folds are told."""
    assert prepared.folds is not None
    digests = image_digests(prepared.paths(rows), decoding_workers(config.workers), Path(config.cache or CACHE))
    contents = np.unique(digests, return_inverse=True)[1].reshape(-1)
    places = np.unique(np.stack([contents, prepared.folds[rows]]), axis=1)
    if apart := int((np.unique(places[0], return_counts=True)[1] > 1).sum()):
        progress.warn(
            f"{counted(apart, 'image')} with copies in other folds: copies of images that a fold leaves out are not "
            "trained on then; mlrpl prepare --split-by content keeps copies in one fold"
        )
    return contents


def _without(prepared: Prepared, fold: int, contents: np.ndarray) -> Prepared:
    """The images with a fold, those of `fold` as test images and their copies left out.

    Labels that are hidden stay so for everyone.
    """
    assert prepared.folds is not None
    rows = np.flatnonzero(prepared.folds >= 0)
    held = prepared.folds[rows] == fold
    kept = held | ~np.isin(contents, contents[held])
    if kept.sum() == held.sum():
        raise DataError(f"fold {fold} of {prepared.folder} leaves no image to train on but copies; add other images")
    rows = rows[kept]
    splits = tuple(TEST if own else TRAIN for own in held[kept].tolist())
    images, observed = tuple(prepared.images[row] for row in rows), prepared.observed_labels[rows]
    labels = {"full_labels": observed, "observed_labels": observed}
    return replace(prepared, images=images, splits=splits, **labels, folds=None, contents=None)


def _scores(config: TrainConfig, prepared: Prepared, path: Path, make_trainer: MakeTrainer) -> np.ndarray:
    """(M, C) float32 of the test images of `prepared`: those at `path`, if they are whole and made of the same."""
    made_of = {_MADE_OF: _made_of(config, prepared)}
    with suppress(ValueError, KeyError):  # missing, damaged or of another run: made again
        stored = open_tensors(path).checked()
        if stored.metadata == made_of:
            return stored.tensors[_PROBABILITIES].numpy()
    # There is no validation image to choose an epoch by: the last one it is.
    trainer = make_trainer(replace(config, selection="validation"), prepared, TEST)
    trainer.start()
    for _ in trainer.epochs(Silent()):
        pass
    head = TrainedHead(trainer.checkpoint()).to(trainer.accelerator.device)
    probabilities = score(head, trainer.selection, Silent(), "")
    if trainer.accelerator.is_main_process:
        write_tensors(path, {_PROBABILITIES: torch.from_numpy(probabilities)}, made_of)
    return probabilities


def _made_of(config: TrainConfig, prepared: Prepared) -> str:
    decides = {name: value for name, value in asdict(config).items() if name not in WITHOUT_EFFECT}
    return hashlib.sha256(json.dumps([decides, prepared.sha256], sort_keys=True, default=str).encode()).hexdigest()
