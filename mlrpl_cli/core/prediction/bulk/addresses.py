"""Names of files on disk, and addresses of files on what pyarrow opens: s3://BUCKET/KEY, gs://…, hdfs://…

A name with a scheme is an address, whose path is percent-encoded; any other name is a path of this machine.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
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


def is_address(name: str) -> bool:
    """Whether a name says its file system."""
    return _SCHEME.match(name) is not None


def place_of(name: str) -> Place:
    """Where a path or an address leads. Raises DataError for an address that pyarrow cannot open."""
    if not is_address(name):
        return Place(_local(), name)
    parts = urlsplit(name)
    if "@" in parts.netloc:
        raise DataError(f"the address of {short(parts.path)} holds credentials, which would stand in what is written; "
                        "set them in the environment")  # fmt: skip
    system, root = _opened(parts.scheme, parts.netloc, parts.query)
    return Place(system, (root.rstrip("/") + unquote(parts.path)).rstrip("/"))


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


def files_at(address: str) -> Iterator[str]:
    """The addresses of the files that an address means: itself, those below it in sorted order, or those of a pattern.

    What begins with a dot or an underscore is hidden, as readers of Parquet have it.
    """
    base, pattern = _without_pattern(address)
    place, start = place_of(base), urlsplit(base)
    with telling(base):
        (found,) = place.system.get_file_info([place.path])
        if pattern is None and found.type == fs.FileType.File:
            yield address
            return
        if found.type == fs.FileType.NotFound:
            raise FileNotFoundError
        root, query = len(place.path), f"?{start.query}" if start.query else ""
        for path in _below(place):
            if pattern is None or pattern.fullmatch(path[root:].lstrip("/")):
                way = quote(path[root:].lstrip("/"))
                yield f"{start.scheme}://{start.netloc}{start.path.rstrip('/')}/{way}{query}"


def _below(place: Place) -> Iterator[str]:
    """The files below a folder, in the order of `images_below`; one folder is listed at a time."""
    waiting = [(place.path, fs.FileType.Directory)]
    while waiting:
        path, kind = waiting.pop()
        if kind == fs.FileType.File:
            yield path
        elif kind == fs.FileType.Directory:
            entries = place.system.get_file_info(fs.FileSelector(path))
            shown = [(entry.path, entry.type) for entry in entries if not entry.base_name.startswith((".", "_"))]
            waiting.extend(sorted(shown, key=lambda entry: entry[0], reverse=True))


def _without_pattern(address: str) -> tuple[str, re.Pattern[str] | None]:
    """The folder above the first part of an address that is a pattern, and the pattern below it; None for none."""
    way, mark, query = address.partition("?")
    found = _MAGIC.search(way)
    if found is None:
        return address, None
    cut = way.rindex("/", 0, found.start())
    return way[:cut] + mark + query, _regular(way[cut + 1 :])


def _regular(pattern: str) -> re.Pattern[str]:
    """A pattern of paths as a regular expression: ** is any folders, * ends at a slash, [ab] is one of these."""
    forms = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*"}
    parts = re.split(r"(\*\*/|\*\*|\*|\[[^\]]*\])", pattern)
    return re.compile("".join(forms.get(part, part if part.startswith("[") else re.escape(part)) for part in parts))


@cache
def _local() -> Any:
    return fs.LocalFileSystem()


@cache
def _opened(scheme: str, authority: str, query: str) -> tuple[Any, str]:
    """A file system and the path of its address's root, made once: to make one can ask the network."""
    with telling(f"{scheme}://{authority}", "open"):
        return fs.FileSystem.from_uri(f"{scheme}://{authority}/" + (f"?{query}" if query else ""))
