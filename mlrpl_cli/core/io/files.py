"""Writing so that a killed process leaves either the old file or the new one, never half of either.

What is being written has a temporary name and is locked by the process that writes it. The system takes the lock away
when that process ends, however it ends: an unlocked temporary file is nobody's, and the next writer removes it.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mlrpl_cli.core.io.errors import DataError
from mlrpl_cli.core.io.locks import held_if_free, hold_new, release

TEMPORARY_PREFIX = ".incomplete-"
REPLACED_PREFIX = ".replaced-"
"""In front of an old folder's name while a new one takes its place, where the system cannot exchange the two."""


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on a clean exit it becomes `path`, on an error it is removed.

    The file there is to be written into, not replaced by another: it is the one that is locked.
    Raises DataError when the folder cannot be written to.
    """
    with _temporary(path, lambda: _new_file(path)) as temporary, writing(path, temporary):
        yield temporary
        _sync(temporary)
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield an empty temporary folder beside `path` that takes its place on a clean exit.

    What stood at `path` stays untouched until the new folder is complete.
    Raises DataError when the parent cannot be written to.
    """
    make_folder(path.parent)
    with writing(path):
        _put_back(path)
    with (
        _temporary(path, lambda: Path(tempfile.mkdtemp(prefix=TEMPORARY_PREFIX, dir=path.parent))) as temporary,
        writing(path, temporary),
    ):
        yield temporary
        temporary.chmod(0o777 & ~_umask())
        _exchange(temporary, path)


def remove_abandoned(folder: Path) -> None:
    """Remove what processes that were killed left half-written in `folder`."""
    for path in folder.glob(f"{TEMPORARY_PREFIX}*"):
        with held_if_free(path) as free:  # held, so that who has just made it and waits for it sees that it went
            if free:
                _remove(path)


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


@contextmanager
def writing(path: Path, temporary: Path | None = None) -> Iterator[None]:
    """Tell what keeps `path` from being written. With `temporary`, an error that names a file elsewhere passes."""
    try:
        yield
    except OSError as error:
        elsewhere = temporary is not None and isinstance(error.filename, str)
        if elsewhere and not Path(error.filename).absolute().is_relative_to(temporary.absolute()):  # type: ignore[union-attr]
            raise
        reason = error.strerror or str(error)
        raise DataError(f"cannot write {path}: {reason}; choose another place or free this one") from error


def free_bytes(path: Path) -> int:
    """Room on the disk that `path` is, or would be, on."""
    return shutil.disk_usage(_existing(path.absolute())).free


def sha256_of_file(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with path.open("rb") as stream:
        digest = hashlib.sha256()
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def _existing(folder: Path) -> Path:
    """The folder, or the closest one above it that exists."""
    return next(place for place in (folder, *folder.parents) if place.exists())


def _new_file(path: Path) -> Path:
    handle, name = tempfile.mkstemp(prefix=TEMPORARY_PREFIX, suffix=path.suffix, dir=path.parent)
    os.close(handle)
    return Path(name)


@contextmanager
def _temporary(path: Path, make: Callable[[], Path]) -> Iterator[Path]:
    """What `make` makes beside `path`, held while it is written to and removed if it is still there after that."""
    make_folder(path.parent)
    with writing(path):
        remove_abandoned(path.parent)
        temporary, hold = hold_new(make)
    try:
        yield temporary
    finally:
        _remove(temporary)
        release(hold)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _exchange(new: Path, path: Path) -> None:
    """Put the folder `new` at `path`, and at `new` what was there.

    Where the system cannot exchange two folders at once, a process killed in between leaves none at `path`: the next
    writer puts the old one back.
    """
    if not path.exists() or not any(path.iterdir()):
        new.replace(path)  # an empty folder is simply replaced
    elif not _exchanged_at_once(new, path):
        aside = path.with_name(f"{REPLACED_PREFIX}{path.name}")
        path.replace(aside)
        new.replace(path)
        shutil.rmtree(aside, ignore_errors=True)


def _put_back(path: Path) -> None:
    """Undo, or finish, an exchange that was cut short."""
    aside = path.with_name(f"{REPLACED_PREFIX}{path.name}")
    if aside.is_dir():
        if path.exists():
            shutil.rmtree(aside, ignore_errors=True)
        else:
            aside.replace(path)


def _exchanged_at_once(new: Path, path: Path) -> bool:
    """Whether Linux exchanged the two folders: not every file system can."""
    if not sys.platform.startswith("linux"):
        return False
    at_current_folder, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    with suppress(AttributeError, OSError):  # a C library without it
        renameat2 = ctypes.CDLL(None).renameat2
        return renameat2(at_current_folder, os.fsencode(new), at_current_folder, os.fsencode(path), exchange) == 0
    return False


def _sync(path: Path) -> None:
    with path.open("rb") as stream:
        os.fsync(stream.fileno())


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
