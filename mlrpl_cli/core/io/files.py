"""Writing so that a killed process leaves either the old file or the new one, never half of either.

What is being written lies in a folder of its own beside its place, and the process that writes it holds its lock. When
that process ends, however it ends, the lock is free: the folder is nobody's, and the next writer removes it.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mlrpl_cli.core.io.errors import DataError
from mlrpl_cli.core.io.locks import LOCK, held

TEMPORARY_PREFIX = ".incomplete-"
"""In front of the name of a folder that holds what is being written."""
REPLACED_PREFIX = ".replaced-"
"""In front of an old folder's name while a new one takes its place, where the system cannot exchange the two."""


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
    """Yield an empty temporary folder that takes the place of `path` on a clean exit.

    What stood at `path` stays untouched until the new folder is complete.
    Raises DataError when the parent cannot be written to.
    """
    make_folder(path.parent)
    with writing(path):
        _put_back(path)
    with _aside(path) as temporary:
        temporary.mkdir()
        yield temporary
        _exchange(temporary, path)


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


def sha256_of_file(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    return hash_of_file(path, "sha256")


def hash_of_file(path: Path, algorithm: str) -> str:
    """Hexadecimal digest of a file's bytes by one of hashlib's algorithms."""
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with path.open("rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


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
    if not sys.platform.startswith("linux"):
        return False
    at_current_folder, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    with suppress(AttributeError, OSError):  # a C library without it
        renameat2 = ctypes.CDLL(None).renameat2
        return renameat2(at_current_folder, os.fsencode(new), at_current_folder, os.fsencode(path), exchange) == 0
    return False
