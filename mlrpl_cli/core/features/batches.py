"""Frozen features of many images, for training and evaluation: from the feature cache, or encoded as they come.

Axes: N images, B of them in a batch, P grid positions, D channels, E joint embedding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import torch
from accelerate import Accelerator
from torch import Tensor

from mlrpl_cli.core.backbones.features import ImageFeatures
from mlrpl_cli.core.backbones.frozen import FrozenEncoder
from mlrpl_cli.core.config import TrainConfig
from mlrpl_cli.core.features.views import StoredViews, cache_problem, divided, fill_cache
from mlrpl_cli.core.images.loading import EpochOrder, ImageViews, Positions, batches_of, in_order, shuffled, whole_batch
from mlrpl_cli.core.io.devices import decoding_workers, make_generator
from mlrpl_cli.core.io.errors import RunError
from mlrpl_cli.core.io.progress import Progress


class FeatureBatches(Protocol):
    """Features of some images in order, in batches, as often as they are asked for."""

    accelerator: Accelerator
    images: int
    """N, how many there are."""

    def __iter__(self) -> Iterator[tuple[ImageFeatures, Tensor]]:
        """(features, positions (B,)) batch by batch."""


class OrderedFeatures:
    """Batches of (features, positions) of some images in order, encoded as they come.

    In data-parallel work each process goes over its own part of every batch, and the last batch is filled up with
    images from the start: `positions` say which.
    """

    def __init__(
        self, encoder: FrozenEncoder, paths: Sequence[Path], accelerator: Accelerator, batch_size: int, workers: int
    ) -> None:
        self.encoder, self.accelerator, self.images = encoder, accelerator, len(paths)
        self.loader = divided(ImageViews(paths, encoder.image_size), batch_size, workers, accelerator)

    def __iter__(self) -> Iterator[tuple[ImageFeatures, Tensor]]:
        for pixels, positions in batches_of(self.loader):
            yield self.encoder(pixels), positions


class StoredOrder:
    """The plain views of stored images, in order and in batches; each process goes over its part of every batch."""

    def __init__(self, views: StoredViews, accelerator: Accelerator, batch_size: int) -> None:
        self.views, self.accelerator, self.images = views, accelerator, views.images
        self.loader = divided(Positions(self.images), batch_size, 0, accelerator)

    def __iter__(self) -> Iterator[tuple[ImageFeatures, Tensor]]:
        for positions in self.loader:
            own = positions.cpu()
            yield self.views.select(own, torch.zeros_like(own)), positions


class TrainingFeatures:
    """Shuffled batches of (features, positions) of the training images."""

    def __init__(self, dataset: Positions | ImageViews, config: TrainConfig, accelerator: Accelerator, workers: int):
        self.accelerator, self.seed, self.images = accelerator, config.seed, len(dataset)
        self.order = EpochOrder(self.images, config.seed)
        batch_size = whole_batch(min(config.batch_size, self.images), accelerator.num_processes)
        self.loader = accelerator.prepare(shuffled(dataset, self.order, batch_size, workers))
        if not len(self.loader):
            raise RunError(f"{self.images} training images are too few for {accelerator.num_processes} processes")

    def __len__(self) -> int:
        """Steps an epoch."""
        return len(self.loader)

    def epoch(self, epoch: int) -> Iterator[tuple[ImageFeatures, Tensor]]:
        """Batches of epoch 1, 2, …: features, and the positions (B,) of their images."""
        raise NotImplementedError

    def sample(self, images: int) -> ImageFeatures:
        """Features of the first `images` training images in their plain view, in every process the same."""
        raise NotImplementedError


class StoredTraining(TrainingFeatures):
    """Takes a random one of the stored views of each image in every epoch."""

    def __init__(self, views: StoredViews, config: TrainConfig, accelerator: Accelerator) -> None:
        super().__init__(Positions(views.images), config, accelerator, workers=0)
        self.stored = views

    def epoch(self, epoch: int) -> Iterator[tuple[ImageFeatures, Tensor]]:
        self.order.start(epoch)
        generator = make_generator(self.seed, "stored view", epoch)
        views = torch.randint(self.stored.views, (self.images,), generator=generator)
        for positions in self.loader:
            own = positions.cpu()
            yield self.stored.select(own, views[own]), positions

    def sample(self, images: int) -> ImageFeatures:
        positions = torch.arange(min(images, self.images))
        return self.stored.select(positions, torch.zeros_like(positions))


class EncodedTraining(TrainingFeatures):
    """Encodes a new random view of each image in every epoch."""

    def __init__(
        self, encoder: FrozenEncoder, paths: Sequence[Path], config: TrainConfig, accelerator: Accelerator
    ) -> None:
        self.encoder, self.views = encoder, ImageViews(paths, encoder.image_size, config.seed)
        super().__init__(self.views, config, accelerator, decoding_workers(config.workers))
        self.batch_size = config.batch_size

    def epoch(self, epoch: int) -> Iterator[tuple[ImageFeatures, Tensor]]:
        self.order.start(epoch)
        self.views.view = epoch
        for pixels, positions in batches_of(self.loader):
            yield self.encoder(pixels), positions

    def sample(self, images: int) -> ImageFeatures:
        plain = ImageViews(self.views.paths[:images], self.encoder.image_size)
        batches = batches_of(in_order(plain, self.batch_size, workers=0))
        return ImageFeatures.concatenate([self.encoder(pixels) for pixels, _ in batches])


def features_of_run(
    encoder: FrozenEncoder,
    training: Sequence[Path],
    selecting: Sequence[Path],
    config: TrainConfig,
    accelerator: Accelerator,
    progress: Progress,
) -> tuple[TrainingFeatures, FeatureBatches]:
    """Features of the training images, and plain ones of those that select the best epoch, as `config` asks.

    Both come from the feature cache where they fit in it, else they are encoded as they come.
    """
    problem = cache_problem(encoder, len(training) * config.views + len(selecting), config)
    if problem and config.views:
        progress.note(f"{problem}: encoding anew every epoch")
    if problem or not config.views:
        workers = decoding_workers(config.workers)
        selection = OrderedFeatures(encoder, selecting, accelerator, config.batch_size, workers)
        return EncodedTraining(encoder, training, config, accelerator), selection
    plain = fill_cache(encoder, selecting, 1, config, accelerator, progress, "validation images")
    views = fill_cache(encoder, training, config.views, config, accelerator, progress)
    order = StoredOrder(plain.open(encoder.device), accelerator, config.batch_size)
    return StoredTraining(views.open(encoder.device), config, accelerator), order
