"""Files that others made: regular ones only, read whole up to a stated size, and shown in messages shortened.

What is made of JSON, XML and tables takes at most 50 times the memory that the file has bytes: tests/fuzz/large.py.
"""

from __future__ import annotations

import io
import json
import os
import reprlib
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path, PureWindowsPath
from typing import Any, BinaryIO, TypeGuard

from mlrpl_cli.core.io.errors import DataError

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
LONGEST_NAME = 1000
"""Characters of a class name; CLIP reads 77 tokens."""
LONGEST_PATH, LONGEST_PART = 1024, 255
"""Bytes of an image name and of each of its parts, as far as every common file system goes."""
SHOWN = 60
"""Characters of a value that a message shows."""

_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxstring, _SHORT.maxother, _SHORT.maxlong = 2, SHOWN, SHOWN, SHOWN


def open_file(path: Path, limit: int | None = None) -> BinaryIO:
    """A regular file of at most `limit` bytes, open for reading.

    Raises OSError as `open` does, and DataError for a larger file, for a folder, and for a pipe or a device, which
    could keep its reader waiting for ever.
    """
    try:
        _check(path, os.stat(path), limit)  # before, since opening a device can act on it
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except ValueError as error:
        raise DataError(f"{shown(str(path))} cannot be the name of a file; check the path") from error
    try:
        _check(path, os.fstat(descriptor), limit)  # and after, since the name may mean another file by then
        return open(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def beginning_of(path: Path, size: int) -> bytes:
    """The first `size` bytes of a file, to recognise it by; b"" for what cannot be read."""
    try:
        with open_file(path) as stream:
            return stream.read(size)
    except (OSError, DataError):
        return b""


def read_text(path: Path, limit: int, encoding: str = "utf-8") -> str:
    """The text of a file, its line ends made newlines; raises what `open_file` raises, and UnicodeDecodeError."""
    with io.TextIOWrapper(open_file(path, limit), encoding=encoding) as stream:
        return stream.read()


def read_json(path: Path, limit: int, object_hook: Callable[[dict[str, Any]], Any] | None = None) -> Any:
    """The value in a JSON file of UTF-8, each of its objects as `object_hook` makes it, while the next is parsed.

    Raises what `open_file` raises, and ValueError for what is no JSON.
    """
    try:
        return json.loads(read_text(path, limit, "utf-8-sig"), object_hook=object_hook)
    except RecursionError as error:
        raise ValueError("values are nested too deeply") from error


def is_name(value: object) -> TypeGuard[str]:
    """Whether `value` can name a class: text, not blank, of at most LONGEST_NAME characters that UTF-8 can hold."""
    if not isinstance(value, str) or len(value) > LONGEST_NAME or not value.strip() or "\0" in value:
        return False
    return value.encode(errors="replace").decode() == value


def is_file_name(value: object) -> TypeGuard[str]:
    """Whether a file could be called `value`, a path with forward slashes."""
    with suppress(UnicodeEncodeError):
        if isinstance(value, str) and value and "\0" not in value:
            encoded = os.fsencode(value)
            return len(encoded) <= LONGEST_PATH and all(len(part) <= LONGEST_PART for part in encoded.split(b"/"))
    return False


def relative_path(path: Path, start: Path) -> str:
    """`path` as seen from the folder `start`, with forward slashes; absolute where no relative path exists.

    The system takes ".." after it has followed links, so `start` is followed first; of `path` its links are followed
    where that makes it nearer. An existing `start` is not asked for.
    """
    real = os.path.realpath(start)
    try:
        found = (os.path.relpath(way, real) for way in (os.path.abspath(path), os.path.realpath(path)))
        return Path(min(found, key=lambda way: Path(way).parts.count(".."))).as_posix()
    except ValueError:  # on Windows, another drive
        return Path(os.path.abspath(path)).as_posix()


def path_from(start: Path, way: str) -> Path:
    """The path that is `way` as seen from the folder `start`: inside it, as it was given, and else absolute."""
    if os.path.isabs(way) or ".." not in Path(way).parts:
        return start / way
    return Path(os.path.normpath(os.path.join(os.path.realpath(start), way)))


def leads_outside(name: str) -> bool:
    """Whether a relative path taken from a file would leave the folder that it is meant for, on any system."""
    windows = PureWindowsPath(name)
    return bool(windows.drive or windows.root) or ".." in windows.parts


def short(text: str) -> str:
    """`text` without line breaks, cut where it is longer than a message should show."""
    line = " ".join(text[: 2 * SHOWN].split())
    return line if len(line) <= SHOWN and len(text) <= 2 * SHOWN else f"{line[: SHOWN - 1]}…"


def shown(value: object) -> str:
    """`value` as Python writes it, shortened, however large or deep it is."""
    try:
        return _SHORT.repr(value)
    except ValueError:  # Python refuses to write out an integer of thousands of digits
        return "a number of thousands of digits"


def difference(name: str, old: object, new: object, told: Callable[[object], str] = shown) -> str:
    """How an option differs from what it was, its values as `told` writes them; None is one that was not given.

    >>> difference("seed", 0, 3), difference("glove", None, "a.txt")
    ('seed was 0, not 3', "glove was not given, now it is 'a.txt'")
    """
    if old is None:
        return f"{name} was not given, now it is {told(new)}"
    return f"{name} was {told(old)}, {'now it is not given' if new is None else f'not {told(new)}'}"


def _check(path: Path, status: os.stat_result, limit: int | None) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise DataError(f"{path} is a folder, a pipe or a device; name a file")
    if limit is not None and status.st_size > limit:
        raise DataError(f"{path} has {status.st_size} bytes, expected at most {limit}; check that it is the right file")
