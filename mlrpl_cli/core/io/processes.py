"""Worker processes that end when the work does, however it ends: finished, interrupted, or killed with its process."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from typing import Any

from mlrpl_cli.core.io.own_process import own_process


@contextmanager
def process_pool(
    processes: int, initializer: Callable[..., None] | None = None, arguments: tuple[Any, ...] = ()
) -> Iterator[ProcessPoolExecutor]:
    """An executor over new Python processes, each made ready by `initializer(*arguments)`.

    Ctrl-C does not reach them. On an error, and when this process is killed, they end at once, in the middle of what
    they do; submit work inside `without_interrupts`.
    """
    context = multiprocessing.get_context("spawn")
    end, held = context.Pipe(duplex=False)
    with end, held:
        pool = ProcessPoolExecutor(processes, context, _begin, (end, initializer, arguments))
        try:
            yield pool
        except BaseException:
            held.close()
            raise
        finally:
            pool.shutdown(cancel_futures=True)


@contextmanager
def without_interrupts(*others: signal.Signals) -> Iterator[None]:
    """Processes that are started inside never receive Ctrl-C, not even before they can decide to ignore it.

    Nor any of the `others`, until they ask for them. What comes for this process meanwhile waits.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # starting it would lift the mask
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, *others})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_DEFAULT: Any = multiprocessing.get_context(multiprocessing.get_all_start_methods()[0])


class _QuietProcess(_DEFAULT.Process):
    """A process that does not hear of Ctrl-C. What arrives while it is started is not lost in the midst of that."""

    def start(self) -> None:
        with without_interrupts(signal.SIGTERM):
            super().start()

    def run(self) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # by which the library ends it
        # What threads that lend memory say when the borrower was interrupted; the work's own errors go another way.
        sys.excepthook = lambda *error: None
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        super().run()


class _QuietContext(type(_DEFAULT)):  # type: ignore[misc]
    Process = _QuietProcess


QUIET_PROCESSES: BaseContext = _QuietContext()
"""Makes the processes of a library that starts and ends them when it likes."""


def _begin(end: Connection, initializer: Callable[..., None] | None, arguments: tuple[Any, ...]) -> None:
    own_process()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(end,), daemon=True).start()
    if initializer is not None:
        initializer(*arguments)


def _end_with(end: Connection) -> None:
    """Wait until nobody holds the other end of the pipe: the work is over, or its process has gone."""
    with suppress(EOFError, OSError):
        end.recv()
    os._exit(1)
