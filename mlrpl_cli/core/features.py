"""Frozen features of many images, for training and evaluation: from the feature bank, or encoded as they come.

Axes: N images, B of them in a batch, P grid positions, D channels, E joint embedding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch import Tensor

from mlrpl_cli.core.bank import (
    SHARD_VIEWS,
    FeatureBank,
    StoredRows,
    ViewKey,
    bytes_per_view,
    encoder_key,
    image_digests,
    view_key,
)
from mlrpl_cli.core.config import TrainConfig
from mlrpl_cli.core.data.loading import EpochOrder, ImageViews, Positions, Waiting, batches_of, in_order, shuffled
from mlrpl_cli.core.errors import DataError, RunError
from mlrpl_cli.core.files import free_bytes
from mlrpl_cli.core.frozen import FrozenEncoder
from mlrpl_cli.core.models.image_features import ImageFeatures
from mlrpl_cli.core.progress import Progress, Task
from mlrpl_cli.core.runtime import decoding_workers, make_generator

BANK = "features"
"""Name of the feature bank, beside the prepared folder."""


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
        dataset = ImageViews(paths, encoder.image_size)
        self.loader = accelerator.prepare(in_order(dataset, whole_batch(batch_size, accelerator), workers))

    def __iter__(self) -> Iterator[tuple[ImageFeatures, Tensor]]:
        for pixels, positions in batches_of(self.loader):
            yield self.encoder(pixels), positions


class StoredViews:
    """All views of some images from a feature bank; view v of stored image n is row v·stored + n."""

    def __init__(self, rows: StoredRows, views: int, device: torch.device, chosen: Tensor | None = None) -> None:
        """`chosen` (N,) picks N of the stored images, in order; None takes all of them."""
        self.rows, self.views, self.device = rows, views, device
        self.stored = len(rows) // views
        self.chosen = torch.arange(self.stored) if chosen is None else chosen

    @property
    def images(self) -> int:
        """N, how many images can be selected."""
        return len(self.chosen)

    def select(self, positions: Tensor, views: Tensor) -> ImageFeatures:
        """Features of the images at `positions` (B,), each in its own view (B,), on the device."""
        return self.rows.read(views * self.stored + self.chosen[positions], self.device)

    def subset(self, positions: Tensor) -> StoredViews:
        """Some of the images."""
        return StoredViews(self.rows, self.views, self.device, self.chosen[positions])


class StoredOrder:
    """The plain views of stored images, in order and in batches; each process goes over its part of every batch."""

    def __init__(self, views: StoredViews, accelerator: Accelerator, batch_size: int) -> None:
        self.views, self.accelerator, self.images = views, accelerator, views.images
        self.loader = accelerator.prepare(in_order(Positions(self.images), whole_batch(batch_size, accelerator), 0))

    def __iter__(self) -> Iterator[tuple[ImageFeatures, Tensor]]:
        for positions in self.loader:
            own = positions.cpu()
            yield self.views.select(own, torch.zeros_like(own)), positions


class TrainingFeatures:
    """Shuffled batches of (features, positions) of the training images."""

    def __init__(self, dataset: Positions | ImageViews, config: TrainConfig, accelerator: Accelerator, workers: int):
        self.accelerator, self.seed, self.images = accelerator, config.seed, len(dataset)
        self.order = EpochOrder(self.images, config.seed)
        batch_size = whole_batch(min(config.batch_size, self.images), accelerator)
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

    Both come from the feature bank where they fit in it, else they are encoded as they come.
    """
    problem = bank_problem(encoder, len(training) * config.views + len(selecting), config)
    if problem and config.views:
        progress.note(f"{problem}: encoding anew every epoch")
    if problem or not config.views:
        workers = decoding_workers(config.workers)
        selection = OrderedFeatures(encoder, selecting, accelerator, config.batch_size, workers)
        return EncodedTraining(encoder, training, config, accelerator), selection
    plain = fill_bank(encoder, selecting, 1, config, accelerator, progress, "validation images")
    views = fill_bank(encoder, training, config.views, config, accelerator, progress)
    order = StoredOrder(plain.open(encoder.device), accelerator, config.batch_size)
    return StoredTraining(views.open(encoder.device), config, accelerator), order


@dataclass(frozen=True)
class BankedViews:
    """Which views of some images lie in which bank; small, so that it can go to other processes."""

    folder: Path
    dtype: str
    keys: tuple[ViewKey, ...]
    """View by view, the images in order within each."""
    views: int

    def open(self, device: torch.device) -> StoredViews:
        """Map the features into memory. Raises RunError when the bank has lost some of them."""
        return StoredViews(FeatureBank(self.folder, self.dtype).rows(self.keys), self.views, device)


def fill_bank(
    encoder: FrozenEncoder,
    paths: Sequence[Path],
    views: int,
    config: TrainConfig,
    accelerator: Accelerator,
    progress: Progress,
    what: str = "training images",
) -> BankedViews:
    """Encode those of the `views` views of each image that the feature bank of `config` lacks.

    A call that is stopped has stored all but the last few, and the next one goes on from there.
    Raises DataError when the disk has no room for them.
    """
    workers = decoding_workers(config.workers)
    digests = image_digests(paths, workers)
    bank = FeatureBank(_bank_folder(encoder, config), config.bank_dtype)
    keys = tuple(view_key(digest, view) for view in range(views) for digest in digests)
    # One process says what is missing: another may look when some of it has been written.
    missing = broadcast_object_list([frozenset(bank.missing(keys))])[0]
    if missing:
        _check_room(bank, len(missing) * _bytes_per_view(encoder, config))
        if bank.damaged:
            progress.note(f"{len(bank.damaged)} files of {bank.folder} are damaged: encoding their images again")
        if accelerator.is_main_process:
            bank.tidy()
        waiting = Waiting()
        with progress.task(f"encoding {what}", len(missing)) as task:
            for view in range(views):
                wanted = {view_key(digest, view): path for digest, path in zip(digests, paths, strict=True)}
                dataset = ImageViews(
                    [path for key, path in wanted.items() if key in missing],
                    encoder.image_size,
                    view=view,
                    names=[key for key in wanted if key in missing],
                )
                batch_size = whole_batch(min(config.batch_size, SHARD_VIEWS), accelerator)
                loader = accelerator.prepare(in_order(dataset, batch_size, workers))
                _encode_into(bank, encoder, dataset.names, waiting.through(batches_of(loader)), accelerator, task)
        progress.note(f"encoded {len(missing)} views, {waiting.share:.0%} of the time waiting for decoded images")
    accelerator.wait_for_everyone()
    return BankedViews(bank.folder, bank.dtype, keys, views)


def bank_problem(encoder: FrozenEncoder, views: int, config: TrainConfig) -> str | None:
    """Why so many views may not be kept in the bank of `config`, or None.

    The disk has no say in it: a run that is resumed has to train on the views that it trained on before.
    """
    needed = views * _bytes_per_view(encoder, config)
    if needed <= config.bank_gib * 2**30:
        return None
    return f"the features need {needed / 2**30:.3g} GiB, more than bank_gib {config.bank_gib:g}"


def whole_batch(size: int, accelerator: Accelerator) -> int:
    """`size` rounded down to a multiple of the number of processes, and at least one image each."""
    return max(size // accelerator.num_processes, 1) * accelerator.num_processes


def _check_room(bank: FeatureBank, needed: float) -> None:
    free = free_bytes(bank.folder)
    if needed > free:
        raise DataError(
            f"the feature bank {bank.folder.parent} needs {needed / 2**30:.3g} GiB more and its disk has "
            f"{free / 2**30:.3g} GiB; free some, or --set bank=DIR on another disk, bank_dtype=uint8 or views=0"
        )


def _bytes_per_view(encoder: FrozenEncoder, config: TrainConfig) -> int:
    module = encoder.module
    return bytes_per_view(encoder.positions, module.channels, module.embed_dim, config.bank_dtype)


def _bank_folder(encoder: FrozenEncoder, config: TrainConfig) -> Path:
    key = encoder_key(encoder.fingerprint, encoder.image_size, str(encoder.dtype), config.bank_dtype)
    return Path(config.bank or BANK) / key


def _encode_into(
    bank: FeatureBank,
    encoder: FrozenEncoder,
    keys: Sequence[ViewKey],
    batches: Iterator[tuple[Tensor, Tensor]],
    accelerator: Accelerator,
    task: Task,
) -> None:
    """Encode the pixels of the views `keys`, which come in order, shard by shard; the main process writes."""
    pending: list[ImageFeatures] = []
    first = done = 0  # the pending ones are first … done-1 of the keys
    for pixels, _ in batches:
        features = encoder(pixels).map(lambda tensor: accelerator.gather(tensor).cpu())
        fresh = min(len(features.pooled), len(keys) - done)  # the last batch is filled up with images from the start
        pending.append(features.map(lambda tensor, fresh=fresh: tensor[:fresh]))  # type: ignore[misc]
        done += fresh
        while done - first >= SHARD_VIEWS or first < done == len(keys):
            joined = ImageFeatures.concatenate(pending)
            size = min(SHARD_VIEWS, done - first)
            if accelerator.is_main_process:
                bank.write(keys[first : first + size], joined.map(lambda tensor, size=size: tensor[:size]))  # type: ignore[misc]
            task.advance(size)
            pending, first = [joined.map(lambda tensor, size=size: tensor[size:])], first + size  # type: ignore[misc]
