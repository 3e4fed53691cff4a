"""A connection to Ray, made for one job and ended with it. No other module imports Ray."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from types import FrameType
from typing import Any

from mlrpl_cli import __version__
from mlrpl_cli.core.io.errors import ConfigError, MlrplError, RunError, counted, one_line
from mlrpl_cli.core.io.processes import without_interrupts
from mlrpl_cli.core.io.progress import Progress

SPARE_CPUS = 1
"""CPUs that no worker takes: Ray has tasks of its own, and a cluster without one left waits for ever."""
MOST_LOSSES = 4
"""Times that a piece of work may be lost with its process: more is no accident."""
STORE_BYTES = 512 << 20
"""Memory that a Ray of this job's own shares between its processes: a few parts."""
SECONDS_TO_ANSWER = 10.0
"""Of the machine that a cluster's address names."""
LONGEST_SAID = 200
"""Characters of what Ray says that a line shows."""
_interrupted = threading.Event()
_QUIET = {"RAY_USAGE_STATS_ENABLED": "0"}
"""Nothing is sent to anyone."""
_ALONE = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""Has a Ray listen on the loopback address, as on Windows so on Linux: who reaches one can have it run code."""


@contextmanager
def cluster(address: str | None, cpus: int) -> Iterator[Any]:
    """Ray, connected to a cluster or begun on this machine with so many CPUs, and shut down after that.

    Raises ConfigError where Ray is not installed and where there is no cluster at `address`.
    """
    before = dict(os.environ)
    os.environ.update(_QUIET)
    if address is None:
        os.environ.pop("RAY_ADDRESS", None)  # for what Ray starts reads it, too
        os.environ.update(_ALONE)
    try:
        ray = _imported()
        own = {"address": "local", "num_cpus": cpus, "object_store_memory": STORE_BYTES}
        quiet = {
            "log_to_driver": False,
            "logging_level": "ERROR",
            "include_dashboard": False if address is None else None,
        }
        # So that Ctrl-C ends this process, and it ends the others.
        with _own_handlers(), without_interrupts(), _alone(ray, address is None):
            _check_listening(address)
            try:
                ray.init(**({"address": address} if address else own), **quiet)
            except Exception as error:
                where = f"connect to Ray at {address}" if address else "start Ray"
                raise ConfigError(f"cannot {where}: {one_line(error)}; check --ray-address") from error
        try:
            with _silent(ray), _noting_signals():
                yield ray
        finally:
            ray.shutdown()
    finally:
        for name in set(os.environ) - set(before):  # Ray leaves some of its own, too
            del os.environ[name]
        os.environ.update(before)


def check_cluster(address: str | None) -> None:
    """Raise ConfigError now, before long work, where Ray is not installed or nobody answers at `address`."""
    _imported()
    _check_listening(address)


def _check_listening(address: str | None) -> None:
    """Raise ConfigError where nobody listens at HOST:PORT, for which Ray would wait for minutes."""
    host, _, port = (address or "").rpartition("://")[2].rpartition(":")
    if not (host and port.isdecimal()):
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=SECONDS_TO_ANSWER).close()
    except (OSError, OverflowError) as error:
        raise ConfigError(f"cannot connect to Ray at {address}: {one_line(error)}; check --ray-address") from error


def resources(ray: Any) -> tuple[int, int]:
    """(CPUs, GPUs) of the cluster, as far as they are known now."""
    found = ray.cluster_resources()
    return int(found.get("CPU", 0)), int(found.get("GPU", 0))


@dataclass(frozen=True)
class Room:
    """What a cluster has for workers of one kind."""

    ray: Any
    on_gpu: bool
    """Whether each takes a GPU."""
    each: Mapping[str, float]
    """What each takes, as Ray's options name it."""
    workers: int
    """How many were asked for, or have room now."""


@contextmanager
def room(address: str | None, device: str, threads: int, workers: int | None, progress: Progress) -> Iterator[Room]:
    """Ray, with room for `workers` of so many CPUs each, by default for as many as there are; as `cluster`.

    `device` is "cpu", "cuda", or "auto" for GPUs where the cluster has some. Raises ConfigError where none can ever
    begin, besides.
    """
    own = workers or max(_usable_cpus() // threads, 1)
    with cluster(address, own * threads + SPARE_CPUS) as ray:
        cpus, gpus = resources(ray)
        on_gpu = device == "cuda" or (device == "auto" and gpus > 0)
        _check_room(ray, threads, int(on_gpu), address is None, progress)
        most = workers or max(gpus if on_gpu else (cpus - SPARE_CPUS) // threads, 1)
        yield Room(ray, on_gpu, {"num_cpus": threads, "num_gpus": int(on_gpu)}, most)


def _check_room(ray: Any, cpus: int, gpus: int, own: bool, progress: Progress) -> None:
    """Raise ConfigError where no machine of a Ray of this command's `own` has so many; of a cluster say so and wait.

    A cluster may get such a machine later.
    """
    machines = [machine["Resources"] for machine in ray.nodes() if machine["Alive"]]
    if any(machine.get("CPU", 0) >= cpus and machine.get("GPU", 0) >= gpus for machine in machines):
        return
    need = counted(cpus, "CPU") + (f" and {counted(gpus, 'GPU')}" if gpus else "")
    if own:
        raise ConfigError(f"Ray finds no {need} on this machine; lower --ray-threads, or use --device cpu")
    progress.note(f"no machine of the cluster has {need}, which each worker takes; waiting for one")


def check_version(expected: str) -> None:
    """Raise RunError where this machine's mlrpl is another one than the command's."""
    if __version__ != expected:
        raise RunError(
            f"{socket.gethostname()} has mlrpl {__version__}, and the command is of {expected}; install that there"
        )


def _usable_cpus() -> int:
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class Folder:
    """The current folder of the command, from which relative paths lead; workers of a cluster begin in another one."""

    path: str = field(default_factory=os.getcwd)
    needed: bool = False
    """Whether such a path is known to be there."""

    def enter(self) -> None:
        """Go there, where this machine has it. Raises RunError where it has not and it is needed."""
        try:
            os.chdir(self.path)
        except OSError as error:
            if self.needed:
                told = f"{socket.gethostname()} cannot enter {self.path}, from which the images' paths lead"
                raise RunError(
                    f"{told}: {error.strerror}; give it the images at the same paths, or name them by addresses"
                ) from error


def cause_of(error: Any) -> Exception:
    """What code of ours raised in a worker, or RunError with what another error says in one line."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, MlrplError | MemoryError):
        return cause
    if isinstance(cause, Exception):
        return RunError(f"a worker failed: {type(cause).__name__}: {one_line(cause)}")
    return RunError(f"a worker failed: {one_line((str(error).strip().splitlines() or ['?'])[-1])}")


def said(error: Exception) -> str:
    """The beginning of what Ray says of a lost process, on one line."""
    return one_line(error)[:LONGEST_SAID]


def _imported() -> Any:
    try:
        import ray
    except ImportError as error:
        raise ConfigError("--engine ray needs Ray; pip install 'mlrpl[ray]'") from error
    return ray


@contextmanager
def _alone(ray: Any, own: bool) -> Iterator[None]:
    """For a Ray of this command's own, what `_ALONE` says to processes that import Ray later than this one did."""
    constants = ray._private.ray_constants
    before = constants.ENABLE_RAY_CLUSTER
    constants.ENABLE_RAY_CLUSTER = before and not own
    try:
        yield
    finally:
        constants.ENABLE_RAY_CLUSTER = before


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


@contextmanager
def _noting_signals() -> Iterator[None]:
    """What comes by this program's own handlers of signals in the block is noted for `check_interrupt`."""
    _interrupted.clear()
    with ExitStack() as restoring:
        main_thread = threading.current_thread() is threading.main_thread()
        for number in (signal.SIGINT, signal.SIGTERM) if main_thread else ():
            if callable(handler := signal.getsignal(number)):
                restoring.callback(signal.signal, number, signal.signal(number, partial(_noted, handler)))
        yield


def _noted(handler: Callable[..., Any], number: int, frame: FrameType | None) -> None:
    _interrupted.set()
    handler(number, frame)


def check_interrupt() -> None:
    """Raise KeyboardInterrupt where a signal came. To be called again and again while Ray is waited for.

    What a handler raises in the midst of Ray's code, as where it lets go of a reference, is lost there.
    """
    if _interrupted.is_set():
        raise KeyboardInterrupt
