"""Names of images as pictures show them and as the files of pictures carry them."""

from __future__ import annotations

import os
import re
import unicodedata
from bisect import bisect
from collections.abc import Callable
from pathlib import Path

from mlrpl_cli.core.io.errors import printable
from mlrpl_cli.core.io.files import sha256_of_text

LONGEST_STEM = 60
"""Bytes of an image's own name in the name of its picture; file systems take 255."""
_UNSAFE = re.compile(r'[<>:"/\\|?*\s]|[^\w.()+=@,~-]')


def elided(text: str, fits: Callable[[str], bool]) -> str:
    """`text` on one line, with as much of its middle as is too long for `fits` replaced by an ellipsis.

    The end stays, since names of images differ there. No character is parted from the marks that combine with it.
    """
    shown = printable(unicodedata.normalize("NFC", text))
    if fits(shown):
        return shown
    parts = _characters(shown)

    def without_middle(kept: int) -> str:
        end = (kept + 1) // 2
        return "".join([*parts[: kept - end], "…", *parts[len(parts) - end :]])

    return without_middle(bisect(range(1, len(parts)), False, key=lambda kept: not fits(without_middle(kept))))


def at_most(columns: int) -> Callable[[str], bool]:
    """What says whether a text takes at most so many columns: wide characters take two, combining marks none."""

    def fits(text: str) -> bool:
        wide = sum(unicodedata.east_asian_width(mark) in "WF" for mark in text)
        marks = sum(bool(unicodedata.combining(mark)) for mark in text)
        return len(text) + wide - marks <= columns

    return fits


def picture_name(image: Path) -> str:
    """A file name for the picture of an image: its stem, as any file system takes it, and a digest of where it lies.

    The same image has the same name each time, and two images never have one.
    """
    place = os.path.abspath(image).encode(errors="surrogatepass").hex()  # bytes that are no UTF-8 are in it, too
    stem = _UNSAFE.sub("_", printable(unicodedata.normalize("NFC", image.stem)))
    short = stem.encode()[:LONGEST_STEM].decode(errors="ignore")
    return f"attention-{short}-{sha256_of_text(place)[:12]}.png"


def _characters(text: str) -> list[str]:
    """The characters of a text, each with the marks that combine with it."""
    parts = list[str]()
    for mark in text:
        if parts and (unicodedata.combining(mark) or mark == "\u200d" or parts[-1].endswith("\u200d")):
            parts[-1] += mark
        else:
            parts.append(mark)
    return parts
