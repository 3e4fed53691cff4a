"""Writing so that a killed process leaves either the old file or the new one, never half of either.

What is being written lies in a folder of its own beside its place, and the process that writes it holds its lock, by
`filelock`. When that process ends, however it ends, the system frees the lock: the folder is nobody's, and the next
writer removes it. A lock is a file, which goes when the work is done; a forked child does not hold it.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from mlrpl_cli.core.io.errors import DataError

LOCK = ".lock"
"""Name of the lock file in a folder that one process writes to."""
TEMPORARY_PREFIX = ".incomplete-"
"""In front of the name of a folder that holds what is being written."""
REPLACED_PREFIX = ".replaced-"
"""In front of an old folder's name while a new one takes its place, where the system cannot exchange the two."""
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)  # what some network file systems answer


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write to; on a clean exit it becomes `path`, on an error it is removed.

    Raises DataError when the folder cannot be written to.
    """
    with _aside(path) as temporary:
        yield temporary
        with temporary.open("r+b") as stream:  # Windows syncs only what is open for writing
            os.fsync(stream.fileno())
        temporary.replace(path)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield an empty temporary folder that takes the place of `path` on a clean exit; what stood there stays till then.

    Raises DataError when the parent cannot be written to.
    """
    make_folder(path.parent)
    with writing(path):
        _put_back(path)
    with _aside(path) as temporary:
        temporary.mkdir()
        yield temporary
        _exchange(temporary, path)


@contextmanager
def held(path: Path, when_waiting: Callable[[], None] | None = None) -> Iterator[bool | None]:
    """Hold the lock file `path`: True; None where the file system has no locks; False when another process has it.

    With `when_waiting`, which is called then, it waits for the other one. Raises DataError for a file it cannot make.
    """
    from filelock import FileLock  # here, since help and usage errors lock nothing

    # A file that only exists would outlive a killed process; and another thread than the one that took it may free it.
    lock = FileLock(path, fallback_to_soft=False, thread_local=False)
    mine = _acquired(lock)
    if mine is False and when_waiting is not None:
        when_waiting()
        mine = _acquired(lock, wait=True)
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


def remove_abandoned(folder: Path) -> None:
    """Remove what processes that were killed left half-written in `folder`."""
    for place in folder.glob(f"{TEMPORARY_PREFIX}*"):
        with suppress(DataError), held(place / LOCK) as mine:
            if mine:
                shutil.rmtree(place, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def make_folder(path: Path) -> None:
    """Create `path` and its parents; a DataError says why when that cannot be done."""
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)


def check_writable(path: Path) -> None:
    """Raise DataError now, before long work, when nothing could be written at `path`, a file or a folder."""
    folder = path.absolute().parent if path.is_file() else path.absolute()
    with writing(path):
        tempfile.TemporaryFile(dir=_existing(folder)).close()


def place_of_file(path: Path, is_ours: Callable[[Path], bool], overwrite: bool, flag: str = "--out") -> Path:
    """`path`, or what it links to, where a file is to be written; `flag` named it.

    Raises DataError now, before long work, for a place that cannot be written to, and for a file that mlrpl did not
    write, as `is_ours` says, unless it may `overwrite` it.
    """
    path = Path(os.path.realpath(path)) if os.path.islink(path) else path
    if os.path.lexists(path):
        if not os.path.isfile(path):
            raise DataError(f"{path} is there and no regular file; name a file with {flag}")
        if not overwrite and not is_ours(path):
            told = f"{path} is there and mlrpl did not write it"
            raise DataError(f"{told}; --overwrite replaces it, and {flag} names another place")
    check_writable(path)
    return path


@contextmanager
def writing(path: Path, temporary: Path | None = None) -> Iterator[None]:
    """Tell what keeps `path` from being written. With `temporary`, an error that names a file elsewhere passes."""
    try:
        yield
    except OSError as error:
        named = temporary and isinstance(error.filename, str) and Path(error.filename).absolute()
        if temporary and named and not named.is_relative_to(temporary.absolute()):
            raise
        reason = error.strerror or str(error)
        raise DataError(f"cannot write {path}: {reason}; choose another place or free this one") from error


def free_bytes(path: Path) -> int:
    """Room on the disk that `path` is, or would be, on."""
    return shutil.disk_usage(_existing(path.absolute())).free


def hash_of_file(path: Path, algorithm: str) -> str:
    """Hexadecimal digest of a file's bytes by one of hashlib's algorithms."""
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with path.open("rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


sha256_of_file = partial(hash_of_file, algorithm="sha256")
"""Hexadecimal SHA-256 of a file's bytes."""


def sha256_of_text(text: str) -> str:
    """Hexadecimal SHA-256 of the text's UTF-8."""
    return hashlib.sha256(text.encode()).hexdigest()


def _acquired(lock: Any, wait: bool = False) -> bool | None:
    from filelock import Timeout

    folder = Path(lock.lock_file).parent
    with writing(folder):
        try:
            lock.acquire(blocking=wait)
        except (Timeout, FileNotFoundError):  # its folder has gone: another process has just removed it
            return False
        except FileExistsError:  # it went after it was found to exist, unless what exists is no folder
            if folder.exists() and not folder.is_dir():
                raise
            return False
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            return None
        return True


def _existing(folder: Path) -> Path:
    """The folder, or the closest one above it that exists."""
    return next(place for place in (folder, *folder.parents) if place.exists())


@contextmanager
def _aside(path: Path) -> Iterator[Path]:
    """The name of `path` in a new folder beside it, held while it is written to and removed after that."""
    make_folder(path.parent)
    remove_abandoned(path.parent)
    while True:
        with writing(path):
            place = Path(tempfile.mkdtemp(prefix=TEMPORARY_PREFIX, dir=path.parent))
        try:
            with writing(path, place), held(place / LOCK) as mine:
                if mine is not False:  # else another process took it for abandoned just before
                    yield place / path.name
                    return
        finally:
            shutil.rmtree(place, ignore_errors=True)


def _exchange(new: Path, path: Path) -> None:
    """Put the folder `new` at `path`, and at `new` what was there.

    Where the system cannot exchange two folders at once, a process killed in between leaves none at `path`: the next
    writer puts the old one back.
    """
    if not path.exists() or not any(path.iterdir()):
        new.replace(path)  # an empty folder is simply replaced
    elif not _exchanged_at_once(new, path):
        path.replace(path.with_name(f"{REPLACED_PREFIX}{path.name}"))
        new.replace(path)
        _put_back(path)


def _put_back(path: Path) -> None:
    """Undo, or finish, an exchange that was cut short."""
    aside = path.with_name(f"{REPLACED_PREFIX}{path.name}")
    if aside.is_dir() and path.exists():
        shutil.rmtree(aside, ignore_errors=True)
    elif aside.is_dir():
        aside.replace(path)


def _exchanged_at_once(new: Path, path: Path) -> bool:
    """Whether Linux exchanged the two folders: not every file system can."""
    at_current_folder, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    with suppress(AttributeError, OSError):  # a C library without it
        if sys.platform.startswith("linux"):
            renameat2 = ctypes.CDLL(None).renameat2
            return renameat2(at_current_folder, os.fsencode(new), at_current_folder, os.fsencode(path), exchange) == 0
    return False
