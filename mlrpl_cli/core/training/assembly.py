"""Putting a trainer together: backbone, features and labels. The backbone is loaded once, for as many as are wanted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from mlrpl_cli.core.backbones.backbone import Backbone
from mlrpl_cli.core.backbones.frozen import FrozenEncoder, make_encoder
from mlrpl_cli.core.backbones.registry import backbone_options, load_backbone
from mlrpl_cli.core.config import TrainConfig
from mlrpl_cli.core.features.cache import CACHE
from mlrpl_cli.core.features.filler import CacheFiller
from mlrpl_cli.core.features.fitting import Fitted, fitted
from mlrpl_cli.core.features.machines import Machines, find_machines, together
from mlrpl_cli.core.features.of_run import features_of_run
from mlrpl_cli.core.io.errors import ConfigError, counted
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


@dataclass(frozen=True)
class Assembly:
    """What trainers are made over: the backbone of a configuration, loaded once, and the processes that train."""

    backbone: Backbone
    encoder: FrozenEncoder
    accelerator: Accelerator
    progress: Progress
    machines: Machines

    def fitted(self, config: TrainConfig, prepared: Prepared) -> Fitted:
        """A resolved `config` with as many views, in as fine a format, as the cache has room for."""
        filler = self._filler(config, prepared)
        return fitted(filler, *(prepared.paths(prepared.rows(split)) for split in (TRAIN, config.selection)))

    def within_limit(self, config: TrainConfig, prepared: Prepared) -> Fitted:
        """What a run of before checkpoint format 9 kept: nothing where its views needed more than cache_gib."""
        counts = (len(prepared.rows(split)) for split in (TRAIN, config.selection))
        one = replace(self._filler(config, prepared), machines=together(self.accelerator))
        problem = one.problem(*counts)
        return Fitted(replace(config, views=0) if problem else config, problem)

    def trainer(self, config: TrainConfig, prepared: Prepared, scored: str, known: RunContents | None) -> Trainer:
        """As `MakeTrainer`; copies of training images select no epoch."""
        contents = known
        if contents is None:  # one process reads the images
            found = run_contents(config, prepared, scored) if self.accelerator.is_main_process else None
            [contents] = broadcast_object_list([found])
        assert contents is not None
        if not contents.kept.all():
            self.progress.warn(_of_copies(contents.kept, scored))
        rows = prepared.rows(TRAIN), prepared.rows(scored)[contents.kept]
        features = features_of_run(self._filler(config, prepared), *map(prepared.paths, rows))
        images = image_tensors(contents.training, contents.scored)
        selecting = contents.kept if scored == config.selection else None
        return Trainer(config, prepared, self.backbone, features, images, selecting)

    def _filler(self, config: TrainConfig, prepared: Prepared) -> CacheFiller:
        of = self.encoder, config, self.accelerator, self.progress
        return CacheFiller(*of, prepared.allow_truncated, self.machines)


def assemble(config: TrainConfig, accelerator: Accelerator, progress: Progress) -> Assembly:
    """Load the backbone of a resolved `config`, and find out which processes see the same feature cache.

    Raises WeightsError when it cannot be loaded, ConfigError for an image size that it cannot take, and DataError for
    a cache that cannot be written to.
    """
    with accelerator.main_process_first():  # a checkpoint that must be fetched is fetched once
        backbone = load_backbone(backbone_options(config), progress=progress)
    for note in backbone.notes:
        progress.note(note)
    encoder = make_encoder(backbone, config.image_size or 0, accelerator.device, config.precision)
    machines = find_machines(accelerator, Path(config.cache or CACHE)) if config.views else together(accelerator)
    if config.batch_size < (apart := len(machines.ranks)):
        of = f"expected at least {apart} (machines with caches apart), got {config.batch_size}"
        raise ConfigError(f"batch_size: {of}; raise --batch-size, or name a --cache that all see")
    if machines.are_apart:
        progress.note(_of_machines(machines))
    return Assembly(backbone, encoder, accelerator, progress, machines)


def _of_machines(machines: Machines) -> str:
    found = f"{len(machines.ranks)} feature caches that are apart"
    return f"{found}: each machine encodes and reads its own part of the images, in another order than one would"


def _of_copies(kept: np.ndarray, split: str) -> str:
    """What to say of images that are not `kept`, (N,) bool over those of a split."""
    found = f"{(~kept).sum()} of {counted(len(kept), f'{split} image')} are copies of training images"
    if kept.any():
        return f"{found}: they do not help to choose the best epoch"
    return f"{found}: there is no other to choose the best epoch by, so the last one is kept"
