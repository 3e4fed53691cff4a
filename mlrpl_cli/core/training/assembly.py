"""Putting a trainer together: backbone, features and labels. The backbone is loaded once, for as many as are wanted."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from accelerate import Accelerator

from mlrpl_cli.core.backbones.frozen import make_encoder
from mlrpl_cli.core.backbones.registry import backbone_options, load_backbone
from mlrpl_cli.core.config import TrainConfig
from mlrpl_cli.core.features.filler import CacheFiller
from mlrpl_cli.core.features.of_run import features_of_run
from mlrpl_cli.core.io.errors import counted
from mlrpl_cli.core.io.progress import Progress
from mlrpl_cli.core.labels.records import TRAIN
from mlrpl_cli.core.prepared.folder import Prepared
from mlrpl_cli.core.runs.contents import RunContents, run_contents
from mlrpl_cli.core.runs.trained_on import image_tensors
from mlrpl_cli.core.training.loop import Trainer

MakeTrainer = Callable[[TrainConfig, Prepared, str, RunContents | None], Trainer]
"""A resolved configuration, data, and the split that the trainer's features beside those of training are of.

Contents where they are known already: None looks for them.
"""


def trainer_maker(config: TrainConfig, accelerator: Accelerator, progress: Progress) -> MakeTrainer:
    """What makes trainers over the backbone of a resolved `config`; copies of training images select no epoch.

    Raises WeightsError when it cannot be loaded, and ConfigError for an image size that it cannot take.
    """
    with accelerator.main_process_first():  # a checkpoint that must be fetched is fetched once
        backbone = load_backbone(backbone_options(config), progress=progress)
    for note in backbone.notes:
        progress.note(note)
    encoder = make_encoder(backbone, config.image_size or 0, accelerator.device, config.precision)

    def make(config: TrainConfig, prepared: Prepared, scored: str, known: RunContents | None) -> Trainer:
        with accelerator.main_process_first():  # the others find remembered what it read
            contents = known or run_contents(config, prepared, scored)
        if not contents.kept.all():
            progress.warn(_of_copies(contents.kept, scored))
        filler = CacheFiller(encoder, config, accelerator, progress, prepared.allow_truncated)
        rows = prepared.rows(TRAIN), prepared.rows(scored)[contents.kept]
        features = features_of_run(filler, *map(prepared.paths, rows))
        images = image_tensors(contents.training, contents.scored)
        selecting = contents.kept if scored == config.selection else None
        return Trainer(config, prepared, backbone, features, images, selecting)

    return make


def _of_copies(kept: np.ndarray, split: str) -> str:
    """What to say of images that are not `kept`, (N,) bool over those of a split."""
    found = f"{(~kept).sum()} of {counted(len(kept), f'{split} image')} are copies of training images"
    if kept.any():
        return f"{found}: they do not help to choose the best epoch"
    return f"{found}: there is no other to choose the best epoch by, so the last one is kept"
