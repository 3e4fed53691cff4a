"""Views of images in the feature cache: encoded where they are missing, read by position.

Axes: N images, B of them in a batch, P grid positions, D channels, E joint embedding.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch import Tensor
from torch.utils.data import Dataset

from mlrpl_cli.core.backbones.frozen import FrozenEncoder
from mlrpl_cli.core.config import TrainConfig
from mlrpl_cli.core.features.cache import (
    IMAGE_INDEX,
    SHARD_VIEWS,
    FeatureCache,
    Stored,
    ViewKey,
    bytes_per_view,
    encoder_key,
    image_digests,
    view_key,
)
from mlrpl_cli.core.features.index import FileIndex
from mlrpl_cli.core.images.loading import ImageViews, Index, Waiting, load, shares
from mlrpl_cli.core.io.devices import decoding_workers
from mlrpl_cli.core.io.errors import DataError, first_few, in_words, memory_for
from mlrpl_cli.core.io.files import free_bytes
from mlrpl_cli.core.io.progress import Progress, Task

CACHE = "features"
"""Name of the feature cache, beside the prepared folder."""
ENCODED_TOGETHER = SHARD_VIEWS
"""Images that each process encodes at once, always: how many there are decides the last bits of a feature, and what
lies in the cache must not depend on who put it there, or on where somebody was stopped."""

ENCODING_LESS = (
    f"{ENCODED_TOGETHER} images are encoded at once, whatever the batch size: "
    "lower --image-size, or try --precision bf16 or another --device"
)


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
        if lost := self.cache.missing(_keys(self.digests, self.views)):
            raise self.cache.lost(len(lost))
        return self

    def subset(self, positions: Sequence[int]) -> CachedViews:
        """Some of the images, in order."""
        return CachedViews(self.cache, [self.digests[n] for n in positions], self.views, self.computed_in)


def open_cache(encoder: FrozenEncoder, config: TrainConfig) -> FeatureCache:
    """The part of the feature cache of `config` that holds what this encoder computes."""
    key = encoder_key(encoder.fingerprint, encoder.image_size, str(encoder.dtype), config.cache_dtype)
    return FeatureCache(Path(config.cache or CACHE) / key, config.cache_dtype)


def fill_cache(
    cache: FeatureCache,
    encoder: FrozenEncoder,
    paths: Sequence[Path],
    views: int,
    config: TrainConfig,
    accelerator: Accelerator,
    progress: Progress,
    what: str = "training images",
) -> CachedViews:
    """Encode those of the `views` views of each image that `cache` lacks.

    A call that is stopped has stored all but the last few, and the next one goes on from there.
    Raises DataError when the disk has no room for them.
    """
    workers = decoding_workers(config.workers)
    digests, missing = broadcast_object_list(
        _lacking(cache, paths, views, workers) if accelerator.is_main_process else [None, None]
    )
    if missing:
        _check_room(cache, len(missing) * _bytes_per_view(encoder, config))
        if cache.damaged:
            damaged = first_few(path.name for path in cache.damaged)
            progress.note(f"{cache.folder}: {len(cache.damaged)} damaged ({damaged}): encoding their images again")
            cache.tidy()
        images = dict(zip(digests, paths, strict=True))
        wanted = {view_key(digest, view): (path, view) for view in range(views) for digest, path in images.items()}
        dataset = ImageViews([wanted[key][0] for key in missing], encoder.image_size, names=missing)
        indices = [(number, wanted[key][1]) for number, key in enumerate(missing)]
        rank, processes = accelerator.process_index, accelerator.num_processes
        batches = shares(indices, ENCODED_TOGETHER * processes, rank, processes)
        waiting = Waiting()
        pixels = waiting.through(load(dataset, batches, workers, encoder.device.type == "cuda"))
        with progress.task(f"encoding {what}", len(missing)) as task:
            _encode_into(cache, encoder, missing, pixels, accelerator, task)
        progress.note(f"encoded {len(missing)} views, {waiting.share:.0%} of the time waiting for decoded images")
    with accelerator.main_process_first():  # the others find remembered what it looked for in the files
        return CachedViews(cache, digests, views, encoder.dtype).found()


def _lacking(cache: FeatureCache, paths: Sequence[Path], views: int, workers: int) -> list[list[str]]:
    """Digests of the images and keys of what has to be encoded: one process looks, since others may see more later."""
    digests = image_digests(paths, workers, FileIndex(cache.folder.parent / IMAGE_INDEX))
    return [digests, cache.missing(_keys(digests, views))]


def _keys(digests: Sequence[str], views: int) -> list[ViewKey]:
    return [view_key(digest, view) for view in range(views) for digest in digests]


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


def _encode_into(
    cache: FeatureCache,
    encoder: FrozenEncoder,
    keys: Sequence[ViewKey],
    batches: Iterable[tuple[Tensor, Tensor]],
    accelerator: Accelerator,
    task: Task,
) -> None:
    """Encode the pixels of the views `keys`, which come in order; the main process writes them."""
    done = 0
    for pixels, _ in batches:
        whole = pixels[torch.arange(ENCODED_TOGETHER) % len(pixels)]  # a last batch is filled up with its own images
        with memory_for(ENCODING_LESS):
            features = encoder(whole).images(slice(len(pixels)))
        features = features.map(lambda tensor: accelerator.gather(tensor.float()).cpu())
        encoded = keys[done : done + len(features.pooled)]  # without the images that are repeated in the last batch
        for start in range(0, len(encoded), SHARD_VIEWS) if accelerator.is_main_process else ():
            shard = encoded[start : start + SHARD_VIEWS]
            cache.put(shard, features.images(slice(start, start + len(shard))))
        task.advance(len(encoded))
        done += len(encoded)
