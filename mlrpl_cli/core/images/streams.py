"""An image file as a decoder may read it: a regular file, read in bounds whatever it says of itself."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from mlrpl_cli.core.io.errors import in_words
from mlrpl_cli.core.io.reading import KIB, MIB

HEADER_LIMIT = 32 * MIB
"""Bytes that may be read before an image's size is known: of most formats its metadata, of WebP all of the file."""
PIECE_LIMIT = 500_000
"""How many times a file may be read from. A PNG in usual pieces of 8 KiB is read three times for each."""
HEADER_BYTES = 6 * HEADER_LIMIT + 150 * PIECE_LIMIT
"""The most memory that one file's metadata take. Measured: up to 6 bytes for each byte, and 144 for each piece."""

_SMALL = 64 * KIB  # a read of no more than this is not worth asking what is left


class BoundedStream:
    """A stream of bytes that raises ValueError when more of it is read than an image needs."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.stream = stream
        start = stream.tell()
        self.size = stream.seek(0, os.SEEK_END)
        """Of the whole file, in bytes."""
        stream.seek(start)
        self.seek, self.tell = stream.seek, stream.tell
        self._bytes_left: float = HEADER_LIMIT
        self._pieces_left = PIECE_LIMIT

    def end_header(self) -> None:
        """From now on pixels are read, which are counted elsewhere; the number of pieces stays limited."""
        self._bytes_left = float("inf")

    def read(self, size: int = -1) -> bytes:
        """What is there of `size` bytes, or of all. A size that the file only claims is not allocated."""
        if not 0 <= size <= _SMALL:
            rest = max(self.size - self.stream.tell(), 0)
            size = min(size, rest) if size >= 0 else rest
        self._bytes_left -= size
        self._pieces_left -= 1
        if self._bytes_left < 0:
            raise ValueError(f"more than {in_words(HEADER_LIMIT)} would be read before its size in pixels is known")
        if self._pieces_left < 0:
            raise ValueError(f"it lies in more than {PIECE_LIMIT} pieces")
        return self.stream.read(size)

    def __getattr__(self, name: str) -> Any:
        """Whatever else the stream has: above all the descriptor, from which some decoders read on their own."""
        return getattr(self.stream, name)


@contextmanager
def open_regular(path: Path) -> Iterator[IO[bytes]]:
    """Open a file that is not empty. Raises ValueError for a pipe, a socket or a device, which are not waited for."""
    # Asked before, since opening a device can act on it, and after, since the name may mean another file by then.
    _refuse_special(os.stat(path))
    with open(path, "rb", opener=_open_without_waiting) as stream:
        _refuse_special(os.fstat(stream.fileno()))
        if not stream.read(1):
            raise ValueError("the file is empty")
        stream.seek(0)
        yield stream


def _open_without_waiting(path: str, flags: int) -> int:
    """A pipe that nobody writes to would be waited for without end."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _refuse_special(status: os.stat_result) -> None:
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
        raise ValueError("it is a pipe, a socket or a device, not a regular file")
