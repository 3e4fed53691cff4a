"""Which images of a data set are broken: found before a training that would meet them one by one, hours into it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from mlrpl_cli.core.images.decode import (
    EMPTY_FILE,
    END_OF_JPEG,
    JPEGS,
    BoundedStream,
    RefusedError,
    needed,
    open_image,
    opened,
)
from mlrpl_cli.core.images.kinds import START, kind_of
from mlrpl_cli.core.io.errors import DataError, Problems
from mlrpl_cli.core.io.progress import Progress
from mlrpl_cli.core.io.reading import beginning_of

THREADS = 8
"""Headers are read mostly from a disk or a network: more threads than cores."""
TAIL = 64
"""Bytes at a file's end where its format's end is looked for."""
MOST_BOXES = 1000
"""Of one file, before it is decoded instead."""
DECODED = 32
"""A file whose end does not show that it is whole is decoded, a large JPEG reduced to about these pixels a side."""
EMPTY, NO_IMAGE = "images are empty", "files hold no image"
TRUNCATED, UNREADABLE = "images are truncated or damaged", "images cannot be read"
TAKEN = "JPEGs lack the last bytes, and what these would show is grey or coarse"


@dataclass
class Checked:
    """What was found among images."""

    broken: dict[str, None] = field(default_factory=dict)
    """The names of those that cannot be read, in order."""
    problems: Problems = field(default_factory=Problems)
    """The same by what is wrong with them."""
    taken: list[str] = field(default_factory=list)
    """JPEGs that lack their last bytes and are read all the same."""


def check_files(root: Path, names: Sequence[str], allow_truncated: bool, progress: Progress) -> Checked:
    """Read the header and the end of every image of `names` below `root`; what these leave open is decoded.

    Finds what is empty, cut off, no image, too large to be decoded, or of a kind whose decoder is not installed. Damage
    in the middle of a file is not looked for.
    """
    checked = Checked()
    with ThreadPoolExecutor(THREADS) as pool, progress.task("checking images", len(names)) as task:
        found = pool.map(lambda name: _problem(root / name, allow_truncated), names)
        for name, (what, reason) in zip(names, found, strict=True):
            task.advance()
            if what == TAKEN:
                checked.taken.append(name)
            elif what:
                checked.broken[name] = None
                checked.problems.add(what, f"{name}: {reason}" if reason else name)
    return checked


def _problem(path: Path, allow_truncated: bool) -> tuple[str, str]:
    """What is wrong with an image, TAKEN, or "", and the reason where a clause of Problems alone does not say it."""
    try:
        with opened(path) as (image, stream):
            needed(image, 0, stream.size)
            if _is_whole(image, stream):
                return "", ""
            is_jpeg = image.format in JPEGS
    except DataError as error:
        return _told(path, error)
    if _decodes(path, False):
        return "", ""
    return (TAKEN if allow_truncated and is_jpeg and _decodes(path, True) else TRUNCATED), ""


def _decodes(path: Path, allow_truncated: bool) -> bool:
    try:
        open_image(path, DECODED, allow_truncated)
    except DataError:
        return False
    return True


def _told(path: Path, error: DataError) -> tuple[str, str]:
    """What is wrong with an image whose header cannot be read."""
    reason, cause = str(error).removeprefix(f"cannot read {path}: "), error.__cause__
    if reason == EMPTY_FILE:
        return EMPTY, ""
    of_the_system = isinstance(cause, OSError) and cause.errno is not None
    if of_the_system or isinstance(cause, (DataError, MemoryError, RefusedError, Image.DecompressionBombError)):
        return UNREADABLE, reason
    return (NO_IMAGE if kind_of(beginning_of(path, START)) is None else TRUNCATED), ""


def _is_whole(image: Image.Image, stream: BoundedStream) -> bool:
    """Whether the file's end shows that nothing is missing; what it does not show may still be whole."""
    shows = _SHOWS.get(image.format or "")
    return shows is not None and shows(image, stream)


def _ends_with(mark: bytes) -> Callable[[Image.Image, BoundedStream], bool]:
    return lambda image, stream: mark in _bytes_at(stream, stream.size - TAIL, TAIL)


def _riff(image: Image.Image, stream: BoundedStream) -> bool:
    return int.from_bytes(_bytes_at(stream, 4, 4), "little") + 8 <= stream.size


def _bitmap(image: Image.Image, stream: BoundedStream) -> bool:
    """Pixels without compression fill the end of a bitmap; of those with it the end says nothing."""
    header = _bytes_at(stream, 0, 34)
    start, bits, compression = (int.from_bytes(header[at : at + n], "little") for at, n in ((10, 4), (28, 2), (30, 4)))
    row = (image.width * bits + 31) // 32 * 4  # bytes, filled up to a multiple of four
    return compression == 0 and start + row * image.height <= stream.size


def _strips(image: Image.Image, stream: BoundedStream) -> bool:
    """Of a TIFF: every strip or tile lies in the file."""
    tags: Any = getattr(image, "tag_v2", {})
    for offsets, sizes in ((273, 279), (324, 325)):
        if offsets in tags and sizes in tags:
            ends = map(sum, zip(tags[offsets], tags[sizes], strict=True))
            return max(ends, default=math.inf) <= stream.size
    return False


def _boxes(image: Image.Image, stream: BoundedStream) -> bool:
    """Of AVIF and HEIF: the boxes (ISO/IEC 14496-12, 4.2), each of which says its length, end where the file does."""
    position = 0
    for _ in range(MOST_BOXES):
        if position >= stream.size:
            return position == stream.size
        header = _bytes_at(stream, position, 16)
        size = int.from_bytes(header[:4], "big")
        size = int.from_bytes(header[8:], "big") if size == 1 else size or stream.size - position
        if size < 8:
            return False
        position += size
    return False


def _bytes_at(stream: BoundedStream, position: int, size: int) -> bytes:
    stream.seek(max(position, 0))
    return stream.read(size)


_SHOWS = {
    **dict.fromkeys((*JPEGS, "JPEG2000"), _ends_with(END_OF_JPEG)),
    "PNG": _ends_with(b"IEND"),
    "GIF": _ends_with(b"\0;"),
    "WEBP": _riff,
    "BMP": _bitmap,
    "TIFF": _strips,
    "AVIF": _boxes,
    "HEIF": _boxes,
}
"""By format: whether the end of an image shows that nothing is missing."""
