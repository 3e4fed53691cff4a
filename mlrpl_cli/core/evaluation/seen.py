"""Which images of a split a run has seen: a figure over those would say how well it remembers.

Images are known by their content, whatever they are called and wherever they lie. Axes: N images of the split.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlrpl_cli.core.config import BEST
from mlrpl_cli.core.evaluation.options import EvaluationOptions
from mlrpl_cli.core.io.errors import RunError
from mlrpl_cli.core.io.progress import Progress
from mlrpl_cli.core.labels.records import TEST, TRAIN
from mlrpl_cli.core.prepared.folder import Prepared
from mlrpl_cli.core.runs.checkpoint import Checkpoint
from mlrpl_cli.core.runs.contents import digests_of
from mlrpl_cli.core.runs.folder import OUT_OF_FOLD
from mlrpl_cli.core.runs.trained_on import SELECTED, TRAINED, images_in, shortened


@dataclass(frozen=True)
class Seen:
    """How many images of the split the run had seen; None where its checkpoint does not say its images."""

    trained_on: int | None = None
    """Those that it was trained on: left out of every figure unless the split is "train"."""
    selected_on: int | None = None
    """Of the others, those that its best epoch was selected by: left out of the figures of the split "test"."""


def unseen(
    prepared: Prepared, options: EvaluationOptions, checkpoint: Checkpoint, progress: Progress
) -> tuple[np.ndarray, Seen]:
    """(N,) bool: which images of a split are measured, and how many of it the run had seen.

    The split "train" is asked for to see what was learned: all of it is measured. So is a test split by which the run
    was told to select its epoch, as the published methods do. A run that does not say its images is measured only on
    the very data that it was trained with. Raises RunError for other data then, and when no image is left; DataError
    for a file that cannot be read.
    """
    split = options.split
    rows = prepared.rows(split)
    if not len(rows):
        advice = "prepare it with some (--test-fraction, --validation-fraction), or choose another with --split"
        told = f"{prepared.folder} has no image in the split '{split}', so no figure can be computed on it"
        if options.run and (options.run / OUT_OF_FOLD).is_file():
            told += f" (those of its folds are in {options.run / OUT_OF_FOLD})"
        raise RunError(f"{told}; {advice}")
    trained, selected = _membership(prepared, rows, options.workers, checkpoint)
    if trained is None or selected is None:
        _check_unknown(prepared, options, checkpoint, progress)
        return np.ones(len(rows), bool), Seen()
    by_test = checkpoint.info.selection == TEST
    kept = ~trained if split != TRAIN else np.ones(len(rows), bool)
    if split == TEST and not by_test:
        kept &= ~selected
    seen = Seen(int(trained.sum()), int(selected.sum()))
    _tell(kept, seen, prepared, options, progress)
    if split == TEST and by_test and options.checkpoint == BEST and selected.any():
        progress.warn(
            f"the best epoch was selected by {selected.sum()} of these test images: its figures are optimistic"
        )
    return kept, seen


def _membership(
    prepared: Prepared, rows: np.ndarray, workers: int | None, checkpoint: Checkpoint
) -> tuple[np.ndarray, np.ndarray] | tuple[None, None]:
    """(N,) bool each: the images that were trained on, and of the others those that were selected by."""
    images = images_in(checkpoint.tensors)
    if not images.keys() >= {TRAINED, SELECTED}:
        return None, None
    digests = [*map(shortened, digests_of(prepared, rows, workers=workers))]
    trained, selected = (np.array([digest in images[name] for digest in digests]) for name in (TRAINED, SELECTED))
    return trained, selected & ~trained


def _check_unknown(prepared: Prepared, options: EvaluationOptions, checkpoint: Checkpoint, progress: Progress) -> None:
    """Say that nothing can be left out. Raises RunError unless the data are those of the training, to the bit."""
    unsaid = f"{options.run} does not say which images it was trained on"
    if prepared.sha256 != checkpoint.info.data_sha256:
        other = f"{prepared.folder} has other images, splits or labels than it was trained with"
        advice = "give the data it was trained on with --data, or train again with this mlrpl"
        raise RunError(f"{unsaid}, and {other}: its training images cannot be left out of a figure; {advice}")
    progress.warn(f"{unsaid}, so all are measured; train again with this mlrpl to have them left out")


def _tell(kept: np.ndarray, seen: Seen, prepared: Prepared, options: EvaluationOptions, progress: Progress) -> None:
    """Say what is left out, or raise RunError when all is."""
    if kept.all():
        return
    split, all_of_it = options.split, f"{len(kept)} {options.split} images"
    why = [f"{seen.trained_on} of {all_of_it} were training images of this run"] if seen.trained_on else []
    if split == TEST and seen.selected_on:
        why.append(f"{seen.selected_on} of {all_of_it} selected its best epoch")
    if not kept.any():
        advice = "prepare data with new images, or see the figures of training with --split train"
        raise RunError(f"nothing is left to measure in {prepared.folder}: {' and '.join(why)}; {advice}")
    progress.warn(f"{' and '.join(why)}: left out of every figure")
