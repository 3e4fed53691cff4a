"""Which processes of a training see the same feature cache, and who of them has which images.

Processes that see the same folder are a machine here. Where all do, each has its share of every batch. Where folders
are apart, the images are divided among the machines once, by content: a machine encodes and reads its own part alone.
Axes: N images.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object

from mlrpl_cli.core.images.loading import PADDING, Index
from mlrpl_cli.core.io import files

T = TypeVar("T")


@dataclass(frozen=True)
class Machines:
    """The processes of a training, by the feature cache that they see."""

    leaders: tuple[int, ...] = (0,)
    """For each process, the first one that sees the same folder."""
    rank: int = 0
    """Of this process."""

    @cached_property
    def ranks(self) -> list[list[int]]:
        """The processes of each machine, ascending."""
        return [[rank for rank, own in enumerate(self.leaders) if own == leader] for leader in sorted({*self.leaders})]

    @cached_property
    def number(self) -> int:
        """Of this process's machine."""
        return sorted({*self.leaders}).index(self.leaders[self.rank])

    @property
    def own(self) -> list[int]:
        """The processes of this machine."""
        return self.ranks[self.number]

    @property
    def place(self) -> int:
        """Of this process among those of its machine."""
        return self.own.index(self.rank)

    @property
    def is_leader(self) -> bool:
        """Whether this process looks into the folder for its machine."""
        return self.place == 0

    @property
    def are_apart(self) -> bool:
        """Whether some see another folder than others."""
        return len(self.ranks) > 1

    def parts(self, images: int) -> list[int]:
        """How many of so many images each machine has: in proportion to its processes."""
        ends = np.cumsum([0, *map(len, self.ranks)]) * images // len(self.leaders)
        return np.diff(ends).tolist()

    def told(self, own: Any) -> list[Any]:
        """What each machine's leader says, in order, the same in every process; what others say is left out."""
        if len(self.leaders) == 1:
            return [own]
        return [said for leads, said in gather_object([(self.is_leader, own)]) if leads]

    def from_leader(self, own: Any) -> Any:
        """What the leader of this machine says."""
        found = own
        for processes in self.ranks:
            [said] = broadcast_object_list([own], from_process=processes[0])
            found = said if self.rank in processes else found
        return found

    def division(self, digests: Sequence[str]) -> Division:
        """Of images by the SHA-256 of their files: where one is does not depend on the order or on the seed."""
        if not self.are_apart:
            return Division(self)
        owners = np.empty(len(digests), np.int64)
        owners[np.argsort(np.array(digests, str), kind="stable")] = np.repeat(
            np.arange(len(self.ranks)), self.parts(len(digests))
        )
        return Division(self, owners)


def together(accelerator: Accelerator) -> Machines:
    """All processes as one machine."""
    return Machines((0,) * accelerator.num_processes, accelerator.process_index)


def find_machines(accelerator: Accelerator, folder: Path) -> Machines:
    """Which processes see the same `folder`, which is made where it is not there.

    Each leaves a file there and looks for the others'. Raises DataError where it cannot be written to.
    """
    if accelerator.num_processes == 1:
        return Machines()
    rank, processes = accelerator.process_index, accelerator.num_processes
    [token] = broadcast_object_list([secrets.token_hex(8)])
    marks = [folder / f".rank-{token}-{number}" for number in range(processes)]
    files.make_folder(folder)
    with files.writing(folder):
        marks[rank].touch()
    try:
        accelerator.wait_for_everyone()
        leaders = gather_object([next(number for number, mark in enumerate(marks) if mark.exists())])
        accelerator.wait_for_everyone()
    finally:
        marks[rank].unlink(missing_ok=True)
    return Machines(tuple(leaders), rank)


@dataclass(frozen=True)
class Division:
    """Who has which of N images."""

    machines: Machines
    owners: np.ndarray | None = None
    """(N,) the number of the machine that has each; None for one machine, which has all."""

    def own_of(self, images: Sequence[T]) -> Sequence[T]:
        """Those of the N images that this machine reads, in order.

        The first image is read by every machine: batches are filled up with it.
        """
        if self.owners is None:
            return images
        own = self.owners == self.machines.number
        return [image for number, image in enumerate(images) if own[number] or number == 0]

    def shares(self, indices: Sequence[Index], batch_size: int) -> Iterator[list[Index]]:
        """What this process has of each batch of `indices`, filled up so that all have as many.

        The batches are `indices` in order; of several machines, each contributes its own images in that order, in
        proportion to its part.
        """
        own, parts = self._own(indices), self._parts(indices)
        ranks, number, place = self.machines.ranks, self.machines.number, self.machines.place
        for first in range(0, len(indices), batch_size):
            bounds = [[min(part, end * part // len(indices)) for end in (first, first + batch_size)] for part in parts]
            each = max(-(-(end - start) // len(of)) for (start, end), of in zip(bounds, ranks, strict=True))
            start, end = bounds[number]
            batch = own[start:end]
            batch += [self._padding] * (each * len(ranks[number]) - len(batch))
            yield batch[place * each : (place + 1) * each]

    def dealt(self, indices: Sequence[Index], batch_size: int) -> Iterator[tuple[list[Index], int]]:
        """Whole batches that this process has in turn, as one process would have them, and the largest of each turn.

        Who has none left in a turn has padding.
        """
        own, parts = self._own(indices), self._parts(indices)
        ranks, number, place = self.machines.ranks, self.machines.number, self.machines.place
        turns = max(-(-part // (batch_size * len(of))) for part, of in zip(parts, ranks, strict=True))
        for turn in range(turns):
            left = (part - turn * len(of) * batch_size for part, of in zip(parts, ranks, strict=True))
            start = (turn * len(ranks[number]) + place) * batch_size
            yield own[start : start + batch_size] or [self._padding], min(max(left), batch_size)

    @property
    def _padding(self) -> Index:
        """The last image, or the first one of those of several machines, at a position below 0."""
        return PADDING if self.owners is None else (-len(self.owners), 0)

    def _own(self, indices: Sequence[Index]) -> list[Index]:
        if self.owners is None:
            return list(indices)
        return [index for index in indices if self.owners[index[0]] == self.machines.number]

    def _parts(self, indices: Sequence[Index]) -> list[int]:
        if self.owners is None:
            return [len(indices)]
        owners = self.owners[[position for position, _ in indices]]
        return np.bincount(owners, minlength=len(self.machines.ranks)).tolist()
