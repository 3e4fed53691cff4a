"""Putting a trainer together: backbone, features and labels. The backbone is loaded once, for as many as are wanted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from accelerate import Accelerator
from torch import Tensor

from mlrpl_cli.core.backbones.frozen import make_encoder
from mlrpl_cli.core.backbones.registry import backbone_options, load_backbone
from mlrpl_cli.core.config import TrainConfig
from mlrpl_cli.core.features.cache import CACHE, image_digests
from mlrpl_cli.core.features.filler import CacheFiller
from mlrpl_cli.core.features.of_run import features_of_run
from mlrpl_cli.core.io.devices import decoding_workers
from mlrpl_cli.core.io.progress import Progress
from mlrpl_cli.core.labels.records import TRAIN
from mlrpl_cli.core.prepared.folder import Prepared
from mlrpl_cli.core.runs import trained_on
from mlrpl_cli.core.training.loop import Trainer

MakeTrainer = Callable[[TrainConfig, Prepared, str], Trainer]
"""A resolved configuration, data, and the split that the trainer's features beside those of training are of."""


def trainer_maker(config: TrainConfig, accelerator: Accelerator, progress: Progress) -> MakeTrainer:
    """What makes trainers over the backbone of a resolved `config`.

    Raises WeightsError when it cannot be loaded, and ConfigError for an image size that it cannot take.
    """
    with accelerator.main_process_first():  # a checkpoint that must be fetched is fetched once
        backbone = load_backbone(backbone_options(config), progress=progress)
    for note in backbone.notes:
        progress.note(note)
    encoder = make_encoder(backbone, config.image_size or 0, accelerator.device, config.precision)

    def make(config: TrainConfig, prepared: Prepared, scored: str) -> Trainer:
        paths = [prepared.paths(prepared.rows(split)) for split in (TRAIN, scored)]
        filler = CacheFiller(encoder, config, accelerator, progress, prepared.allow_truncated)
        images = _image_tensors(config, paths) if accelerator.is_main_process else None  # it writes the checkpoints
        features = features_of_run(filler, *paths)
        return Trainer(config, prepared, backbone, features, images)

    return make


def _image_tensors(config: TrainConfig, paths: Sequence[Sequence[Path]]) -> dict[str, Tensor]:
    """What checkpoints say of the images that are trained on and of those that select; the cache remembers them."""
    workers, folder = decoding_workers(config.workers), Path(config.cache or CACHE)
    return trained_on.image_tensors(*(image_digests(of_split, workers, folder) for of_split in paths))
