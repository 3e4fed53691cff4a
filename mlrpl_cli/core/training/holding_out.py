"""What a trained run says of images that it was not trained on: kept in its folder, to calibrate it by.

Axes: N images, C classes.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from accelerate.utils import broadcast_object_list
from torch import Tensor

from mlrpl_cli.core.backbones.features import ImageFeatures
from mlrpl_cli.core.config import BEST, LAST
from mlrpl_cli.core.io.errors import RunError
from mlrpl_cli.core.labels.records import VALIDATION as VALIDATION_SPLIT
from mlrpl_cli.core.prepared.folder import Prepared
from mlrpl_cli.core.runs.checkpoint import Checkpoint, TrainedHead, load_checkpoint
from mlrpl_cli.core.runs.contents import run_contents
from mlrpl_cli.core.runs.decided.calibration import finite_logit
from mlrpl_cli.core.runs.decided.scores import (
    OUT_OF_FOLD,
    VALIDATION,
    HeldOut,
    checkpoint_sha256,
    read_held_out,
    write_held_out,
)
from mlrpl_cli.core.training.folds import OutOfFold
from mlrpl_cli.core.training.loop import Trainer


def keep_held_out(trainer: Trainer, prepared: Prepared, folder: Path, cross_validated: OutOfFold | None) -> None:
    """Write scores of held-out images by both checkpoints of a run, unless they are there.

    They are those of validation images, copies of training images left out, or out-of-fold ones where these have more
    known cells: they stand for a checkpoint of the last epoch of the configuration. Test images are never among them,
    so a run that --selection test chose has out-of-fold scores or none.
    """
    digests = {which: digest for which in (BEST, LAST) if (digest := checkpoint_sha256(folder, which))}
    kept, found = dict[str, HeldOut](), dict[str, HeldOut]()
    with suppress(RunError):  # a damaged file is made again
        kept = read_held_out(folder)
    if digests == {which: one.checkpoint for which, one in kept.items()}:
        return
    for which, digest in digests.items():
        found |= {which: best} if (best := _of(which, digest, trainer, prepared, folder, cross_validated)) else {}
    if trainer.accelerator.is_main_process:
        write_held_out(folder, found)


def _of(
    which: str,
    digest: str,
    trainer: Trainer,
    prepared: Prepared,
    folder: Path,
    cross_validated: OutOfFold | None,
) -> HeldOut | None:
    """The scores that stand for one checkpoint; None where there are none."""
    checkpoint = load_checkpoint(folder, which)
    found = []
    if trainer.config.selection == VALIDATION_SPLIT and len(trainer.selection_labels):
        main, rows = trainer.accelerator.is_main_process, prepared.rows(VALIDATION_SPLIT)
        known = run_contents(trainer.config, prepared, VALIDATION_SPLIT).kept if main else None
        [kept] = broadcast_object_list([known])
        rows = rows[kept]
        logits = _logits(checkpoint, trainer)
        found.append(HeldOut(digest, VALIDATION, rows, trainer.selection_labels, logits))
    if cross_validated and checkpoint.info.epoch == trainer.config.epochs:
        rows = cross_validated.rows
        logits = finite_logit(cross_validated.probabilities).astype(np.float32)
        found.append(HeldOut(digest, OUT_OF_FOLD, rows, prepared.observed_labels[rows], logits))
    return max(found, key=lambda one: one.known, default=None)


@torch.no_grad()
def _logits(checkpoint: Checkpoint, trainer: Trainer) -> np.ndarray:
    """(N, C) float32 of the images that select an epoch, the same in every process."""
    head = TrainedHead(checkpoint).to(trainer.accelerator.device)

    def logits(features: ImageFeatures) -> list[Tensor]:
        return [head(features).logits.float()]

    return trainer.selection.collect(logits)[0].cpu().numpy()
