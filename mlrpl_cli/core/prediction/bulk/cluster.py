"""Ray: a cluster, and workers on it that may be lost at any moment. No other module imports it.

Why not Ray Data, which streams batches through a pool of actors as this does: its blocks are cut as they come, so that
files have other names and contents each time and a job that was stopped cannot tell what is missing. Here a part is the
same images whenever the job is started, and its file says that it is done.
"""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import islice
from typing import Any

from mlrpl_cli.core.io.errors import ConfigError, DataError, MlrplError, one_line
from mlrpl_cli.core.io.processes import without_interrupts
from mlrpl_cli.core.io.progress import Progress

AHEAD = 2
"""Parts that a worker has at one time: one under way, and the next, so that it does not wait for it."""
MOST_LOSSES = 4
"""Times that a part may be lost with its worker: more is no accident."""
SPARE_CPUS = 1
"""CPUs that no worker takes: Ray has tasks of its own, and a cluster without one left waits for ever."""
WAITING = 60.0
"""Seconds without any worker until that is said, and between two times that it is."""
STORE_BYTES = 512 << 20
"""Memory that a Ray of this job's own shares between its processes: a few parts."""
_QUIET = {"RAY_USAGE_STATS_ENABLED": "0"}
"""Nothing is sent to anyone."""


@contextmanager
def cluster(address: str | None, cpus: int) -> Iterator[Any]:
    """Ray, connected to a cluster or begun on this machine with so many CPUs, and shut down after that.

    Raises ConfigError where Ray is not installed and where there is no cluster at `address`.
    """
    before = dict(os.environ)
    os.environ.update(_QUIET)
    try:
        ray = _imported()
        own = {"num_cpus": cpus, "object_store_memory": STORE_BYTES, "_node_ip_address": "127.0.0.1"}
        quiet = {
            "log_to_driver": False,
            "logging_level": "ERROR",
            "include_dashboard": False if address is None else None,
        }
        with _own_handlers(), without_interrupts():  # so that Ctrl-C ends this process, and it ends the others
            try:
                ray.init(**({"address": address} if address else own), **quiet)
            except Exception as error:
                where = f"connect to Ray at {address}" if address else "start Ray"
                raise ConfigError(f"cannot {where}: {one_line(error)}; check --ray-address") from error
        try:
            with _silent(ray):
                yield ray
        finally:
            ray.shutdown()
    finally:
        for name in set(os.environ) - set(before):  # Ray leaves some of its own, too
            del os.environ[name]
        os.environ.update(before)


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
        if not done and not self._running:
            self._progress.note("waiting for Ray to start a worker: the cluster has no CPU or GPU free")
        for reference in done:
            try:
                result = self._ray.get(reference)
            except self._ray.exceptions.RayTaskError as error:
                raise _cause(error) from error
            except self._ray.exceptions.RayError as error:
                yield from self._lose(reference, waiting, error)
                continue
            if reference in self._starting:
                self._ready.append(self._starting.pop(reference))
            else:
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
                raise _cause(failed) from failed
            except self._ray.exceptions.RayError:
                lost.append(number)
        waiting.extendleft(reversed(lost))
        self._progress.note(f"a worker was lost, and another one does its work: {one_line(error).partition('.')[0]}")
        self._count_loss(lost[0] if lost else None)  # that one was under way, the others waited

    def _count_loss(self, number: int | None) -> None:
        """Raise DataError for a task that was lost too often, and where workers are lost before they have one."""
        self._losses[number] += 1
        if self._losses[number] >= MOST_LOSSES * (self._count if number is None else 1):
            what = "workers were" if number is None else f"part {number} was"
            times = f"{self._losses[number]} times with the process that had it"
            raise DataError(f"{what} lost {times}, as without enough memory; lower --batch-size or --ray-workers")

    def _tasks_of(self, worker: Any) -> int:
        return sum(of is worker for of, _ in self._running.values())


def resources(ray: Any) -> tuple[int, int]:
    """(CPUs, GPUs) of the cluster, as far as they are known now."""
    found = ray.cluster_resources()
    return int(found.get("CPU", 0)), int(found.get("GPU", 0))


def _cause(error: Any) -> BaseException:
    """What the code of ours raised in a worker, or what Ray says of it."""
    cause = getattr(error, "cause", None)
    return cause if isinstance(cause, MlrplError | MemoryError | OSError) else error


def _imported() -> Any:
    try:
        import ray
    except ImportError as error:
        raise ConfigError("--engine ray needs Ray; pip install 'mlrpl[ray]'") from error
    return ray


@contextmanager
def _silent(ray: Any) -> Iterator[None]:
    """Keep what Ray says of lost processes off stdout, where results stand: `Pool` says it.

    Ray has no option for it; where a later one calls this otherwise, its lines come back, and nothing else.
    """
    module = ray._private.worker
    printing = getattr(module, "print_to_stdstream", None)
    module.print_to_stdstream = lambda *arguments, **options: None
    try:
        yield
    finally:
        module.print_to_stdstream = printing


@contextmanager
def _own_handlers() -> Iterator[None]:
    """Put back the handlers of signals that Ray sets in place of this program's."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
