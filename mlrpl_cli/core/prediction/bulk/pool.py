"""Workers on a cluster, of which any may be lost at any moment.

Why not Ray Data, which streams batches through a pool of actors as this does: its blocks are cut as they come, so that
files have other names and contents each time and a job that was stopped cannot tell what is missing. Here a part is the
same images whenever the job is started, and its file says that it is done.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import islice
from typing import Any

from mlrpl_cli.core.cluster.connection import MOST_LOSSES, cause_of, check_interrupt, said
from mlrpl_cli.core.io.errors import DataError
from mlrpl_cli.core.io.progress import Progress

AHEAD = 2
"""Parts that a worker has at one time: one under way, and the next, so that it does not wait for it."""
WAITING = 60.0
"""Seconds without any worker until that is said, and between two times that it is."""


class Pool:
    """Workers that do tasks, each task until it is done once."""

    def __init__(self, ray: Any, kind: type, count: int, resources: Mapping[str, float], progress: Progress) -> None:
        """`kind` is the workers' class; each takes `resources`, and starts when the cluster has them."""
        self._ray, self._count, self._progress = ray, count, progress
        self._make = ray.remote(kind).options(max_restarts=0, **resources).remote
        self._starting: dict[Any, Any] = {}
        self._running: dict[Any, tuple[Any, int]] = {}
        self._ready: list[Any] = []
        self._losses: Counter[int | None] = Counter()

    def run(
        self, numbers: Iterable[int], begin: Callable[[Any], Any], do: Callable[[Any, int], Any]
    ) -> Iterator[tuple[int, Any]]:
        """(number, result) of each task, in the order in which they are done.

        `begin(worker)` makes a worker ready and `do(worker, number)` starts a task there; both return Ray's reference
        to what comes of it. A task whose worker is lost, alone or with its machine, is given to another one.
        Raises what they raise, and DataError for a task that is lost again and again.
        """
        rest, waiting = iter(numbers), deque[int]()
        while True:
            while len(self._starting) + len(self._ready) < self._count:
                worker = self._make()
                self._starting[begin(worker)] = worker
            free = [worker for worker in self._ready for _ in range(AHEAD - self._tasks_of(worker))]
            waiting.extend(islice(rest, max(len(free) - len(waiting), 1 - len(waiting), 0)))
            for worker, number in zip(free, list(waiting), strict=False):
                self._running[do(worker, number)] = worker, waiting.popleft()
            if not self._running and not waiting:
                return
            yield from self._next(waiting)

    def _next(self, waiting: deque[int]) -> Iterator[tuple[int, Any]]:
        """Wait for something to happen: a result, a worker that is ready, or one that is lost."""
        references = [*self._running, *self._starting]
        done, _ = self._ray.wait(references, num_returns=1, timeout=WAITING)
        check_interrupt()
        if not done and not self._running:
            self._progress.note("waiting for Ray to start a worker: the cluster has no CPU or GPU free")
        for reference in done:
            try:
                result = self._ray.get(reference)
            except self._ray.exceptions.RayTaskError as error:
                raise cause_of(error) from error
            except self._ray.exceptions.RayError as error:
                yield from self._lose(reference, waiting, error)
                continue
            if reference in self._starting:
                self._ready.append(self._starting.pop(reference))
            else:
                self._losses.pop(None, None)  # there are workers that do their work
                yield self._running.pop(reference)[1], result

    def _lose(self, reference: Any, waiting: deque[int], error: Exception) -> Iterator[tuple[int, Any]]:
        """Forget the worker of a reference: what it had done all the same counts, and the rest is to be done again."""
        worker = self._starting[reference] if reference in self._starting else self._running[reference][0]
        with suppress(Exception):
            self._ray.kill(worker)
        self._starting = {other: of for other, of in self._starting.items() if of is not worker}
        self._ready = [other for other in self._ready if other is not worker]
        had = {other: number for other, (of, number) in self._running.items() if of is worker}
        self._running = {other: task for other, task in self._running.items() if other not in had}
        lost = list[int]()
        for other, number in had.items():
            try:
                yield number, self._ray.get(other, timeout=WAITING)
            except self._ray.exceptions.RayTaskError as failed:
                raise cause_of(failed) from failed
            except self._ray.exceptions.RayError:
                lost.append(number)
        waiting.extendleft(reversed(lost))
        self._progress.note(f"a worker was lost, and another one does its work: {said(error)}")
        self._count_loss(lost[0] if lost else None, error)  # that one was under way, the others waited

    def _count_loss(self, number: int | None, error: Exception) -> None:
        """Raise DataError for a task that was lost too often, and where workers are lost before they have one."""
        self._losses[number] += 1
        if self._losses[number] >= MOST_LOSSES * (self._count if number is None else 1):
            what = "workers were" if number is None else f"part {number} was"
            times = f"{self._losses[number]} times with the process that had it"
            advice = f"as without enough memory; lower --batch-size or --ray-workers. Ray says: {said(error)}"
            raise DataError(f"{what} lost {times}, {advice}")

    def _tasks_of(self, worker: Any) -> int:
        return sum(of is worker for of, _ in self._running.values())
