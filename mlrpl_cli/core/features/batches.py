"""Frozen features of many images in batches: read from a feature cache that is filled, or encoded as they come.

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
from torch.utils.data import Dataset

from mlrpl_cli.core.backbones.features import ImageFeatures
from mlrpl_cli.core.backbones.frozen import FrozenEncoder
from mlrpl_cli.core.features import cache as feature_cache
from mlrpl_cli.core.features.cache import FeatureCache, Stored, view_key, view_keys
from mlrpl_cli.core.features.machines import Division, together
from mlrpl_cli.core.images.loading import ImageViews, Index, load, shares, shuffled
from mlrpl_cli.core.io import devices


class CachedViews(Dataset[Any]):
    """The views of N images in a feature cache, read batch by batch; small, so that it can go to other processes."""

    def __init__(
        self,
        cache: FeatureCache,
        digests: Sequence[str],
        views: int,
        computed_in: torch.dtype,
        division: Division | None = None,
    ) -> None:
        """`computed_in` is the encoder's dtype: heads are given what the encoder itself would give them.

        `division` says which of the images lie in this machine's cache; by default all do.
        """
        self.cache, self.digests, self.views, self.computed_in = cache, list(digests), views, computed_in
        self.division = division

    def __len__(self) -> int:
        return len(self.digests)

    def __getitems__(self, indices: Sequence[Index]) -> tuple[Stored, Tensor]:
        """Stored features of images, each in a view, and the images' positions (B,)."""
        keys = [view_key(self.digests[position], view) for position, view in indices]
        return self.cache.get(keys), torch.tensor([position for position, _ in indices])

    def found(self) -> CachedViews:
        """Itself, its machine's views looked for at once. Raises RunError when the cache has lost some of them."""
        digests = self.division.own_of(self.digests) if self.division else self.digests
        if lost := self.cache.missing(view_keys(digests, self.views)):
            raise self.cache.lost(len(lost))
        return self

    def subset(self, positions: Sequence[int]) -> CachedViews:
        """Some of the images, in order."""
        return CachedViews(self.cache, [self.digests[n] for n in positions], self.views, self.computed_in)


@dataclass(frozen=True)
class FeatureBatches:
    """Features of N images in batches, as often as they are asked for, divided among the processes."""

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
        """(features, positions (B,)) of this process's images in their plain view; padding has positions below 0.

        Each batch is one that a single process would have, so that its features have the same bits, whoever asks.
        """
        return self._loaded([batch for batch, _ in self._dealt(len(self.dataset))])

    def epoch(self, epoch: int) -> Iterator[tuple[ImageFeatures, Tensor]]:
        """The same of epoch 1, 2, … of training: shuffled, in random views, every batch divided among processes."""
        indices = shuffled(len(self.dataset), self.views, self.seed, epoch)
        return self._loaded(self._division.shares(indices, self.batch_size))

    def sample(self, images: int) -> ImageFeatures:
        """Features of the first `images` images in their plain view, in every process the same."""
        if self._division.owners is not None:
            found = self.collect(lambda features: [*vars(features.map(Tensor.float)).values()], images=images)
            return ImageFeatures(*found)
        first = [(position, 0) for position in range(min(images, len(self.dataset)))]
        parts = [vars(features).values() for features, _ in self._loaded(shares(first, self.batch_size), 0)]
        return ImageFeatures(*map(torch.cat, zip(*parts, strict=True)))

    def collect(
        self,
        function: Callable[[ImageFeatures], Sequence[Tensor]],
        done: Callable[[int], object] = lambda images: None,
        images: int | None = None,
    ) -> list[Tensor]:
        """What `function` says of all images in their plain view, (N, …) each, in order and in every process the same.

        It gives tensors with a row for each image of a batch. `done` is told how many more images were read. With
        `images`, of so many first ones.
        """
        found: list[Tensor] = []
        count = min(len(self.dataset), len(self.dataset) if images is None else images)
        dealt = self._dealt(count)
        for (features, positions), (_, largest) in zip(self._loaded([b for b, _ in dealt]), dealt, strict=True):
            # Batches of one turn may differ in size, and only equal ones can be gathered.
            told = (_longer(positions, largest, -1), *(_longer(part, largest, 0) for part in function(features)))
            said = self.accelerator.gather(told)
            own = said[0] >= 0  # the others are repeated
            found = found or [part.new_empty((count, *part.shape[1:])) for part in said[1:]]
            for whole, part in zip(found, said[1:], strict=True):
                whole[said[0][own]] = part[own]
            done(int(own.sum()))
        return found

    @property
    def _division(self) -> Division:
        own = self.dataset.division if isinstance(self.dataset, CachedViews) else None
        return own or Division(together(self.accelerator))

    def _dealt(self, images: int) -> list[tuple[list[Index], int]]:
        return [*self._division.dealt([(position, 0) for position in range(images)], self.batch_size)]

    def _loaded(
        self, batches: Iterable[list[Index]], workers: int | None = None
    ) -> Iterator[tuple[ImageFeatures, Tensor]]:
        """These batches, read ahead by `workers`, by default its own."""
        device, workers = self.accelerator.device, self.workers if workers is None else workers
        for content, positions in load(self.dataset, batches, workers, pinned=device.type == "cuda"):
            yield self.features_of(content), positions.to(device, non_blocking=True)


def _longer(rows: Tensor, length: int, filling: float) -> Tensor:
    """`rows` (B, …) and as many more as make so many of them."""
    if len(rows) == length:
        return rows
    return torch.cat([rows, rows.new_full((length - len(rows), *rows.shape[1:]), filling)])


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
