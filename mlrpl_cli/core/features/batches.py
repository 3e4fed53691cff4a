"""Frozen features of many images in batches: read from a feature cache that is filled, or encoded as they come.

Axes: N images, B of them in a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.utils.data import Dataset

from mlrpl_cli.core.backbones.features import ImageFeatures
from mlrpl_cli.core.backbones.frozen import FrozenEncoder
from mlrpl_cli.core.features import cache as feature_cache
from mlrpl_cli.core.features.cache import FeatureCache, Stored, view_key, view_keys
from mlrpl_cli.core.images.loading import ImageViews, Index, load, shares, shuffled
from mlrpl_cli.core.io import devices


class CachedViews(Dataset[Any]):
    """The views of N images in a feature cache, read batch by batch; small, so that it can go to other processes."""

    def __init__(self, cache: FeatureCache, digests: Sequence[str], views: int, computed_in: torch.dtype) -> None:
        """`computed_in` is the encoder's dtype: heads are given what the encoder itself would give them."""
        self.cache, self.digests, self.views, self.computed_in = cache, list(digests), views, computed_in

    def __len__(self) -> int:
        return len(self.digests)

    def __getitems__(self, indices: Sequence[Index]) -> tuple[Stored, Tensor]:
        """Stored features of images, each in a view, and the images' positions (B,)."""
        keys = [view_key(self.digests[position], view) for position, view in indices]
        return self.cache.get(keys), torch.tensor([position for position, _ in indices])

    def found(self) -> CachedViews:
        """Itself, all views looked for at once. Raises RunError when the cache has lost some of them."""
        if lost := self.cache.missing(view_keys(self.digests, self.views)):
            raise self.cache.lost(len(lost))
        return self

    def subset(self, positions: Sequence[int]) -> CachedViews:
        """Some of the images, in order."""
        return CachedViews(self.cache, [self.digests[n] for n in positions], self.views, self.computed_in)


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
    def steps_per_epoch(self) -> int:
        """Batches; the last one may be smaller."""
        return -(-len(self.dataset) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[ImageFeatures, Tensor]]:
        """(features, positions (B,)) of all images in order, in their plain view; padding has positions below 0."""
        return self._loaded([(position, 0) for position in range(len(self.dataset))])

    def epoch(self, epoch: int) -> Iterator[tuple[ImageFeatures, Tensor]]:
        """The same of epoch 1, 2, … of training: shuffled, in random views."""
        return self._loaded(shuffled(len(self.dataset), self.views, self.seed, epoch))

    def sample(self, images: int) -> ImageFeatures:
        """Features of the first `images` images in their plain view, in every process the same."""
        first = [(position, 0) for position in range(min(images, len(self.dataset)))]
        parts = [vars(features).values() for features, _ in self._loaded(first, everywhere=True)]
        return ImageFeatures(*map(torch.cat, zip(*parts, strict=True)))

    def collect(
        self,
        function: Callable[[ImageFeatures], Sequence[Tensor]],
        done: Callable[[int], object] = lambda images: None,
    ) -> list[Tensor]:
        """What `function` says of all images in their plain view, (N, …) each, in order and in every process the same.

        It gives tensors with a row for each image of a batch. `done` is told how many more images were read.
        """
        found: list[Tensor] = []
        for features, positions in self:
            said = self.accelerator.gather((positions, *function(features)))
            own = said[0] >= 0  # the others are repeated
            found = found or [part.new_empty((len(self.dataset), *part.shape[1:])) for part in said[1:]]
            for whole, part in zip(found, said[1:], strict=True):
                whole[said[0][own]] = part[own]
            done(int(own.sum()))
        return found

    def _loaded(self, indices: list[Index], everywhere: bool = False) -> Iterator[tuple[ImageFeatures, Tensor]]:
        """This process's shares, read ahead by `workers`; or all in every process."""
        of, device = self.accelerator, self.accelerator.device
        rank, processes, workers = (0, 1, 0) if everywhere else (of.process_index, of.num_processes, self.workers)
        batches = shares(indices, self.batch_size, rank, processes)
        for content, positions in load(self.dataset, batches, workers, pinned=device.type == "cuda"):
            yield self.features_of(content), positions.to(device, non_blocking=True)


def cached(views: CachedViews, accelerator: Accelerator, batch_size: int, seed: int = 0) -> FeatureBatches:
    """Features that lie in the cache."""
    features_of = partial(feature_cache.decoded, device=accelerator.device, dtype=views.computed_in)
    return FeatureBatches(views, features_of, accelerator, batch_size, views=views.views, seed=seed)


def encoded(
    encoder: FrozenEncoder,
    paths: Sequence[Path],
    accelerator: Accelerator,
    batch_size: int,
    workers: int | None,
    seed: int = 0,
    allow_truncated: bool = False,
) -> FeatureBatches:
    """Features that are encoded as they come; `workers` is what TrainConfig.workers is."""
    dataset = ImageViews(paths, encoder.image_size, seed, None, allow_truncated, encoder.rule.resampling)
    return FeatureBatches(dataset, encoder, accelerator, batch_size, devices.decoding_workers(workers), seed=seed)
