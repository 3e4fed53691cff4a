"""What the sources of a job hold, image by image, and its division into parts.

The division depends on the sources and the size of a part alone, so that a job that is started again finds the same
parts. It is written to a file: of millions of images none but those of a part are in memory at one time.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from mlrpl_cli.core.images.find import LeftOut, lines_of, meant_by, note_left_out, why_none
from mlrpl_cli.core.images.kinds import is_image
from mlrpl_cli.core.io.errors import DataError, first_few
from mlrpl_cli.core.io.progress import Progress
from mlrpl_cli.core.prediction.bulk.addresses import files_at, is_address
from mlrpl_cli.core.prediction.bulk.containers import PARQUET, TAR, Item, members, rows

LIST = ".txt"
"""What the name of a list of images, one a line, ends in."""
_SCHEMA = pa.schema([("name", pa.binary()), ("container", pa.binary()), ("at", pa.int64()), ("size", pa.int64())])
# Names as the system has them, which need be no text.


class Part(NamedTuple):
    """Images that are predicted together and written to one file."""

    number: int
    items: Sequence[Item]


class Listing:
    """All images of a job by parts, in a file."""

    def __init__(self, path: Path, sha256: str) -> None:
        """`sha256` is of every name and place in order."""
        self._file, self.sha256 = pq.ParquetFile(path), sha256
        self.parts: int = self._file.num_row_groups
        self.images: int = self._file.metadata.num_rows

    def images_of(self, number: int) -> int:
        """How many images a part has."""
        return self._file.metadata.row_group(number).num_rows

    def part(self, number: int) -> Part:
        """A part, read from the file."""
        table = self._file.read_row_group(number)
        return Part(number, [_item(*row.values()) for row in table.to_pylist()])


def write_listing(path: Path, items: Iterable[Item], images_of_a_part: int) -> Listing:
    """List `items` in a new file. A part has at most `images_of_a_part`, and all of one Parquet file or tar."""
    digest = hashlib.sha256()
    with pq.ParquetWriter(path, _SCHEMA) as writer:
        for part in _divided(items, images_of_a_part):
            encoded = [(os.fsencode(i.name), i.container and os.fsencode(i.container), i.at, i.size) for i in part]
            digest.update(repr(encoded).encode())
            columns = [
                pa.array(column, kind) for column, kind in zip(zip(*encoded, strict=True), _SCHEMA.types, strict=True)
            ]
            writer.write_table(pa.table(columns, schema=_SCHEMA), row_group_size=len(part))
    return Listing(path, digest.hexdigest())


def items_of(
    sources: Sequence[str], column: str | None, progress: Progress, names: Iterable[str] | None = None
) -> Iterator[Item]:
    """The images that `sources` mean, in order, each file once.

    A source is what `find_images` takes, a list of names (*.txt), a Parquet file, a tar, or an address of these; in
    folders all of them are found. Raises DataError for one that means nothing.
    Of a single folder, pattern, Parquet file or tar no name is remembered; of several, and of lists, a digest of each.
    """
    others, wrong = LeftOut(), list[str]()
    seen = None if len(sources) == 1 and not _is_list(sources[0]) else set[bytes]()
    for source in sources:
        some = False
        for name in _files(source, others, names):
            some = True
            if seen is None or _is_new(name, seen):
                yield from _entered(name, column)
        if not some:
            wrong.append(_why_none(source))
    note_left_out(others.kinds, progress)
    if wrong:
        raise DataError(f"{first_few(wrong)}; give images, *{PARQUET}, *{TAR}, lists (*{LIST}), or folders of these")


def _files(source: str, others: LeftOut, names: Iterable[str] | None) -> Iterator[str]:
    """The names of the images, Parquet files and tars that a source means."""
    if _is_list(source):
        with open(os.devnull if source == "-" else source, "rb") as stream:
            listed = names if source == "-" else map(os.fsdecode, stream)
            for name in lines_of(listed):
                yield from [name] if is_address(name) else map(str, meant_by("-", others, [name], (PARQUET, TAR)))
    elif is_address(source):
        found = files_at(source)
        first = next(found, None)
        for name in chain([] if first is None else [first], found):
            way = name.partition("?")[0]
            if is_image(way) or way.endswith((PARQUET, TAR)) or name == source:
                yield name
            else:
                others.add(way)
    else:
        yield from map(str, meant_by(source, others, more=(PARQUET, TAR)))


def _is_list(source: str) -> bool:
    return source == "-" or (source.endswith(LIST) and os.path.isfile(source))


def _why_none(source: str) -> str:
    return f"there is no image at {source}" if is_address(source) else why_none(source)


def _is_new(name: str, seen: set[bytes]) -> bool:
    told = name if is_address(name) else os.path.abspath(name)
    digest = hashlib.sha256(os.fsencode(told)).digest()[:16]
    new = digest not in seen
    seen.add(digest)
    return new


def _entered(name: str, column: str | None) -> Iterator[Item]:
    """The images in a Parquet file or a tar, or the one that a file is."""
    way = name.partition("?")[0] if is_address(name) else name
    if way.endswith(PARQUET):
        return rows(name, column)
    return members(name) if way.endswith(TAR) else iter([Item(name)])


def _divided(items: Iterable[Item], most: int) -> Iterator[list[Item]]:
    part = list[Item]()
    for item in items:
        if part and (len(part) == most or part[-1].container != item.container):
            yield part
            part = []
        part.append(item)
    if part:
        yield part


def _item(name: bytes, container: bytes | None, at: int | None, size: int | None) -> Item:
    return Item(os.fsdecode(name), None if container is None else os.fsdecode(container), at, size)
