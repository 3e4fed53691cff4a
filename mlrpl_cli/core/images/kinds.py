"""Every kind of image file that is listed and read: one table for the folder listing and the decoder.

Help reads it: no Pillow.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from mlrpl_cli.core.io.reading import beginning_of

START = 64
"""The first bytes of a file, which tell its kind."""


@dataclass(frozen=True)
class Kind:
    """A kind of image file."""

    decoder: str
    """Pillow's name of what decodes it."""
    suffixes: tuple[str, ...]
    start: bytes
    """What its first START bytes match."""
    weight: int = 1
    """A pixel takes the decoder this many times the memory, so it counts as so many."""
    file_weight: int = 0
    """Metadata may follow the pixels: a byte of the file takes at most this many bytes of memory."""


JPEG, HEIF, AVIF = "JPEG", "HEIF", "AVIF"
KINDS = (
    Kind(JPEG, (".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".mpo"), rb"\xff\xd8\xff"),
    Kind("PNG", (".png", ".apng"), rb"\x89PNG\r\n\x1a\n", file_weight=4),
    Kind("BMP", (".bmp", ".dib"), rb"BM.{4}\0{4}"),
    Kind("GIF", (".gif",), rb"GIF8[79]a"),
    Kind("WEBP", (".webp",), rb"RIFF.{4}WEBP", weight=2),
    Kind("TIFF", (".tif", ".tiff"), rb"II[*+]\0|MM\0[*+]"),
    Kind("PPM", (".ppm", ".pgm", ".pbm", ".pnm", ".pfm"), rb"P[1-6Ff]\s+[#\d]"),
    Kind(
        "JPEG2000",
        (".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx"),
        rb"\xff\x4f\xff\x51|\0\0\0\x0cjP  \r\n\x87\n",
        weight=3,
    ),
    # A container of this form may name its content as its brand, or among the brands that it is compatible with.
    Kind(AVIF, (".avif", ".avifs"), rb".{4}ftyp(avi[fs]|m(if|sf)1.{4}(.{4})*?avi[fs])", weight=2),
    Kind(HEIF, (".heic", ".heif", ".heics", ".heifs", ".hif"), rb".{4}ftyp(hei[cxms]|hev[cxms]|m(if|sf)1)", weight=2),
)
"""Pillow's other decoders do not run: EPS starts Ghostscript, and the exotic ones are seldom tried.

A pixel that counts for once may take 13 bytes. Measured: up to 15 in AVIF of 8 bits, up to 21 in HEIF of 12.
"""
SUFFIXES = tuple(suffix for kind in KINDS for suffix in kind.suffixes)
"""What counts as an image in a folder; a file that is named itself may have any suffix."""
_STARTS = tuple((kind, re.compile(kind.start, re.DOTALL)) for kind in KINDS)


def kind_of(start: bytes) -> Kind | None:
    """The kind of a file that begins with `start`; None for no image."""
    return next((kind for kind, pattern in _STARTS if pattern.match(start)), None)


def is_image(name: str) -> bool:
    """Whether a file of that name counts as an image in a folder, by its suffix."""
    return os.path.splitext(name)[1].lower() in SUFFIXES


def is_image_file(path: Path) -> bool:
    """Whether a file counts as an image in a folder: by its suffix, and without one by its first bytes."""
    if os.path.splitext(path.name)[1]:
        return is_image(path.name)
    return kind_of(beginning_of(path, START)) is not None
