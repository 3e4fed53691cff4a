"""Filling the feature cache: every view that it lacks is encoded, once, whoever asks."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import itemgetter
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch import Tensor

from mlrpl_cli.core.backbones.features import ImageFeatures
from mlrpl_cli.core.backbones.frozen import FrozenEncoder
from mlrpl_cli.core.config import TrainConfig
from mlrpl_cli.core.features import cache as feature_cache
from mlrpl_cli.core.features.batches import CachedViews
from mlrpl_cli.core.features.cache import SHARD_VIEWS, FeatureCache, ViewKey, view_keys
from mlrpl_cli.core.images.loading import ImageViews, load, shares, timed
from mlrpl_cli.core.io import devices, files, reading
from mlrpl_cli.core.io.errors import DataError, counted, first_few, in_words, memory_for
from mlrpl_cli.core.io.progress import Progress

ENCODED_TOGETHER = SHARD_VIEWS
"""Images that each process encodes at once, always: how many there are decides the last bits of a feature, and what
lies in the cache must not depend on who put it there, or on where somebody was stopped."""

ENCODING_LESS = (
    f"{ENCODED_TOGETHER} images are encoded at once, whatever the batch size: "
    "lower the image size (--set image_size=N), or try --precision bf16 or another --device"
)


@dataclass(frozen=True)
class CacheFiller:
    """Puts what `encoder` makes of images into the feature cache of `config`."""

    encoder: FrozenEncoder
    config: TrainConfig
    accelerator: Accelerator
    progress: Progress
    allow_truncated: bool = False
    """Whether JPEGs may lack their last bytes, as the prepared folder says."""

    @cached_property
    def cache(self) -> FeatureCache:
        """The part of the feature cache that holds what this encoder computes."""
        encoder, dtype = self.encoder, self.config.cache_dtype
        key = feature_cache.encoder_key(encoder.fingerprint, encoder.image_size, str(encoder.dtype), dtype)
        return FeatureCache(Path(self.config.cache or feature_cache.CACHE) / key, dtype)

    def problem(self, views: int) -> str | None:
        """Why so many views may not be kept in the cache, or None.

        The disk has no say in it: a run that is resumed has to train on the views that it trained on before.
        """
        needed, limit = self._bytes(views), self.config.cache_gib
        if needed <= limit * reading.GIB:
            return None
        return f"the features need {needed / reading.GIB:.3g} GiB, more than cache_gib {limit:g}"

    def fill(self, paths: Sequence[Path], views: int, what: str = "training images") -> CachedViews:
        """Encode those of the `views` views of each image that the cache lacks.

        A call that is stopped has stored all but the last few, and the next one goes on from there.
        Raises DataError when the disk has no room for them.
        """
        # One process looks, since others may see more later.
        looked: list[Any] = [None, None]
        if self.accelerator.is_main_process:
            for place in (self.cache.folder, self.cache.folder.parent):
                files.remove_abandoned(place)  # a run that lacks nothing writes nothing, and so would leave it there
            workers = devices.decoding_workers(self.config.workers)
            digests = feature_cache.image_digests(paths, workers, self.cache.folder.parent)
            looked = [digests, self.cache.missing(view_keys(digests, views))]
        digests, missing = broadcast_object_list(looked)
        if missing:
            self._make_room(len(missing))
            self._encode(missing, dict(zip(digests, paths, strict=True)), what, "view" if views > 1 else "image")
        with self.accelerator.main_process_first():  # the others find remembered what it looked for in the files
            return CachedViews(self.cache, digests, views, self.encoder.dtype).found()

    def _bytes(self, views: int) -> int:
        module, dtype = self.encoder.module, self.config.cache_dtype
        return views * feature_cache.bytes_per_view(self.encoder.grid_side**2, module.channels, module.embed_dim, dtype)

    def _make_room(self, views: int) -> None:
        """Delete damaged shards; raises DataError when the disk has no room for so many views."""
        folder, needed = self.cache.folder, self._bytes(views)
        free = files.free_bytes(folder)
        if needed > free:
            sizes = f"needs {in_words(needed)} more and its disk has {in_words(free)}"
            advice = "free some, or --set cache=FOLDER on another disk, cache_dtype=uint8 or views=0"
            raise DataError(f"the feature cache {folder.parent} {sizes}; {advice}")
        if damaged := self.cache.damaged:
            names = first_few(path.name for path in damaged)
            self.progress.warn(f"{folder}: {len(damaged)} damaged ({names}): encoding their images again")
            for path in damaged:
                path.unlink(missing_ok=True)

    def _encode(self, keys: Sequence[ViewKey], images: Mapping[str, Path], what: str, unit: str) -> None:
        """Encode the views `keys` of `images` by their digests; the main process writes them.

        `what` and `unit` are what progress calls them: a view is an image where there is one of each.
        """
        views = [(images[digest], int(view)) for digest, _, view in (key.rpartition("-") for key in keys)]
        paths, size = [path for path, _ in views], self.encoder.image_size
        dataset = ImageViews(paths, size, 0, keys, self.allow_truncated, self.encoder.rule.resampling)
        indices = [(position, view) for position, (_, view) in enumerate(views)]
        together = ENCODED_TOGETHER * self.accelerator.num_processes
        batches = shares(indices, together, self.accelerator.process_index, self.accelerator.num_processes)
        workers, waits, begun = devices.decoding_workers(self.config.workers), list[float](), time.perf_counter()
        loaded = timed(load(dataset, batches, workers, self.encoder.device.type == "cuda"), waits)
        with self.progress.task(f"encoding {what}", len(keys), f"{unit}s") as task:
            for first, (pixels, _) in zip(range(0, len(keys), together), loaded, strict=True):
                encoded, features = keys[first : first + together], self._features(pixels)
                for start in range(0, len(encoded), SHARD_VIEWS) if self.accelerator.is_main_process else ():
                    shard = encoded[start : start + SHARD_VIEWS]
                    self.cache.put(shard, features.map(itemgetter(slice(start, start + len(shard)))))
                task.advance(len(encoded))
        waited = sum(waits) / (time.perf_counter() - begun)
        done = counted(len(keys), unit)
        self.progress.note(f"encoded {done}, {waited:.0%} of the time waiting for decoded images")

    def _features(self, pixels: Tensor) -> ImageFeatures:
        """Of this process's images and then all others', padding last."""
        whole = pixels[torch.arange(ENCODED_TOGETHER) % len(pixels)]  # a last batch is filled up with its own images
        with memory_for(ENCODING_LESS):
            features = self.encoder(whole).map(itemgetter(slice(len(pixels))))
        return features.map(lambda tensor: self.accelerator.gather(tensor.float()).cpu())
