"""An image file as a decoder may read it: in bounds, whatever it says of itself."""

from __future__ import annotations

import os
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
