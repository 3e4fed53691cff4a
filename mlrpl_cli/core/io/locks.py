"""Locks between processes, by `filelock`: the system takes a lock away when its holder ends, however it ends.

A lock is a file, which goes when the work is done. A forked child does not hold what its parent does.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from mlrpl_cli.core.io.errors import DataError

LOCK = ".lock"
"""Name of the lock file in a folder that one process writes to."""
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
"""What some network file systems answer."""


@contextmanager
def held(path: Path, when_waiting: Callable[[], None] | None = None) -> Iterator[bool | None]:
    """Hold the lock file `path`: True; None where the file system has no locks; False when another process has it.

    With `when_waiting`, which is called then, the other process is waited for. Raises DataError when the file cannot be
    made.
    """
    lock = FileLock(path, fallback_to_soft=False)  # a file that only exists would outlive a killed process
    mine = _acquire(lock)
    if mine is False and when_waiting is not None:
        when_waiting()
        mine = _acquire(lock, wait=True)
    try:
        yield mine
    finally:
        if mine is not False:
            with suppress(OSError):  # Windows removes it itself, when it is released
                path.unlink()  # while it is held: whoever waits for it sees that it is gone, and makes a new one
            lock.release()


@contextmanager
def sole_writer(folder: Path, advice: str) -> Iterator[None]:
    """Hold an existing folder against other processes of mlrpl. Raises DataError when one of them has it."""
    with held(folder / LOCK) as mine:
        if mine is False:
            raise DataError(f"another process is writing to {folder}; wait until it ends, or {advice}")
        yield


def _acquire(lock: FileLock, wait: bool = False) -> bool | None:
    try:
        lock.acquire(blocking=wait)
    except (Timeout, FileNotFoundError):  # its folder has gone: another process has just removed it
        return False
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return None
        folder = Path(lock.lock_file).parent
        raise DataError(f"cannot write {folder}: {error.strerror}; choose another place or free this one") from error
    return True
