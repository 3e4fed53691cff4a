"""Views of images in the feature cache: encoded where they are missing, selected by position.

Axes: N images, B of them in a batch, P grid positions, D channels, E joint embedding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mlrpl_cli.core.backbones.features import ImageFeatures
from mlrpl_cli.core.backbones.frozen import FrozenEncoder
from mlrpl_cli.core.config import TrainConfig
from mlrpl_cli.core.features.cache import (
    SHARD_VIEWS,
    FeatureCache,
    StoredRows,
    ViewKey,
    bytes_per_view,
    encoder_key,
    image_digests,
    view_key,
)
from mlrpl_cli.core.images.loading import ImageViews, Waiting, batches_of, in_order, whole_batch
from mlrpl_cli.core.io.devices import decoding_workers
from mlrpl_cli.core.io.errors import DataError, first_few, in_words, memory_for
from mlrpl_cli.core.io.files import free_bytes
from mlrpl_cli.core.io.progress import Progress, Task

CACHE = "features"
"""Name of the feature cache, beside the prepared folder."""
ENCODED_TOGETHER = 32
"""Images that each process encodes at once, always: how many there are decides the last bits of a feature, and what
lies in the cache must not depend on who put it there, or on where somebody was stopped."""

ENCODING_LESS = (
    f"{ENCODED_TOGETHER} images are encoded at once, whatever the batch size: "
    "lower --image-size, or try --precision bf16 or another --device"
)


class StoredViews:
    """All views of some images from a feature cache; view v of stored image n is row v·stored + n."""

    def __init__(
        self, rows: StoredRows, views: int, device: torch.device, dtype: torch.dtype, chosen: Tensor | None = None
    ) -> None:
        """`chosen` (N,) picks N of the stored images, in order; None takes all of them."""
        self.rows, self.views, self.device, self.dtype = rows, views, device, dtype
        self.stored = len(rows) // views
        self.chosen = torch.arange(self.stored) if chosen is None else chosen

    @property
    def images(self) -> int:
        """N, how many images can be selected."""
        return len(self.chosen)

    def select(self, positions: Tensor, views: Tensor) -> ImageFeatures:
        """Features of the images at `positions` (B,), each in its own view (B,), on the device."""
        return self.rows.read(views * self.stored + self.chosen[positions], self.device, self.dtype)

    def subset(self, positions: Tensor) -> StoredViews:
        """Some of the images."""
        return StoredViews(self.rows, self.views, self.device, self.dtype, self.chosen[positions])


@dataclass(frozen=True)
class CachedViews:
    """Which views of some images lie in which cache; small, so that it can go to other processes."""

    folder: Path
    dtype: str
    keys: tuple[ViewKey, ...]
    """View by view, the images in order within each."""
    views: int
    computed_in: torch.dtype
    """The encoder's, which features come back in, so that heads see what the encoder itself would give them."""

    def open(self, device: torch.device) -> StoredViews:
        """Map the features into memory. Raises RunError when the cache has lost some of them."""
        return StoredViews(FeatureCache(self.folder, self.dtype).rows(self.keys), self.views, device, self.computed_in)


def fill_cache(
    encoder: FrozenEncoder,
    paths: Sequence[Path],
    views: int,
    config: TrainConfig,
    accelerator: Accelerator,
    progress: Progress,
    what: str = "training images",
) -> CachedViews:
    """Encode those of the `views` views of each image that the feature cache of `config` lacks.

    A call that is stopped has stored all but the last few, and the next one goes on from there.
    Raises DataError when the disk has no room for them.
    """
    workers = decoding_workers(config.workers)
    digests = image_digests(paths, workers)
    cache = FeatureCache(_cache_folder(encoder, config), config.cache_dtype)
    keys = tuple(view_key(digest, view) for view in range(views) for digest in digests)
    # One process says what is missing: another may look when some of it has been written.
    missing = broadcast_object_list([frozenset(cache.missing(keys))])[0]
    if missing:
        _check_room(cache, len(missing) * _bytes_per_view(encoder, config))
        if cache.damaged:
            damaged = first_few(path.name for path in cache.damaged)
            progress.note(f"{cache.folder}: {len(cache.damaged)} damaged ({damaged}): encoding their images again")
        if accelerator.is_main_process:
            cache.tidy()
        waiting = Waiting()
        with progress.task(f"encoding {what}", len(missing)) as task:
            for view in range(views):
                wanted = {view_key(digest, view): path for digest, path in zip(digests, paths, strict=True)}
                lacking = {key: path for key, path in wanted.items() if key in missing}
                if not lacking:
                    continue
                dataset = ImageViews(list(lacking.values()), encoder.image_size, view=view, names=list(lacking))
                loader = divided(dataset, ENCODED_TOGETHER * accelerator.num_processes, workers, accelerator)
                _encode_into(cache, encoder, dataset.names, waiting.through(batches_of(loader)), accelerator, task)
        progress.note(f"encoded {len(missing)} views, {waiting.share:.0%} of the time waiting for decoded images")
    accelerator.wait_for_everyone()
    return CachedViews(cache.folder, cache.dtype, keys, views, encoder.dtype)


def divided(dataset: Dataset, batch_size: int, workers: int, accelerator: Accelerator) -> DataLoader:
    """Every item once, in order, each batch divided among the processes and the last filled up from the start."""
    return accelerator.prepare(in_order(dataset, whole_batch(batch_size, accelerator.num_processes), workers))


def cache_problem(encoder: FrozenEncoder, views: int, config: TrainConfig) -> str | None:
    """Why so many views may not be kept in the cache of `config`, or None.

    The disk has no say in it: a run that is resumed has to train on the views that it trained on before.
    """
    needed = views * _bytes_per_view(encoder, config)
    if needed <= config.cache_gib * 2**30:
        return None
    return f"the features need {needed / 2**30:.3g} GiB, more than cache_gib {config.cache_gib:g}"


def _check_room(cache: FeatureCache, needed: float) -> None:
    free = free_bytes(cache.folder)
    if needed > free:
        raise DataError(
            f"the feature cache {cache.folder.parent} needs {in_words(needed)} more and its disk has "
            f"{in_words(free)}; free some, or --set cache=DIR on another disk, cache_dtype=uint8 or views=0"
        )


def _bytes_per_view(encoder: FrozenEncoder, config: TrainConfig) -> int:
    module = encoder.module
    return bytes_per_view(encoder.positions, module.channels, module.embed_dim, config.cache_dtype)


def _cache_folder(encoder: FrozenEncoder, config: TrainConfig) -> Path:
    key = encoder_key(encoder.fingerprint, encoder.image_size, str(encoder.dtype), config.cache_dtype)
    return Path(config.cache or CACHE) / key


def _filled_up(pixels: Tensor) -> Tensor:
    """A last batch filled up with its own images."""
    return pixels[torch.arange(ENCODED_TOGETHER) % len(pixels)] if len(pixels) < ENCODED_TOGETHER else pixels


def _encode_into(
    cache: FeatureCache,
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
        with memory_for(ENCODING_LESS):
            encoded = encoder(_filled_up(pixels)).images(slice(len(pixels)))
        features = encoded.map(lambda tensor: accelerator.gather(tensor.float()).cpu())
        fresh = features.images(slice(len(keys) - done))  # the last batch is filled up with images from the start
        pending.append(fresh)
        done += len(fresh.pooled)
        while done - first >= SHARD_VIEWS or first < done == len(keys):
            joined, following = ImageFeatures.concatenate(pending), min(first + SHARD_VIEWS, done)
            if accelerator.is_main_process:
                cache.write(keys[first:following], joined.images(slice(following - first)))
            task.advance(following - first)
            pending, first = [joined.images(slice(following - first, None))], following
