"""Images inside other files: the rows of Parquet files and the members of tars; where each lies, and its bytes."""

from __future__ import annotations

import io
import posixpath
import tarfile
from collections import Counter
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
from mlrpl_cli.core.io.errors import DataError, did_you_mean, first_few, in_words, one_line
from mlrpl_cli.core.io.reading import GIB, MIB, short
from mlrpl_cli.core.prediction.bulk.addresses import is_address, place_of, telling, way_of

PARQUET, TAR = ".parquet", ".tar"
"""How the names of containers end, in capitals or not."""
COMPRESSED = (".tgz", ".tbz2", ".txz", ".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst", ".tar.lz4")
MOST_BYTES = GIB // 2
"""Of an image that is read into memory as a file."""
MOST_OF_A_GROUP = GIB
"""Bytes of the images in a row group of a Parquet file; reading it takes two to three times that in memory."""
READ_AHEAD = MIB
"""Bytes that are read at once where the headers of a tar are looked for."""
ROWS_AT_ONCE, NAMES_AT_ONCE = 32, 4096


class Item(NamedTuple):
    """An image of a job, and where it lies."""

    name: str
    """What it is called in results; a path or an address where it is a file of its own."""
    container: str | None = None
    """The Parquet file of bytes, or the tar, that it lies in."""
    at: int | None = None
    """Its row, or the place of its first byte in the tar; of a row that names no file, without a container."""
    size: int | None = None
    """Its bytes in the tar."""


@dataclass(frozen=True)
class Picture:
    """An image that can be fetched."""

    name: str
    get: Callable[[], Path | EncodedImage]

    def fetch(self) -> Path | EncodedImage:
        """Raises DataError where it cannot be, whatever is wrong with what a table or a list says of it."""
        try:
            return self.get()
        except (DataError, MemoryError):
            raise
        except Exception as error:
            raise DataError(f"cannot read {self.name}: {type(error).__name__}: {one_line(error)}") from error

    def __str__(self) -> str:
        return self.name


def container_kind(name: str) -> str | None:
    """PARQUET or TAR by the end of a name; None for an image. Raises DataError for a tar that is compressed."""
    way = way_of(name).lower()
    if way.endswith(COMPRESSED):
        raise DataError(f"{name} is a compressed tar, and images are read at their places; decompress it, as to a .tar")
    return next((kind for kind in (PARQUET, TAR) if way.endswith(kind)), None)


def members(name: str, left_out: Counter[str] | None = None) -> Iterator[Item]:
    """The images among the members of a tar; `left_out` counts those that are links. Hidden ones are passed over.

    Raises DataError for a tar that cannot be read to its end: tarfile alone takes a damaged header for the end.
    """
    place = place_of(name)
    with telling(name), closing(place.system.open_input_file(place.path)) as stream:
        buffered = io.BufferedReader(stream, READ_AHEAD)
        try:
            with tarfile.open(fileobj=buffered, mode="r:") as tar:
                while (member := tar.next()) is not None:
                    tar.members = []  # type: ignore[attr-defined]  # which it would keep all of
                    if not is_image(member.name) or posixpath.basename(member.name).startswith("."):
                        continue
                    if member.isreg() and not member.issparse():
                        yield Item(f"{name}:{member.name}", name, member.offset_data, member.size)
                    elif left_out is not None and not member.isdir():
                        left_out["links or sparse files in tars"] += 1
                end = tar.offset
        except (tarfile.TarError, RecursionError) as error:
            raise DataError(f"cannot read {name}: {one_line(error)}; make this tar anew, uncompressed") from error
        _check_end(name, stream, end)


def _check_end(name: str, stream: Any, end: int) -> None:
    """Raise DataError unless zeros alone follow, a block of them at least."""
    stream.seek(end)
    length = 0
    while (block := stream.read(READ_AHEAD)) and block.count(0) == len(block):
        length += len(block)
    if block or length < tarfile.BLOCKSIZE:
        told = f"it is damaged or cut at byte {end}, or another tar was appended there"
        raise DataError(f"cannot read {name}: {told}; make this tar anew")


def rows(name: str, column: str | None) -> Iterator[Item]:
    """The images of a Parquet file: those that a column of paths names, or the rows of a column of bytes.

    A path that is neither absolute nor an address is one from the folder of the file. A row without a path has no name
    but its place. Raises DataError for a file that cannot be read, and for one without a column that is clear.
    """
    with telling(name), _parquet(name) as file:
        chosen = _column(name, file.schema_arrow, column)
        if not _is_text(chosen.type):
            _check_groups(name, file.metadata, chosen.name)
            yield from (Item(f"{name}:{row}", name, row) for row in range(file.metadata.num_rows))
            return
        batches = file.iter_batches(NAMES_AT_ONCE, columns=[chosen.name])
        found = (text for batch in batches for text in batch.column(0).to_pylist())
        for row, text in enumerate(found):
            yield Item(_from(name, text)) if text else Item(f"{name}:{row}", at=row)


def pictures(items: Sequence[Item], column: str | None) -> Iterator[Picture]:
    """`items`, in order, so that each can be fetched; a container is opened once."""
    for container, group in groupby(items, key=lambda item: item.container):
        if container is None:
            yield from (Picture(item.name, partial(_of_file, item)) for item in group)
        elif container_kind(container) == TAR:
            yield from _of_tar(container, list(group))
        else:
            yield from _of_rows(container, list(group), column)


def _of_file(item: Item) -> Path | EncodedImage:
    if item.at is not None:
        raise DataError(f"cannot read {item.name}: the row holds no image")
    return _named(item.name)


def _named(name: str) -> Path | EncodedImage:
    if not is_address(name):
        return Path(name)
    place = place_of(name)
    with telling(name), closing(place.system.open_input_file(place.path)) as stream:
        return EncodedImage(name, stream.read(_allowed(name, stream.size())))


def _of_tar(container: str, items: Sequence[Item]) -> Iterator[Picture]:
    def fetch(item: Item) -> EncodedImage:
        with telling(item.name):
            return EncodedImage(item.name, stream.read_at(_allowed(item.name, item.size or 0), item.at))

    try:
        place = place_of(container)
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
                yield Picture(item.name, partial(_of_cell, item, cell))
        yield from _failing(rest, DataError(f"cannot read {container}: it has fewer rows than when it was listed"))
    except DataError as error:
        yield from _failing(rest, error)


def _cells(container: str, first: int, column: str | None) -> Iterator[Any]:
    """The cells of a column from a row on, of which a few are in memory."""
    with _parquet(container) as file:
        chosen, groups, skipped = _column(container, file.schema_arrow, column), file.num_row_groups, first
        begin = 0
        while begin < groups and skipped >= file.metadata.row_group(begin).num_rows:
            skipped -= file.metadata.row_group(begin).num_rows
            begin += 1
        remaining = list(range(begin, groups))
        for batch in file.iter_batches(ROWS_AT_ONCE, row_groups=remaining, columns=[chosen.name]):
            yield from batch.column(0)[min(skipped, len(batch)) :]
            skipped -= min(skipped, len(batch))


def _of_cell(item: Item, cell: Any) -> Path | EncodedImage:
    value = cell.as_py()
    content, way = (value.get("bytes"), value.get("path")) if isinstance(value, dict) else (value, None)
    if content is None and isinstance(way, str) and way:  # Hugging Face's, of a file that is not in the table
        return _named(_from(item.container or "", way))
    if not isinstance(content, bytes):
        raise DataError(f"cannot read {item.name}: the row holds no image")
    _allowed(item.name, len(content))
    return EncodedImage(item.name, content)


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
    way = way_of(name)
    return posixpath.join(posixpath.dirname(way), text) + name[len(way) :]


def _parquet(name: str) -> pq.ParquetFile:
    """A Parquet file that is read page by page: without a buffer pyarrow holds a whole row group in its file's form."""
    place = place_of(name)
    return pq.ParquetFile(place.system.open_input_file(place.path), buffer_size=READ_AHEAD, pre_buffer=False)


def _check_groups(name: str, metadata: pq.FileMetaData, column: str) -> None:
    """Raise DataError for a row group that would take too much memory: a page may be as large as its whole column."""
    leaves = [n for n in range(metadata.num_columns) if _is_below(metadata.schema.column(n).path, column)]
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        size = sum(group.column(leaf).total_uncompressed_size for leaf in leaves)
        if size > MOST_OF_A_GROUP:
            told = f"row group {number} holds {in_words(size)} of images, more than the limit of"
            raise DataError(
                f"cannot read {name}: {told} {in_words(MOST_OF_A_GROUP)}; write it anew with smaller row groups"
            )


def _is_below(path: str, column: str) -> bool:
    return path == column or path.startswith(f"{column}.")


def _column(name: str, schema: pa.Schema, asked: str | None) -> pa.Field:
    """The column that images are in. Raises DataError where it is not clear which one that is."""
    if asked is not None and asked not in schema.names:
        raise DataError(f"{name} has no column '{short(asked)}'; {did_you_mean(asked, schema.names)}")
    fields = [field for field in schema if asked in (None, field.name)]
    of_bytes = [field for field in fields if _is_bytes(field.type)]
    able = of_bytes or [field for field in fields if _is_text(field.type)]
    if asked is not None and not able:
        kind = short(str(fields[0].type))
        raise DataError(
            f"{name}: expected paths or bytes in column '{short(asked)}', got {kind}; choose another --column"
        )
    if len({field.name for field in able}) != 1:
        found = first_few((short(field.name) for field in able), 10) or "no column of text or bytes"
        raise DataError(f"{name}: expected one column of paths or bytes, got {found}; name it with --column")
    if schema.names.count(able[0].name) > 1:
        raise DataError(f"{name}: more than one column is called '{short(able[0].name)}'; rename all but one")
    return able[0]


def _is_text(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def _is_bytes(kind: pa.DataType) -> bool:
    """Bytes, or what Hugging Face's data sets write: a struct of bytes and a path."""
    if pa.types.is_struct(kind):
        names = [field.name for field in kind]
        return "bytes" in names and _is_bytes(kind.field("bytes").type)
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind)
