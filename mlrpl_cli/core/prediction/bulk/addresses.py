"""Names of files on disk, and addresses of files on what pyarrow opens: s3://BUCKET/KEY, gs://…, hdfs://…

A name with a scheme is an address, whose path is percent-encoded; any other name is a path of this machine.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from itertools import chain, zip_longest
from typing import Any, NamedTuple
from urllib.parse import quote, unquote, urlsplit

import pyarrow as pa
from pyarrow import fs

from mlrpl_cli.core.io.errors import DataError, one_line
from mlrpl_cli.core.io.reading import short

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_MAGIC = re.compile(r"[*\[]")
"""Of an address; its question mark begins what the file system is asked for."""
FAILURES = (OSError, pa.ArrowException, ValueError)
"""What pyarrow raises for a file that it cannot open or read."""


class Place(NamedTuple):
    """A path on a file system."""

    system: Any
    path: str

    def below(self, *names: str) -> Place:
        return Place(self.system, "/".join([self.path.rstrip("/"), *names]))


class Found(NamedTuple):
    """A file that a source means."""

    name: str
    """A path or an address."""
    state: tuple[int, int | None] | None = None
    """(bytes, nanoseconds of the last change or None) where listing it tells them: another file has others."""


def is_address(name: str) -> bool:
    """Whether a name says its file system."""
    return _SCHEME.match(name) is not None


def place_of(name: str) -> Place:
    """Where a path or an address leads. Raises DataError for an address that pyarrow cannot open."""
    if not is_address(name):
        return Place(_local(), name)
    with telling(short(name), "open"):
        parts = urlsplit(name)
        if "@" in parts.netloc:
            raise DataError(f"the address of {short(parts.path)} holds credentials, which would stand in what is "
                            "written; set them in the environment")  # fmt: skip
        system, root = _opened(parts.scheme, parts.netloc, parts.query)
        return Place(system, (root.rstrip("/") + unquote(parts.path)).rstrip("/"))


def way_of(name: str) -> str:
    """A name without what an address asks its file system for: the part that ends in the name of a file."""
    return name.partition("?")[0] if is_address(name) else name


@contextmanager
def telling(name: object, verb: str = "read") -> Iterator[None]:
    """Raise DataError with the reason for what pyarrow and the system raise."""
    try:
        yield
    except FileNotFoundError as error:
        raise DataError(f"cannot {verb} {name}: there is no such file") from error
    except FAILURES as error:
        reason = one_line(getattr(error, "strerror", None) or error)
        raise DataError(f"cannot {verb} {name}: {reason}") from error


def found_at(address: str) -> Iterator[Found]:
    """The files that an address means: itself, those below it in sorted order, or those of a pattern.

    What begins with a dot is hidden, as in folders of this machine.
    """
    base, pattern = _without_pattern(address)
    place = place_of(base)
    with telling(base):
        (found,) = place.system.get_file_info([place.path])
        if pattern is None and found.type == fs.FileType.File:
            yield Found(address, _state(found))
            return
        if found.type == fs.FileType.NotFound:
            raise FileNotFoundError
        start = urlsplit(base)
        root, query = len(place.path), f"?{start.query}" if start.query else ""
        for info in _below(place):
            if pattern is None or pattern.fullmatch(info.path[root:].lstrip("/")):
                way = quote(info.path[root:].lstrip("/"))
                yield Found(f"{start.scheme}://{start.netloc}{start.path.rstrip('/')}/{way}{query}", _state(info))


def found_here(path: str) -> Found:
    """A file of this machine; one that is not there is found when it is read."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return Found(path)
    return Found(path, (status.st_size, status.st_mtime_ns))


def _below(place: Place) -> Iterator[Any]:
    """What pyarrow says of the files below a folder, as `images_below` orders them; one folder is listed at a time."""
    waiting = list(reversed(_entries(place.system, place.path)))
    while waiting:
        info = waiting.pop()
        if info.type == fs.FileType.File:
            yield info
        elif info.type == fs.FileType.Directory:
            waiting.extend(reversed(_entries(place.system, info.path)))


def _entries(system: Any, folder: str) -> list[Any]:
    shown = (info for info in system.get_file_info(fs.FileSelector(folder)) if not info.base_name.startswith("."))
    return sorted(shown, key=lambda info: info.path)


def _state(info: Any) -> tuple[int, int | None]:
    return info.size, info.mtime_ns


def _without_pattern(address: str) -> tuple[str, re.Pattern[str] | None]:
    """The folder above the first part of an address that is a pattern, and the pattern below it; None for none."""
    way, mark, query = address.partition("?")
    found = _MAGIC.search(way)
    if found is None:
        return address, None
    cut = way.rindex("/", 0, found.start())
    if cut < way.index("://") + 3:
        raise DataError(f"{short(address)}: expected a pattern below a bucket, got one of buckets; name the bucket")
    try:
        return way[:cut] + mark + query, _regular(way[cut + 1 :])
    except re.error as error:
        raise DataError(f"{short(address)} is no pattern: {error}; write [a-z], and a bracket itself as %5B") from error


def _regular(pattern: str) -> re.Pattern[str]:
    """A pattern of paths as a regular expression: ** is any folders, * ends at a slash, [ab] is one of these.

    [!ab] is any other; what stands outside of brackets is percent-encoded.
    """
    forms = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*"}
    parts = re.split(r"(\*\*/|\*\*|\*|\[!?\]?[^\]]*\])", pattern)  # every second one is a sign
    told = (_one_of(part) if part.startswith("[") else forms[part] for part in parts[1::2])
    texts = (re.escape(unquote(part)) for part in parts[::2])
    return re.compile("".join(chain.from_iterable(zip_longest(texts, told, fillvalue=""))), re.DOTALL)


def _one_of(brackets: str) -> str:
    """Of the characters between brackets only the minus keeps a meaning; a slash is never one of them."""
    inner = brackets[1:-1]
    signs = re.sub(r"([\\\[\]^&~|])", r"\\\1", inner.removeprefix("!"))
    return f"(?!/)[{'^' if inner.startswith('!') else ''}{signs}]"


@cache
def _local() -> Any:
    return fs.LocalFileSystem()


@cache
def _opened(scheme: str, authority: str, query: str) -> tuple[Any, str]:
    """A file system and the path of its address's root, made once: to make one can ask the network."""
    with telling(f"{scheme}://{authority}", "open"):
        return fs.FileSystem.from_uri(f"{scheme}://{authority}/" + (f"?{query}" if query else ""))
