"""Archives unpacked so that nothing lands outside their folder and none fills memory or disk."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, BinaryIO

from mlrpl_cli.core.io.errors import DataError, Problems, in_words, one_line
from mlrpl_cli.core.io.files import make_folder
from mlrpl_cli.core.io.progress import Progress, Silent
from mlrpl_cli.core.io.reading import MIB, open_file, short

BLOCK = MIB
MOST_EXPANSION, ALWAYS_ALLOWED = 100, 100 * MIB
"""An archive may unpack to so many times its size, and to so many bytes in any case: images hardly shrink at all."""
MOST_MEMBERS, MOST_OF_AN_INDEX = 500_000, 32 * MIB
"""COCO's largest archive has 120,000 members. Each takes some 1,000 bytes of memory."""
DEEPEST = 100
"""Folders inside folders."""
_COMPRESSED: dict[bytes, Callable[[Any], Any]] = {b"\x1f\x8b": gzip.open, b"BZ": bz2.open, b"\xfd7": lzma.open}


def extract(archive: Path, folder: Path, progress: Progress | None = None) -> None:
    """Unpack a tar (plain or compressed) or zip into `folder`, adding to what is there.

    Everything is unpacked aside first, so a broken archive leaves `folder` as it was. Raises DataError for an archive
    that is damaged, too large for the disk, larger unpacked than `_most` allows, or holds links, devices or names
    that lead outside.
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
    # Not the prefix of what is abandoned when its writer ends: an extraction that was cut short has to be remembered.
    return folder / f".unpacking-{archive.name}"


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
    is_bounded: bool
    """Decompressed in steps, whatever it expands to."""
    open: Callable[[], Any]


class _Bounded(io.BufferedReader):
    """A stream, decompressed or not, that is read up to `end` only and by at most `most` bytes at once.

    What describes an archive's members is read into memory in one piece, of a length that the archive itself states.
    """

    def __init__(self, raw: Any, end: int, most: int) -> None:
        super().__init__(raw)
        self._end, self._most = end, most

    def read(self, size: int | None = -1, /) -> bytes:
        size = self._most + 1 if size is None or size < 0 else size
        content = super().read(min(size, self._most + 1))
        if len(content) > self._most or self.tell() > self._end:
            raise _TooMuchError
        return content

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        if whence == io.SEEK_SET and offset > self._end:
            raise _TooMuchError
        return super().seek(offset, whence)


class _TooMuchError(Exception):
    """An archive states or holds more than `_most` allows."""


def _most(archive: Path) -> int:
    """Bytes that an archive may unpack to."""
    return max(MOST_EXPANSION * archive.stat().st_size, ALWAYS_ALLOWED)


@contextmanager
def _members(archive: Path) -> Iterator[list[_Member]]:
    with open_file(archive) as stream:
        magic = stream.read(2)
        stream.seek(0)
        if magic == b"PK":
            plain = _Bounded(stream, archive.stat().st_size, MOST_OF_AN_INDEX)
            with plain, zipfile.ZipFile(plain) as opened:
                yield _listed((_zip_member(opened, info) for info in opened.infolist()), archive)
        else:
            inner = _COMPRESSED[magic](stream) if magic in _COMPRESSED else stream
            with _Bounded(inner, _most(archive), BLOCK) as unpacked, tarfile.open(fileobj=unpacked, mode="r:") as tar:
                yield _listed((_tar_member(tar, info) for info in _whole(tar, unpacked)), archive)


def _whole(tar: tarfile.TarFile, stream: BinaryIO) -> Iterator[tarfile.TarInfo]:
    """The members of a tar that has its end: tarfile takes a damaged header for one."""
    yield from tar
    stream.seek(tar.offset)
    if stream.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError(f"no header and no end at byte {tar.offset}")


def _listed(members: Iterable[_Member], archive: Path) -> list[_Member]:
    """The members as a list, as far as they are not too many or too large."""
    listed, need, most = [], 0, _most(archive)
    for member in members:
        listed.append(member)
        need += member.size
        if member.size < 0 or need > most or len(listed) > MOST_MEMBERS:
            raise _TooMuchError
    return listed


def _zip_member(opened: zipfile.ZipFile, info: zipfile.ZipInfo) -> _Member:
    kind = stat.S_IFMT(info.external_attr >> 16)
    plain = kind in (0, stat.S_IFREG, stat.S_IFDIR)
    # zipfile expands whatever it has read of the other methods at once.
    bounded = info.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
    return _Member(
        info.filename, info.file_size, info.filename.endswith("/"), plain, bounded, partial(opened.open, info)
    )


def _tar_member(opened: tarfile.TarFile, info: tarfile.TarInfo) -> _Member:
    plain = info.isreg() or info.isdir()
    return _Member(info.name, info.size, info.isdir(), plain, True, partial(opened.extractfile, info))


def _check_members(archive: Path, members: Sequence[_Member], folder: Path) -> None:
    problems = Problems()
    problems.extend("names lead outside the folder", (short(m.name) for m in members if leads_outside(m.name)))
    problems.extend("members are links or devices", (short(m.name) for m in members if not m.is_plain))
    problems.extend("members are neither stored nor deflated", (short(m.name) for m in members if not m.is_bounded))
    deep = (short(m.name) for m in members if len(PurePosixPath(m.name).parts) > DEEPEST)
    problems.extend(f"names are more than {DEEPEST} folders deep", deep)
    problems.raise_if_any(f"{archive} is not unpacked", "fetch it from a source that you trust")
    need, free = sum(member.size for member in members), shutil.disk_usage(folder).free
    if need > free:
        needed, room = in_words(need), in_words(free)
        raise DataError(f"{archive} needs {needed} unpacked, {folder.parent} has {room} free; choose another place")


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
    except _TooMuchError as error:
        raise DataError(
            f"{archive} unpacks to more than {_most(archive)} bytes or {MOST_MEMBERS} members, or lies about them; "
            "fetch it from a source that you trust"
        ) from error
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RecursionError) as error:
        reason = one_line(error)
        raise DataError(f"{archive} is damaged or no tar or zip: {reason}; remove it and fetch it again") from error
    except (OSError, RuntimeError, ValueError) as error:
        raise DataError(f"cannot unpack {archive}: {one_line(error)}; free space, or choose another place") from error
