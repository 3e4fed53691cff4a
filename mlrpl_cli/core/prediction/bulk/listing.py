"""What the sources of a job hold, image by image, and its division into parts.

The division depends on the sources and the size of a part alone, so that a job that is started again finds the same
parts. It is written to a file: of millions of images none but those of a part are in memory at one time.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from mlrpl_cli.core.images.find import LeftOut, lines_of, meant_by, note_left_out, why_none
from mlrpl_cli.core.images.kinds import is_image
from mlrpl_cli.core.io.errors import DataError, first_few
from mlrpl_cli.core.io.progress import Progress
from mlrpl_cli.core.io.reading import short
from mlrpl_cli.core.prediction.bulk.addresses import Found, found_at, found_here, is_address, way_of
from mlrpl_cli.core.prediction.bulk.containers import PARQUET, TAR, Item, container_kind, members, rows

CONTAINERS = (PARQUET, TAR)
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


class Sources:
    """The images that sources mean, in order, each file once.

    A source is what `find_images` takes, a list of names (*.txt), a Parquet file, a tar, or an address of these; in
    folders all of them are found. Of a single folder, file or address no name is remembered; of several sources, and
    of patterns and lists, a digest of each.
    """

    def __init__(
        self,
        sources: Sequence[str],
        column: str | None,
        progress: Progress,
        names: Iterable[str] | None = None,
        ours: Callable[[str], bool] = lambda name: False,
    ) -> None:
        """`names` are those that the source "-" stands for; files that are `ours` are what a job wrote."""
        self._sources, self._column, self._progress, self._names, self._ours = sources, column, progress, names, ours
        self._others, self._states = LeftOut(), hashlib.sha256()
        self.relative = False
        """Whether a path that leads from the current folder was met."""

    @property
    def states_sha256(self) -> str:
        """Of the size of each file that was met, and of when it was changed, as far as its file system tells them."""
        return self._states.hexdigest()

    def items(self) -> Iterator[Item]:
        """To be asked for once. Raises DataError for a source that means nothing, and for all without an image."""
        wrong, some, seen = list[str](), False, None if self._are_one else set[bytes]()
        for source in self._sources:
            met = False
            for file in self._files(source):
                met = True
                if seen is None or _is_new(file.name, seen):
                    for item in self._entered(file):
                        some = True
                        yield item
            if not met:
                wrong.append(_why_none(source))
        note_left_out(self._others.kinds, self._progress)
        if wrong or not some:
            told = first_few(wrong or (f"{short(source)} holds no image" for source in self._sources))
            raise DataError(f"{told}; give images, *{PARQUET}, *{TAR}, lists (*{LIST}), or folders of these")

    @property
    def _are_one(self) -> bool:
        """Whether no file can be met twice, as by a pattern with ** it can."""
        source = self._sources[0] if len(self._sources) == 1 else "-"
        return not _is_list(source) and (is_address(source) or os.path.lexists(source))

    def _files(self, source: str) -> Iterator[Found]:
        """The images, Parquet files and tars that a source means, but for those that the job wrote."""
        found = self._listed(source) if _is_list(source) else self._named(source)
        return (file for file in found if not self._ours(file.name))

    def _listed(self, source: str) -> Iterator[Found]:
        with open(os.devnull if source == "-" else source, "rb") as stream:
            for name in lines_of(self._names if source == "-" else map(os.fsdecode, stream)):
                if is_address(name):  # to ask for each of them would take longer than to read it
                    yield from found_at(name) if container_kind(name) else [Found(name)]
                else:
                    yield from map(found_here, map(str, meant_by("-", self._others, [name], CONTAINERS)))

    def _named(self, source: str) -> Iterator[Found]:
        if not is_address(source):
            yield from map(found_here, map(str, meant_by(source, self._others, more=CONTAINERS)))
            return
        for file in found_at(source):
            way = way_of(file.name)
            if is_image(way) or way.lower().endswith(CONTAINERS) or file.name == source:
                yield file
            else:
                self._others.add(way)

    def _entered(self, file: Found) -> Iterator[Item]:
        """The images in a Parquet file or a tar, or the one that a file is."""
        self.relative |= not (is_address(file.name) or os.path.isabs(file.name))
        self._states.update(repr(file.state).encode())
        kind = container_kind(file.name)
        if kind is None:
            yield Item(file.name)
        elif kind == TAR:
            yield from members(file.name, self._others.kinds)
        else:
            for item in rows(file.name, self._column):
                if item.container is None and item.at is None and not is_address(item.name):
                    self._states.update(repr(found_here(item.name).state).encode())
                yield item


def _is_list(source: str) -> bool:
    return source == "-" or (source.endswith(LIST) and os.path.isfile(source))


def _why_none(source: str) -> str:
    if source != "-" and _is_list(source):
        return f"the list {short(source)} names no image"
    return f"there is no image at {source}" if is_address(source) else why_none(source)


def _is_new(name: str, seen: set[bytes]) -> bool:
    told = name if is_address(name) else os.path.abspath(name)
    digest = hashlib.sha256(os.fsencode(told)).digest()[:16]
    new = digest not in seen
    seen.add(digest)
    return new


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
