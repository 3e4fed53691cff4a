"""Images as tensors, whole or as random views, decoded by worker processes; seed and epoch alone decide which."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_convert
from torch.utils.data._utils import signal_handling

from mlrpl_cli.core.images.decode import BICUBIC, RESAMPLINGS, load_pixels, open_image
from mlrpl_cli.core.io.devices import derive_seed, make_generator
from mlrpl_cli.core.io.errors import DataError
from mlrpl_cli.core.io.processes import QUIET_PROCESSES

Index = tuple[int, int]
"""Position of an image and number of its view."""
PADDING: Index = (-1, 0)
"""The last image once more, so that all processes have as many in a batch. A position below 0 counts in no loss and in
no score."""
Range = tuple[float, float]
T = TypeVar("T")


class ImageViews(Dataset[tuple[Tensor, int]]):
    """(3, S, S) uint8 pixels and the position of each image; view 0 is plain, every other a random crop and flip."""

    def __init__(
        self,
        paths: Sequence[Path],
        size: int,
        seed: int = 0,
        names: Sequence[str] | None = None,
        allow_truncated: bool = False,
        resampling: str = BICUBIC,
    ) -> None:
        """A random view depends on the seed, the number of the view and the image's name, by default its position.

        With `allow_truncated`, JPEGs may lack their last bytes. `resampling` is "bicubic" or "bilinear".
        """
        self.paths, self.size, self.seed, self.allow_truncated = list(paths), size, seed, allow_truncated
        self.resampling = resampling
        self.names = [str(position) for position in range(len(paths))] if names is None else list(names)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: Index) -> tuple[Tensor, int]:
        position, view = index
        path = self.paths[position]
        if view == 0:
            pixels = load_pixels(path, self.size, self.allow_truncated, self.resampling)
        else:
            random = np.random.default_rng(derive_seed(self.seed, "view", view, self.names[position]))
            image = open_image(path, 2 * self.size, self.allow_truncated)
            pixels = random_view(image, self.size, random, resampling=self.resampling)
        return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))), position


def random_view(
    image: Image,
    size: int,
    rng: np.random.Generator,
    scale: Range = (0.25, 1.0),
    ratio: Range = (3 / 4, 4 / 3),
    resampling: str = BICUBIC,
) -> np.ndarray:
    """(size, size, 3) uint8: a random part of an RGB image, resized by `resampling`; half of them mirrored.

    The part's share of the area is uniform in `scale`, the logarithm of its aspect uniform in `ratio`. The default
    scale is that of the laboratory's crops (sides of 256 to 512 in 512). `rng` is the only source of randomness.
    """
    width, height = image.width, image.height
    for _ in range(10):
        area = width * height * rng.uniform(*scale)
        aspect = math.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1])))
        w, h = max(1, round(math.sqrt(area * aspect))), max(1, round(math.sqrt(area / aspect)))
        if w <= width and h <= height:
            left, top = int(rng.random() * (width - w + 1)), int(rng.random() * (height - h + 1))
            break
    else:  # none of these fits: the largest part in the middle
        w, h = max(1, min(width, round(height * ratio[1]))), max(1, min(height, round(width / ratio[0])))
        left, top = (width - w) // 2, (height - h) // 2
    pixels = np.array(image.resize((size, size), RESAMPLINGS[resampling], box=(left, top, left + w, top + h)))
    return pixels[:, ::-1] if rng.random() < 0.5 else pixels


def shuffled(images: int, views: int, seed: int, epoch: int) -> list[Index]:
    """Every image once, in an order and in views that depend on the seed and the epoch (1, 2, …) alone.

    A view is one of `views` stored ones, or, where that is 0, one of this epoch's own.
    """
    order = torch.randperm(images, generator=make_generator(seed, "order", epoch)).tolist()
    if not views:
        return [(position, epoch) for position in order]
    drawn = torch.randint(views, (images,), generator=make_generator(seed, "stored view", epoch)).tolist()
    return [(position, drawn[position]) for position in order]


def shares(indices: Sequence[Index], batch_size: int, rank: int = 0, processes: int = 1) -> Iterator[list[Index]]:
    """What one of several processes has of each batch: equal shares, the last ones filled up with PADDING."""
    for start in range(0, len(indices), batch_size):
        batch = list(indices[start : start + batch_size])
        batch += [PADDING] * (-len(batch) % processes)
        each = len(batch) // processes
        yield batch[rank * each : (rank + 1) * each]


def load(dataset: Dataset[Any], batches: Iterable[list[Index]], workers: int, pinned: bool = False) -> Iterator[Any]:
    """The `batches` of a data set, read ahead by worker processes, or by a thread where there are none.

    With `pinned`, in memory that CUDA copies from while it computes. Raises DataError in one line for an image that
    cannot be read, and when a worker process was killed.
    """
    context = QUIET_PROCESSES if workers else None
    collate = default_convert if hasattr(dataset, "__getitems__") else None
    options: Any = {"num_workers": workers, "multiprocessing_context": context, "pin_memory": pinned}
    loader = DataLoader(dataset, batch_sampler=batches, collate_fn=collate, **options)
    # PyTorch's handler of SIGCHLD would raise an error for a worker's end wherever this process is just then, so also
    # while it ends itself upon a SIGTERM to all. Without the handler PyTorch sees within seconds that a worker is gone.
    before, signal_handling._SIGCHLD_handler_set = signal_handling._SIGCHLD_handler_set, True
    try:
        try:
            loaded = iter(loader) if workers else ahead(loader)
        finally:
            signal_handling._SIGCHLD_handler_set = before
        yield from loaded
    except DataError as error:
        # PyTorch puts the worker's whole traceback into the message; its last line is the error itself.
        last = str(error).rstrip().splitlines()[-1]
        raise DataError(last.removeprefix(f"{DataError.__module__}.{DataError.__name__}: ")) from None
    except RuntimeError as error:
        if "DataLoader worker" not in str(error) and "shared memory" not in str(error):
            raise
        killed = "a process that decodes images was killed, as happens without enough memory or shared memory"
        raise DataError(f"{killed}; lower --workers (0 decodes in the training process)") from error


def ahead(items: Iterable[T]) -> Iterator[T]:
    """`items`, each made by a thread while the one before is in use."""
    iterator = iter(items)
    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(next, iterator, None)
        while (item := coming.result()) is not None:
            coming = thread.submit(next, iterator, None)
            yield item


def timed(items: Iterable[T], waits: list[float]) -> Iterator[T]:
    """`items`; how long each was waited for, in seconds, is added to `waits`."""
    asked = time.perf_counter()
    for item in items:
        waits.append(time.perf_counter() - asked)
        yield item
        asked = time.perf_counter()
