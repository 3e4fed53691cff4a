"""Writing so that a killed process leaves either the old file or the new one, never half of either."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlrpl_cli.core.errors import DataError

TEMPORARY_PREFIX = ".incomplete-"


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on a clean exit it becomes `path`, on an error it is removed.

    Raises DataError when the folder cannot be written to.
    """
    make_folder(path.parent)
    with _writing(path):
        handle, name = tempfile.mkstemp(prefix=TEMPORARY_PREFIX, suffix=path.suffix, dir=path.parent)
        os.close(handle)
    temporary = Path(name)
    try:
        with _writing(path, temporary):
            yield temporary
            _sync(temporary)
            temporary.chmod(0o666 & ~_umask())
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield an empty temporary folder beside `path` that takes its place on a clean exit.

    What stood at `path` stays untouched until the new folder is complete.
    Raises DataError when the parent cannot be written to.
    """
    make_folder(path.parent)
    with _writing(path):
        temporary = Path(tempfile.mkdtemp(prefix=TEMPORARY_PREFIX, dir=path.parent))
    try:
        with _writing(path, temporary):
            yield temporary
            temporary.chmod(0o777 & ~_umask())
            _exchange(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def make_folder(path: Path) -> None:
    """Create `path` and its parents; a DataError says why when that cannot be done."""
    with _writing(path):
        path.mkdir(parents=True, exist_ok=True)


def check_writable(path: Path) -> None:
    """Raise DataError now, before long work, when nothing could be written at `path`, a file or a folder."""
    folder = path.absolute().parent if path.is_file() else path.absolute()
    with _writing(path):
        tempfile.TemporaryFile(dir=_existing(folder)).close()


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


def _exchange(new: Path, path: Path) -> None:
    """Put `new` at `path`; the old folder is moved aside first, because rename needs an empty target."""
    old = None
    if path.exists():
        old = new.with_name(new.name + "-old")
        path.replace(old)
    new.replace(path)
    if old is not None:
        shutil.rmtree(old, ignore_errors=True)


def _sync(path: Path) -> None:
    with path.open("rb") as stream:
        os.fsync(stream.fileno())


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


@contextmanager
def _writing(path: Path, temporary: Path | None = None) -> Iterator[None]:
    """Tell what keeps `path` from being written. With `temporary`, an error that names a file elsewhere passes."""
    try:
        yield
    except OSError as error:
        elsewhere = temporary is not None and isinstance(error.filename, str)
        if elsewhere and not Path(error.filename).absolute().is_relative_to(temporary.absolute()):  # type: ignore[union-attr]
            raise
        reason = error.strerror or str(error)
        raise DataError(f"cannot write {path}: {reason}; choose another place or free this one") from error
