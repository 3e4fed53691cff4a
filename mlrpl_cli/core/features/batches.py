"""Frozen features of many images, for training and evaluation: from the feature cache, or encoded as they come.

Axes: N images, B of them in a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from mlrpl_cli.core.backbones.features import ImageFeatures
from mlrpl_cli.core.backbones.frozen import FrozenEncoder
from mlrpl_cli.core.features.cache import decoded
from mlrpl_cli.core.features.views import CachedViews, CacheFiller
from mlrpl_cli.core.images.loading import ImageViews, Index, load, shares, shuffled
from mlrpl_cli.core.io.devices import decoding_workers


@dataclass(frozen=True)
class FeatureBatches:
    """Features of N images in batches, as often as they are asked for; each process has its share of every batch."""

    dataset: ImageViews | CachedViews
    features_of: Callable[[Any], ImageFeatures]
    """Makes features, on the device, of what the data set says of a batch."""
    accelerator: Accelerator
    batch_size: int
    """Images of all processes together."""
    workers: int = 0
    """Processes that read ahead; a thread does where there are none."""
    views: int = 0
    """Stored views that an epoch chooses from; 0 draws new ones in every epoch."""
    seed: int = 0

    @property
    def images(self) -> int:
        """N."""
        return len(self.dataset)

    @property
    def steps_per_epoch(self) -> int:
        """Batches; the last one may be smaller."""
        return -(-self.images // self.batch_size)

    def __iter__(self) -> Iterator[tuple[ImageFeatures, Tensor]]:
        """(features, positions (B,)) of all images in order, in their plain view; padding has positions below 0."""
        return self._batches([(position, 0) for position in range(self.images)])

    def epoch(self, epoch: int) -> Iterator[tuple[ImageFeatures, Tensor]]:
        """The same of epoch 1, 2, … of training: shuffled, in random views."""
        return self._batches(shuffled(self.images, self.views, self.seed, epoch))

    def sample(self, images: int) -> ImageFeatures:
        """Features of the first `images` images in their plain view, in every process the same."""
        batches = shares([(position, 0) for position in range(min(images, self.images))], self.batch_size)
        parts = [vars(features).values() for features, _ in self._loaded(batches, workers=0)]
        return ImageFeatures(*map(torch.cat, zip(*parts, strict=True)))

    def _batches(self, indices: Sequence[Index]) -> Iterator[tuple[ImageFeatures, Tensor]]:
        rank, processes = self.accelerator.process_index, self.accelerator.num_processes
        return self._loaded(shares(indices, self.batch_size, rank, processes), self.workers)

    def _loaded(self, batches: Iterable[list[Index]], workers: int) -> Iterator[tuple[ImageFeatures, Tensor]]:
        device = self.accelerator.device
        for content, positions in load(self.dataset, batches, workers, pinned=device.type == "cuda"):
            yield self.features_of(content), positions.to(device, non_blocking=True)


def cached(views: CachedViews, accelerator: Accelerator, batch_size: int, seed: int = 0) -> FeatureBatches:
    """Features that lie in the cache."""
    features_of = partial(decoded, device=accelerator.device, dtype=views.computed_in)
    return FeatureBatches(views, features_of, accelerator, batch_size, views=views.views, seed=seed)


def encoded(
    encoder: FrozenEncoder,
    paths: Sequence[Path],
    accelerator: Accelerator,
    batch_size: int,
    workers: int | None,
    seed: int = 0,
) -> FeatureBatches:
    """Features that are encoded as they come; `workers` is what TrainConfig.workers is."""
    dataset = ImageViews(paths, encoder.image_size, seed)
    return FeatureBatches(dataset, encoder, accelerator, batch_size, decoding_workers(workers), seed=seed)


def features_of_run(
    filler: CacheFiller, training: Sequence[Path], selecting: Sequence[Path]
) -> tuple[FeatureBatches, FeatureBatches]:
    """Features of the training images, and of those that select the best epoch, as the filler's configuration asks.

    Both come from the feature cache where they fit in it, else they are encoded as they come.
    """
    config, accelerator = filler.config, filler.accelerator
    problem = filler.problem(len(training) * config.views + len(selecting))
    if problem and config.views:
        filler.progress.note(f"{problem}: encoding anew every epoch")
    if problem or not config.views:
        options = accelerator, config.batch_size, config.workers
        return encoded(filler.encoder, training, *options, config.seed), encoded(filler.encoder, selecting, *options)
    plain = filler.fill(selecting, 1, "validation images")
    views = filler.fill(training, config.views)
    return cached(views, accelerator, config.batch_size, config.seed), cached(plain, accelerator, config.batch_size)
