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
from mlrpl_cli.core.io.errors import counted
from mlrpl_cli.core.io.files import write_text
from mlrpl_cli.core.io.progress import Progress, Silent
from mlrpl_cli.core.io.tensorfiles import SUFFIX, open_tensors, write_tensors
from mlrpl_cli.core.labels.records import TEST, TRAIN
from mlrpl_cli.core.labels.states import ABSENT, PRESENT
from mlrpl_cli.core.prepared.folder import Prepared
from mlrpl_cli.core.prepared.held_out import copies_apart, held_out, part_of
from mlrpl_cli.core.runs.again import WITHOUT_EFFECT
from mlrpl_cli.core.runs.checkpoint import TrainedHead
from mlrpl_cli.core.runs.contents import RunContents, digests_of, numbered
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
    folds, count = prepared.folds[rows], int(prepared.folds.max()) + 1
    taking_part = _taking_part(prepared, rows)
    digests = digests_of(prepared, rows, config.cache, config.workers)
    contents = numbered(digests)
    if apart := copies_apart(folds, contents):
        progress.warn(
            f"{counted(apart, 'image')} with copies in other folds: copies of images that a fold leaves out are not "
            "trained on then; mlrpl prepare --split-by content keeps copies in one fold"
        )
    probabilities = np.empty((len(rows), len(prepared.classes)), np.float32)
    with progress.task("cross-validation", count, "folds") as task:
        for fold in range(count):
            held = held_out(folds, contents, fold)
            data = part_of(taking_part, {TRAIN: held.training, TEST: held.test})
            training, test = ([digests[row] for row in side] for side in (held.training, held.test))
            known = RunContents(training, test, np.ones(len(test), bool))
            path = folder / FOLDS / f"{fold}{SUFFIX}"
            probabilities[held.test] = _scores(config, data, known, path, make_trainer)
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


def _taking_part(prepared: Prepared, rows: np.ndarray) -> Prepared:
    """The images of `rows`; labels that are hidden stay so for everyone."""
    return replace(part_of(prepared, {TRAIN: rows}), full_labels=prepared.observed_labels[rows])


def _scores(
    config: TrainConfig, prepared: Prepared, known: RunContents, path: Path, make_trainer: MakeTrainer
) -> np.ndarray:
    """(M, C) float32 of the test images of `prepared`: those at `path`, if they are whole and made of the same."""
    made_of = {_MADE_OF: _made_of(config, prepared)}
    with suppress(ValueError, KeyError):  # missing, damaged or of another run: made again
        stored = open_tensors(path).checked()
        if stored.metadata == made_of:
            return stored.tensors[_PROBABILITIES].numpy()
    # There is no validation image to choose an epoch by: the last one it is.
    trainer = make_trainer(replace(config, selection="validation"), prepared, TEST, known)
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
