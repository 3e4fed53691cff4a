"""Filling the feature cache: every view that it lacks is encoded, once, whoever asks."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch import Tensor

from mlrpl_cli.core.backbones.features import ImageFeatures
from mlrpl_cli.core.backbones.frozen import FrozenEncoder
from mlrpl_cli.core.config import FLOAT16, TrainConfig
from mlrpl_cli.core.features import cache as feature_cache
from mlrpl_cli.core.features.batches import CachedViews
from mlrpl_cli.core.features.cache import SHARD_VIEWS, FeatureCache, ViewKey, view_keys
from mlrpl_cli.core.features.machines import Machines, together
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
    machines: Machines | None = None
    """Which processes see the same cache; None: all."""

    @property
    def dtype(self) -> str:
        """Number format of the cache."""
        return self.config.cache_dtype or FLOAT16

    @cached_property
    def cache(self) -> FeatureCache:
        """The part of the feature cache that holds what this encoder computes."""
        encoder, dtype = self.encoder, self.dtype
        key = feature_cache.encoder_key(encoder.fingerprint, encoder.image_size, str(encoder.dtype), dtype)
        return FeatureCache(Path(self.config.cache or feature_cache.CACHE) / key, dtype)

    def problem(self, training: int, plain: int) -> str | None:
        """Why cache_gib does not allow the views of so many training images, and one of each of the `plain` ones."""
        needed, limit = self._bytes(self._held(training, plain)), self.config.cache_gib
        if needed <= limit * reading.GIB:
            return None
        return f"the features need {needed / reading.GIB:.3g} GiB, more than cache_gib {limit:g}"

    def lacks(self, training: Sequence[Path], plain: Sequence[Path]) -> str | None:
        """`problem` of these images, or that the disk of some machine has no room for what is not there yet."""
        if problem := self.problem(len(training), len(plain)):
            return problem
        machines, lack = self._machines, None
        if not any(machines.told(self._no_room(self._held(len(training), len(plain))))):
            return None
        sides = [(self._digests(training), self.config.views), (self._digests(plain), 1)]
        if machines.is_leader:
            keys = [key for digests, views in sides for key in self._own_keys(digests, views)]
            lack = self._no_room(len(self.cache.missing(keys)))
        return next(filter(None, machines.told(lack)), None)

    def _held(self, training: int, plain: int) -> int:
        """Views that the largest part of such images has."""
        return max(self._machines.parts(training)) * self.config.views + max(self._machines.parts(plain))

    def fill(self, paths: Sequence[Path], views: int, what: str = "training images") -> CachedViews:
        """Encode those of the `views` views of each image that the cache lacks: of several machines, each its part.

        A call that is stopped has stored all but the last few, and the next one goes on from there.
        Raises DataError when the disk has no room for them, and for an image that holds other bytes on this machine.
        """
        machines, digests = self._machines, self._digests(paths)
        keys = self._own_keys(digests, views)
        missing: Any = None
        if machines.is_leader:  # one process looks, since others may see more later
            for place in (self.cache.folder, self.cache.folder.parent):
                files.remove_abandoned(place)  # a run that lacks nothing writes nothing, and so would leave it there
            lacking = {*self.cache.missing(keys)}
            missing = np.flatnonzero([key in lacking for key in keys])
            if lacking:
                self._make_room(len(lacking))
        missing = [keys[place] for place in machines.from_leader(missing)]
        if missing:
            images = dict(zip(digests, paths, strict=True))
            self._check_content(missing, images)
            self._encode(missing, images, what, "view" if views > 1 else "image")
        self.accelerator.wait_for_everyone()
        division = machines.division(digests)
        found = CachedViews(self.cache, digests, views, self.encoder.dtype, division)
        if machines.is_leader:
            self.cache.believe(self._shards_of_others(missing))
            found.found()
        self.accelerator.wait_for_everyone()  # the others find remembered what it looked for in the files
        return found if machines.is_leader else found.found()

    @property
    def _machines(self) -> Machines:
        return self.machines or together(self.accelerator)

    def _digests(self, paths: Sequence[Path]) -> list[str]:
        """SHA-256 of each image, as the main process sees it."""
        digests: list[str] = []
        if self.accelerator.is_main_process:
            workers = devices.decoding_workers(self.config.workers)
            digests = feature_cache.image_digests(paths, workers, self.cache.folder.parent)
        [digests] = broadcast_object_list([digests])
        return digests

    def _own_keys(self, digests: Sequence[str], views: int) -> list[ViewKey]:
        """Those that this machine keeps, each once."""
        return [*dict.fromkeys(view_keys(self._machines.division(digests).own_of(digests), views))]

    def bytes_per_view(self, dtype: str) -> int:
        """What a view takes in a number format."""
        module = self.encoder.module
        return feature_cache.bytes_per_view(self.encoder.grid_side**2, module.channels, module.embed_dim, dtype)

    def _bytes(self, views: int) -> int:
        return views * self.bytes_per_view(self.dtype)

    def _no_room(self, views: int) -> str | None:
        """Why so many views cannot be added to those on the disk, or None."""
        folder, needed = self.cache.folder, self._bytes(views)
        free = files.free_bytes(folder)
        if needed <= free:
            return None
        return f"the feature cache {folder.parent} needs {in_words(needed)} more and its disk has {in_words(free)}"

    def _make_room(self, views: int) -> None:
        """Delete damaged shards; raises DataError when the disk has no room for so many views."""
        if problem := self._no_room(views):
            advice = "free some, or --set cache=FOLDER on another disk"
            raise DataError(f"{problem}; {advice}")
        if damaged := self.cache.damaged:
            names = first_few(path.name for path in damaged)
            again = f"{len(damaged)} damaged ({names}): encoding their images again"
            self.progress.warn(f"{self.cache.folder}: {again}")
            for path in damaged:
                path.unlink(missing_ok=True)

    def _check_content(self, keys: Sequence[ViewKey], images: Mapping[str, Path]) -> None:
        """Raise DataError where an image that this process encodes is not the one that the main process has.

        Nothing remembered is believed: processes that see one cache may have a copy of the images each.
        """
        if self.accelerator.is_main_process:
            return
        own = (keys[n] for batch in self._batches(len(keys), self._machines.place) for n in batch)
        wanted = [*dict.fromkeys(key.rpartition("-")[0] for key in own)]
        paths = [images[digest] for digest in wanted]
        found = feature_cache.image_digests(paths, devices.decoding_workers(self.config.workers))
        if other := [path for path, own, digest in zip(paths, found, wanted, strict=True) if own != digest]:
            of = f"{counted(len(other), 'image')} ({first_few(other)})"
            raise DataError(f"{of} hold other bytes here than on the first machine; copy the data set there again")

    def _encode(self, keys: Sequence[ViewKey], images: Mapping[str, Path], what: str, unit: str) -> None:
        """Encode this process's share of the views `keys` of `images`, which are by their digests, and write it.

        `what` and `unit` are what progress calls them: a view is an image where there is one of each.
        """
        views = [(images[digest], int(view)) for digest, _, view in (key.rpartition("-") for key in keys)]
        paths, size = [path for path, _ in views], self.encoder.image_size
        dataset = ImageViews(paths, size, 0, keys, self.allow_truncated, self.encoder.rule.resampling)
        batches = [[(n, views[n][1]) for n in batch] for batch in self._batches(len(keys), self._machines.place)]
        workers, waits, begun = devices.decoding_workers(self.config.workers), list[float](), time.perf_counter()
        loaded = timed(load(dataset, batches, workers, self.encoder.device.type == "cuda"), waits)
        together = ENCODED_TOGETHER * len(self._machines.own)
        with self.progress.task(f"encoding {what}", len(keys), f"{unit}s") as task:
            # Another process may have a batch more than this one.
            for (pixels, _), batch, first in zip(loaded, batches, range(0, len(keys), together), strict=False):
                features = self._features(pixels)
                for start in range(0, len(batch), SHARD_VIEWS):
                    shard = [keys[n] for n, _ in batch[start : start + SHARD_VIEWS]]
                    self.cache.put(shard, features.map(itemgetter(slice(start, start + len(shard)))))
                task.advance(min(together, len(keys) - first))
        waited = sum(waits) / (time.perf_counter() - begun)
        done = counted(len(keys), unit)
        self.progress.note(f"encoded {done}, {waited:.0%} of the time waiting for decoded images")

    def _batches(self, views: int, place: int) -> list[list[int]]:
        """Which of so many views a process of this machine encodes at once; one may have a batch less than another."""
        of = len(self._machines.own)
        found = shares([(n, 0) for n in range(views)], ENCODED_TOGETHER * of, place, of)
        return [own for batch in found if (own := [n for n, _ in batch if n >= 0])]

    def _shards_of_others(self, keys: Sequence[ViewKey]) -> Iterator[list[ViewKey]]:
        """The keys of each shard of `keys` that another process of this machine has written just now."""
        machines = self._machines
        for place in set(range(len(machines.own))) - {machines.place}:
            for batch in self._batches(len(keys), place):
                yield from ([keys[n] for n in batch[s : s + SHARD_VIEWS]] for s in range(0, len(batch), SHARD_VIEWS))

    def _features(self, pixels: Tensor) -> ImageFeatures:
        """(B, …) on the CPU, in float32."""
        whole = pixels[torch.arange(ENCODED_TOGETHER) % len(pixels)]  # a last batch is filled up with its own images
        with memory_for(ENCODING_LESS):
            features = self.encoder(whole).map(itemgetter(slice(len(pixels))))
        return features.map(lambda tensor: tensor.float().cpu())
