"""Images inside other files: the rows of Parquet files and the members of tars; where each lies, and its bytes."""

from __future__ import annotations

import io
import posixpath
import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from mlrpl_cli.core.images.decode import EncodedImage
from mlrpl_cli.core.images.kinds import is_image
from mlrpl_cli.core.io.errors import DataError, did_you_mean, first_few, in_words
from mlrpl_cli.core.io.reading import GIB, MIB, short
from mlrpl_cli.core.prediction.bulk.addresses import is_address, place_of, telling

PARQUET, TAR = ".parquet", ".tar"
MOST_BYTES = GIB // 2
"""Of an image that is read into memory as a file."""
READ_AHEAD = MIB
"""Bytes that are read at once where the headers of a tar are looked for."""
ROWS_AT_ONCE = 32


class Item(NamedTuple):
    """An image of a job, and where it lies."""

    name: str
    """What it is called in results; a path or an address where it is a file of its own."""
    container: str | None = None
    """The Parquet file of bytes, or the tar, that it lies in."""
    at: int | None = None
    """Its row, or the place of its first byte in the tar."""
    size: int | None = None
    """Its bytes in the tar."""


@dataclass(frozen=True)
class Picture:
    """An image that can be fetched."""

    name: str
    fetch: Callable[[], Path | EncodedImage]
    """Raises DataError where it cannot be."""

    def __str__(self) -> str:
        return self.name


def members(name: str) -> Iterator[Item]:
    """The images among the members of a tar, which is not compressed. Raises DataError for one that cannot be read."""
    place = place_of(name)
    with telling(name), closing(place.system.open_input_file(place.path)) as stream:
        try:
            with tarfile.open(fileobj=io.BufferedReader(stream, READ_AHEAD), mode="r:") as tar:
                while (member := tar.next()) is not None:
                    tar.members = []  # type: ignore[attr-defined]  # which it would keep all of
                    if member.isreg() and not member.issparse() and is_image(member.name):
                        yield Item(f"{name}:{member.name}", name, member.offset_data, member.size)
        except tarfile.TarError as error:
            raise DataError(f"cannot read {name}: {error}; tars are read as they are, not compressed") from error


def rows(name: str, column: str | None) -> Iterator[Item]:
    """The images of a Parquet file: those that a column of paths names, or the rows of a column of bytes.

    A path that is neither absolute nor an address is one from the folder of the file. A row without a path has no name
    but its place. Raises DataError for a file that cannot be read, and for one without a column that is clear.
    """
    place = place_of(name)
    with telling(name), pq.ParquetFile(place.system.open_input_file(place.path)) as file:
        chosen = _column(name, file.schema_arrow, column)
        if not _is_text(chosen.type):
            yield from (Item(f"{name}:{row}", name, row) for row in range(file.metadata.num_rows))
            return
        found = (text for batch in file.iter_batches(columns=[chosen.name]) for text in batch.column(0).to_pylist())
        for row, text in enumerate(found):
            yield Item(_from(name, text)) if text else Item(f"{name}:{row}", name, row)


def pictures(items: Sequence[Item], column: str | None) -> Iterator[Picture]:
    """`items`, in order, so that each can be fetched; a container is opened once."""
    for container, group in groupby(items, key=lambda item: item.container):
        if container is None:
            yield from (Picture(item.name, partial(_of_file, item.name)) for item in group)
        elif container.partition("?")[0].endswith(TAR):
            yield from _of_tar(container, list(group))
        else:
            yield from _of_rows(container, list(group), column)


def _of_file(name: str) -> Path | EncodedImage:
    if not is_address(name):
        return Path(name)
    place = place_of(name)
    with telling(name), closing(place.system.open_input_file(place.path)) as stream:
        return EncodedImage(name, stream.read(_allowed(name, stream.size())))


def _of_tar(container: str, items: Sequence[Item]) -> Iterator[Picture]:
    def fetch(item: Item) -> EncodedImage:
        with telling(item.name):
            return EncodedImage(item.name, stream.read_at(_allowed(item.name, item.size or 0), item.at))

    place = place_of(container)
    try:
        with telling(container):
            stream = place.system.open_input_file(place.path)
    except DataError as error:
        yield from _failing(items, error)
        return
    # It stays open as long as a picture of it is there to be fetched.
    yield from (Picture(item.name, partial(fetch, item)) for item in items)


def _of_rows(container: str, items: Sequence[Item], column: str | None) -> Iterator[Picture]:
    """The bytes of rows that follow each other."""
    rest = iter(items)
    try:
        with telling(container):
            for cell, item in zip(_cells(container, items[0].at or 0, column), rest, strict=False):
                yield Picture(item.name, partial(_of_cell, item.name, cell))
        yield from _failing(rest, DataError(f"cannot read {container}: it has fewer rows than when it was listed"))
    except DataError as error:
        yield from _failing(rest, error)


def _cells(container: str, first: int, column: str | None) -> Iterator[Any]:
    """The cells of a column from a row on, of which a few are in memory."""
    place = place_of(container)
    with pq.ParquetFile(place.system.open_input_file(place.path)) as file:
        chosen, groups, skipped = _column(container, file.schema_arrow, column), file.num_row_groups, first
        begin = 0
        while begin < groups and skipped >= file.metadata.row_group(begin).num_rows:
            skipped -= file.metadata.row_group(begin).num_rows
            begin += 1
        remaining = list(range(begin, groups))
        for batch in file.iter_batches(ROWS_AT_ONCE, row_groups=remaining, columns=[chosen.name]):
            yield from batch.column(0)[min(skipped, len(batch)) :]
            skipped -= min(skipped, len(batch))


def _of_cell(name: str, cell: Any) -> EncodedImage:
    value = cell.as_py()
    content = value.get("bytes") if isinstance(value, dict) else value
    if not isinstance(content, bytes):
        raise DataError(f"cannot read {name}: the row holds no image")
    _allowed(name, len(content))
    return EncodedImage(name, content)


def _failing(items: Iterable[Item], error: DataError) -> Iterator[Picture]:
    def fetch() -> Path:
        raise error

    return (Picture(item.name, fetch) for item in items)


def _allowed(name: str, size: int) -> int:
    if size > MOST_BYTES:
        raise DataError(f"cannot read {name}: {in_words(size)} are more than the limit of {in_words(MOST_BYTES)}")
    return size


def _from(name: str, text: str) -> str:
    """A path in the column of the file `name`, as seen from where that file is."""
    if is_address(text) or text.startswith("/"):
        return text
    way, mark, query = name.partition("?") if is_address(name) else (name, "", "")
    return posixpath.join(posixpath.dirname(way), text) + mark + query


def _column(name: str, schema: pa.Schema, asked: str | None) -> pa.Field:
    """The column that images are in. Raises DataError where it is not clear which one that is."""
    if asked is not None:
        if asked not in schema.names:
            raise DataError(f"{name} has no column '{short(asked)}'; {did_you_mean(asked, schema.names)}")
        if not (_is_text(schema.field(asked).type) or _is_bytes(schema.field(asked).type)):
            kind = short(str(schema.field(asked).type))
            raise DataError(
                f"{name}: expected paths or bytes in column '{short(asked)}', got {kind}; choose another --column"
            )
        return schema.field(asked)
    of_bytes = [field for field in schema if _is_bytes(field.type)]
    able = of_bytes or [field for field in schema if _is_text(field.type)]
    if len(able) != 1:
        found = first_few((short(field.name) for field in able), 10) or "no column of text or bytes"
        raise DataError(f"{name}: expected one column of paths or bytes, got {found}; name it with --column")
    return able[0]


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _is_bytes(kind: pa.DataType) -> bool:
    """Bytes, or what Hugging Face's data sets write: a struct of bytes and a path."""
    if pa.types.is_struct(kind):
        names = [field.name for field in kind]
        return "bytes" in names and _is_bytes(kind.field("bytes").type)
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)
