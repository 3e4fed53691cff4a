"""Archives unpacked so that nothing lands outside their folder."""

from __future__ import annotations

import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from mlrpl_cli.core.errors import DataError, Problems, one_line
from mlrpl_cli.core.files import TEMPORARY_PREFIX, make_folder
from mlrpl_cli.core.progress import Progress, Silent

BLOCK = 1 << 20


def extract(archive: Path, folder: Path, progress: Progress | None = None) -> None:
    """Unpack a tar (plain or compressed) or zip into `folder`, adding to what is there.

    Everything is unpacked aside first, so a broken archive leaves `folder` as it was. Raises DataError for an archive
    that is damaged, too large for the disk, or holds links, devices or names that lead outside.
    """
    aside = unfinished(archive, folder)
    shutil.rmtree(aside, ignore_errors=True)
    make_folder(aside)
    with _unpacking(archive):
        try:
            with _members(archive) as members:
                _check_members(archive, members, aside)
                _unpack(archive, members, aside, progress or Silent())
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
        _move_into(aside, folder)
        aside.rmdir()


def unfinished(archive: Path, folder: Path) -> Path:
    """The folder that exists exactly while, or after, an extraction of `archive` into `folder` was cut short."""
    return folder / f"{TEMPORARY_PREFIX}{archive.name}"


def leads_outside(name: str) -> bool:
    """Whether a relative path taken from a file would leave the folder that it is meant for, on any system."""
    windows = PureWindowsPath(name)
    return bool(windows.drive or windows.root) or ".." in windows.parts


@dataclass(frozen=True)
class _Member:
    name: str
    size: int
    is_folder: bool
    is_plain: bool
    """Neither a link nor a device."""
    open: Callable[[], Any]


@contextmanager
def _members(archive: Path) -> Iterator[list[_Member]]:
    with archive.open("rb") as stream:
        is_zip = stream.read(2) == b"PK"
    if is_zip:
        with zipfile.ZipFile(archive) as opened:
            yield [_zip_member(opened, info) for info in opened.infolist()]
    else:
        with tarfile.open(archive) as opened_tar:
            yield [_tar_member(opened_tar, info) for info in opened_tar.getmembers()]


def _zip_member(opened: zipfile.ZipFile, info: zipfile.ZipInfo) -> _Member:
    kind = stat.S_IFMT(info.external_attr >> 16)
    plain = kind in (0, stat.S_IFREG, stat.S_IFDIR)
    return _Member(info.filename, info.file_size, info.is_dir(), plain, partial(opened.open, info))


def _tar_member(opened: tarfile.TarFile, info: tarfile.TarInfo) -> _Member:
    return _Member(info.name, info.size, info.isdir(), info.isreg() or info.isdir(), partial(opened.extractfile, info))


def _check_members(archive: Path, members: Sequence[_Member], folder: Path) -> None:
    problems = Problems()
    problems.extend("names lead outside the folder", (m.name for m in members if leads_outside(m.name)))
    problems.extend("members are links or devices", (m.name for m in members if not m.is_plain))
    problems.raise_if_any(f"{archive} is not unpacked", "fetch it from a source that you trust")
    need, free = sum(member.size for member in members), shutil.disk_usage(folder).free
    if need > free:
        raise DataError(f"{archive} needs {need} bytes unpacked, {folder.parent} has {free} free; choose another place")


def _unpack(archive: Path, members: Sequence[_Member], folder: Path, progress: Progress) -> None:
    """Write plain files and folders only, each opened by us: no permission, owner or link comes from the archive."""
    with progress.task(f"unpacking {archive.name}", len(members), "files") as task:
        for member in members:
            path = folder / PurePosixPath(member.name)
            if member.is_folder:
                path.mkdir(parents=True, exist_ok=True)
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                with member.open() as source, path.open("wb") as target:
                    shutil.copyfileobj(source, target, BLOCK)
            task.advance()


def _move_into(source: Path, target: Path) -> None:
    """Move everything in `source` into `target`; folders that are in both are merged, files replaced."""
    for item in sorted(source.iterdir()):
        place = target / item.name
        if item.is_dir() and place.is_dir():
            _move_into(item, place)
            item.rmdir()
        else:
            item.replace(place)


@contextmanager
def _unpacking(archive: Path) -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError) as error:
        reason = one_line(error)
        raise DataError(f"{archive} is damaged or no tar or zip: {reason}; remove it and fetch it again") from error
    except (OSError, RuntimeError, ValueError) as error:
        raise DataError(f"cannot unpack {archive}: {one_line(error)}; free space, or choose another place") from error
