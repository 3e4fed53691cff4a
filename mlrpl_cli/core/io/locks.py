"""Locks between processes, on files and folders as they are: the system lets go of them when their holder ends."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mlrpl_cli.core.io.errors import DataError

try:
    import fcntl
except ImportError:  # Windows: nothing is locked, and nothing counts as abandoned
    fcntl = None  # type: ignore[assignment]


@contextmanager
def locked(path: Path, when_waiting: Callable[[], None]) -> Iterator[None]:
    """Hold `path`, an existing file or folder, after waiting for whoever holds it, where the file system has locks."""
    hold = _opened(path)
    try:
        if not _lock(hold, wait=False):
            when_waiting()
            _lock(hold, wait=True)
        yield
    finally:
        release(hold)


@contextmanager
def sole_writer(folder: Path, advice: str) -> Iterator[None]:
    """Hold an existing folder against other processes of mlrpl. Raises DataError when one of them has it."""
    hold = _opened(folder)
    try:
        if not _lock(hold, wait=False):
            raise DataError(f"another process is writing to {folder}; wait until it ends, or {advice}")
        yield
    finally:
        release(hold)


def hold_new(make: Callable[[], Path]) -> tuple[Path, int]:
    """What `make` makes, and the hold on it. What another process took for abandoned meanwhile is made again."""
    while True:
        path = make()
        with suppress(FileNotFoundError):
            hold = _opened(path)
            _lock(hold, wait=True)
            if path.exists():
                return path, hold
            release(hold)


def release(hold: int) -> None:
    """Let go of what `hold_new` held."""
    if hold in _held:
        _held.remove(hold)
        os.close(hold)


@contextmanager
def held_if_free(path: Path) -> Iterator[bool]:
    """Hold `path` if no other process does; False when one does, and where that cannot be known."""
    try:
        hold = _opened(path)
    except OSError:
        yield False
        return
    try:
        yield _lock(hold, wait=False, unknown=False)
    finally:
        release(hold)


def _opened(path: Path) -> int:
    # Windows opens no folders; and a pipe, opened without a writer, would wait for one.
    hold = os.open(os.devnull, os.O_RDONLY) if fcntl is None else os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    _held.add(hold)
    return hold


def _lock(hold: int, wait: bool, unknown: bool = True) -> bool:
    """False when another process holds it; `unknown` where nothing can be locked."""
    if fcntl is None:
        return unknown
    try:
        fcntl.flock(hold, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return unknown  # a file system without locks, such as some network ones
    return True


def _release_all() -> None:
    """A forked process must not go on holding what only its parent wrote to."""
    for hold in list(_held):
        release(hold)


_held: set[int] = set()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_release_all)
