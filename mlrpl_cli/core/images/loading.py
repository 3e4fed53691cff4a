"""Images as tensors, decoded by worker processes; the order and the views depend on seed and epoch alone."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler
from torch.utils.data._utils import signal_handling

from mlrpl_cli.core.images.decode import load_pixels, open_image, random_view
from mlrpl_cli.core.io.devices import derive_seed, make_generator
from mlrpl_cli.core.io.errors import DataError
from mlrpl_cli.core.io.processes import QUIET_PROCESSES

Item = tuple[Tensor, int]
T = TypeVar("T")


class ImageViews(Dataset[Item]):
    """(3, S, S) uint8 pixels and the position of each image; view 0 is plain, every other a random crop and flip."""

    def __init__(
        self, paths: Sequence[Path], size: int, seed: int = 0, view: int = 0, names: Sequence[str] | None = None
    ) -> None:
        """A random view depends on the seed, the number of the view and the image's name, by default its position."""
        self.paths, self.size, self.seed, self.view = list(paths), size, seed, view
        self.names = [str(position) for position in range(len(paths))] if names is None else list(names)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, position: int) -> Item:
        if self.view == 0:
            pixels = load_pixels(self.paths[position], self.size)
        else:
            random = np.random.default_rng(derive_seed(self.seed, "view", self.view, self.names[position]))
            pixels = random_view(open_image(self.paths[position], target=2 * self.size), self.size, random)
        return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))), position


class Positions(Dataset[int]):
    """The positions 0 … length-1 themselves, for features that are stored already."""

    def __init__(self, length: int) -> None:
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, position: int) -> int:
        return position


class EpochOrder(Sampler[int]):
    """A permutation that depends on the seed and the epoch alone, so that a resumed run sees the same batches."""

    def __init__(self, length: int, seed: int) -> None:
        self.length, self.seed, self.epoch = length, seed, 0

    def start(self, epoch: int) -> None:
        """Choose the permutation. Not called set_epoch, because Accelerate calls that with a count of its own."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[int]:
        generator = make_generator(self.seed, "order", self.epoch)
        return iter(torch.randperm(self.length, generator=generator).tolist())


def in_order(dataset: Dataset, batch_size: int, workers: int) -> DataLoader:
    """Every item once, in order."""
    return _loader(dataset, batch_size, workers)


def shuffled(dataset: Dataset, order: EpochOrder, batch_size: int, workers: int) -> DataLoader:
    """Whole batches in the order of the epoch; what is left over after the last whole one waits for another epoch."""
    return _loader(dataset, batch_size, workers, sampler=order, drop_last=True)


def _loader(dataset: Dataset, batch_size: int, workers: int, **options: Any) -> DataLoader:
    return DataLoader(
        dataset,
        batch_size,
        num_workers=workers,
        multiprocessing_context=QUIET_PROCESSES if workers else None,
        pin_memory=torch.cuda.is_available(),
        **options,
    )


def whole_batch(size: int, processes: int) -> int:
    """`size` rounded down to a multiple of the number of `processes`, and at least one image each."""
    return max(size // processes, 1) * processes


def batches_of(loader: DataLoader) -> Iterator[Any]:
    """The loader's batches. What a worker process found wrong with an image, or met its end by, is told in one line."""
    try:
        with _no_handler():
            batches = iter(loader)
            first = list(islice(batches, 1))
        yield from chain(first, batches)
    except DataError as error:
        # PyTorch puts the worker's whole traceback into the message; its last line is the error itself.
        last = str(error).rstrip().splitlines()[-1]
        raise DataError(last.removeprefix(f"{DataError.__module__}.{DataError.__name__}: ")) from None
    except RuntimeError as error:
        if "DataLoader worker" not in str(error) and "shared memory" not in str(error):
            raise
        raise DataError(
            "a process that decodes images was killed, as happens without enough memory or shared memory; "
            "lower --workers (0 decodes in the training process)"
        ) from error


@contextmanager
def _no_handler() -> Iterator[None]:
    """PyTorch installs no handler of SIGCHLD meanwhile.

    It would raise an error for a worker's end wherever this process is just then, so also while it ends itself upon a
    SIGTERM to all processes. Without it PyTorch sees within seconds that a worker is gone.
    """
    before = signal_handling._SIGCHLD_handler_set
    signal_handling._SIGCHLD_handler_set = True
    try:
        yield
    finally:
        signal_handling._SIGCHLD_handler_set = before


class Waiting:
    """How much of the time is spent waiting for the next item, over everything that went `through` it."""

    def __init__(self) -> None:
        self.seconds = self.total = 0.0

    @property
    def share(self) -> float:
        """In [0, 1]; near 0 the loader keeps up with what uses it."""
        return self.seconds / self.total if self.total else 0.0

    def through(self, items: Iterable[T]) -> Iterator[T]:
        """Yield from `items`."""
        iterator, nothing = iter(items), object()
        while True:
            asked = time.perf_counter()
            item = next(iterator, nothing)
            got = time.perf_counter()
            self.seconds += got - asked
            if item is nothing:
                self.total += got - asked
                return
            yield cast(T, item)
            self.total += time.perf_counter() - asked
