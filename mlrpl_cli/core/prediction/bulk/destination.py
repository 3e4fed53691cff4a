"""Where a job writes: a folder on disk or on a file system that pyarrow opens.

    job.json                        which run, sources and options it is of
    predictions/part-00000.parquet  a row an image; there once the part is done
    errors/part-00000.parquet       a row an image that could not be read; only of parts with such images

A file appears whole, under its name, or not at all: on a disk it is renamed, and S3 and its like show it when all of it
has arrived. The one process that hands out parts writes them, too, so that whatever happens to the workers no
part is written twice, and the folder need not be reached by other machines.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from pyarrow import fs

from mlrpl_cli.core.io.errors import DataError, one_line
from mlrpl_cli.core.io.files import TEMPORARY_PREFIX, make_folder, sole_writer, writing
from mlrpl_cli.core.io.reading import MIB, difference
from mlrpl_cli.core.prediction.bulk.addresses import FAILURES, place_of, telling, way_of

RECORD, PREDICTIONS, ERRORS = "job.json", "predictions", "errors"
FORMAT = 1
MOST_BYTES = MIB
"""Of job.json."""
APPEARING_WHOLE = ("s3", "gcs", "abfs")
"""File systems whose files are there when they are complete; on others a file is renamed."""
_NAME = re.compile(r"part-(\d{5,})\.parquet")


class Destination:
    """The folder that one job writes to."""

    def __init__(self, name: str) -> None:
        self.name, self.place = name, place_of(name)
        self._local = Path(self.place.path) if self.place.system.type_name == "local" else None

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other jobs out, as far as its file system has locks, and remove what a killed one left half-written.

        Folders that are made for it and stay empty are removed again. Raises DataError when another process writes
        there, and when nothing can be written.
        """
        with self._folders_of_disk(self._local) if self._local else self._folders():
            for folder in (PREDICTIONS, ERRORS):
                for path in self._files(folder):
                    if path.rpartition("/")[2].startswith(TEMPORARY_PREFIX):
                        with telling(path, "remove"):
                            self.place.system.delete_file(path)
            yield

    @contextmanager
    def _folders_of_disk(self, root: Path) -> Iterator[None]:
        folders = (root / PREDICTIONS, root / ERRORS)
        made = [path for path in (*folders, root, *root.parents) if not os.path.lexists(path)]
        try:
            for folder in folders:
                make_folder(folder)
            with sole_writer(root, "choose another --out"):
                yield
        finally:
            for path in made:
                with suppress(OSError):  # it holds something
                    path.rmdir()

    @contextmanager
    def _folders(self) -> Iterator[None]:
        system, path = self.place.system, self.place.path
        with telling(self.name, "write"):
            (before,) = system.get_file_info([path])
            for folder in (PREDICTIONS, ERRORS):
                system.create_dir(self.place.below(folder).path, recursive=True)
        try:
            yield
        finally:
            with suppress(*FAILURES):
                below = system.get_file_info(fs.FileSelector(path, recursive=True)) if self._is_new(before) else None
                if below is not None and all(info.type == fs.FileType.Directory for info in below):
                    system.delete_dir(path)

    def _is_new(self, before: Any) -> bool:
        """Whether there was no such folder before, and no job has begun in it."""
        (record,) = self.place.system.get_file_info([self.place.below(RECORD).path])
        return before.type == record.type == fs.FileType.NotFound

    def wrote(self, name: str) -> bool:
        """Whether a file of that path or address is one of a part that lies here."""
        folder, _, last = way_of(name).rpartition("/")
        if not _NAME.fullmatch(last):
            return False
        place, own = place_of(folder or "."), [self.place.below(each).path for each in (PREDICTIONS, ERRORS)]
        if self._local and place.system.type_name == "local":
            return os.path.realpath(place.path) in map(os.path.realpath, own)
        return place.path in own and place.system == self.place.system

    def agree(self, record: Mapping[str, Any]) -> None:
        """Write the record of a job, or find that it is of the same. Raises DataError, which says what differs."""
        place = self.place.below(RECORD)
        with telling(f"{self.name}/{RECORD}"):
            (found,) = place.system.get_file_info([place.path])
            if found.type == fs.FileType.NotFound:
                if any(self._files(PREDICTIONS)):
                    raise DataError(
                        f"{self.name} holds predictions and no {RECORD} that says of what; choose another --out"
                    )
                self._write(RECORD, json.dumps({"format": FORMAT, **record}, indent=2).encode())
                return
            with place.system.open_input_stream(place.path) as stream:
                text = stream.read(MOST_BYTES)
        try:
            before = json.loads(text)
            was = {name: before.get(name) for name in ("format", *record)}
        except (ValueError, AttributeError, RecursionError) as error:
            raise DataError(f"{self.name}/{RECORD} is damaged: {one_line(error)}; choose another --out") from error
        now = json.loads(json.dumps({"format": FORMAT, **record}))
        if differing := [difference(name, was[name], value) for name, value in now.items() if was[name] != value]:
            told = "; ".join(differing)
            raise DataError(f"{self.name} was begun otherwise: {told}; go on as it was begun, or choose another --out")

    def done(self) -> set[int]:
        """The numbers of the parts that are written."""
        return set(self._numbers(PREDICTIONS))

    def failed(self) -> int:
        """How many images could not be read, of a job whose parts are all done."""
        with telling(f"{self.name}/{ERRORS}"):
            return sum(self._rows(ERRORS, number) for number in self._numbers(ERRORS))

    def write(self, number: int, predictions: bytes, errors: bytes | None) -> None:
        """Write a part; it is done when its predictions are there, so they come last. Raises DataError."""
        if errors is None:
            with telling(self.name, "write"), suppress(FileNotFoundError):  # of an attempt that was stopped in between
                self.place.system.delete_file(self.place.below(ERRORS, file_name(number)).path)
        else:
            self._write(f"{ERRORS}/{file_name(number)}", errors)
        self._write(f"{PREDICTIONS}/{file_name(number)}", predictions)

    def _write(self, name: str, content: bytes) -> None:
        place = self.place.below(name)
        folder, _, last = place.path.rpartition("/")
        aside = f"{folder}/{TEMPORARY_PREFIX}{last}"
        if self._local is not None:
            with writing(self._local / name):
                # Not `atomic_file`, which looks through the folder of all parts for what others left at each of them.
                try:
                    with open(aside, "wb") as stream:
                        stream.write(content)
                        stream.flush()
                        os.fsync(stream.fileno())
                    os.replace(aside, place.path)
                except BaseException:
                    Path(aside).unlink(missing_ok=True)
                    raise
            return
        with telling(f"{self.name}/{name}", "write"):
            whole = place.system.type_name in APPEARING_WHOLE
            with place.system.open_output_stream(place.path if whole else aside) as stream:
                stream.write(content)
            if not whole:
                place.system.move(aside, place.path)

    def _rows(self, folder: str, number: int) -> int:
        place = self.place.below(folder, file_name(number))
        with pq.ParquetFile(place.system.open_input_file(place.path)) as file:
            return file.metadata.num_rows

    def _numbers(self, folder: str) -> Iterator[int]:
        found = (_NAME.fullmatch(path.rpartition("/")[2]) for path in self._files(folder))
        return (int(match[1]) for match in found if match)

    def _files(self, folder: str) -> Iterator[str]:
        place = self.place.below(folder)
        try:
            entries = place.system.get_file_info(fs.FileSelector(place.path, allow_not_found=True))
        except FAILURES as error:
            raise DataError(f"cannot list {self.name}: {one_line(error)}") from error
        return (entry.path for entry in entries if entry.type == fs.FileType.File)


def file_name(number: int) -> str:
    """The name of the files of a part."""
    return f"part-{number:05d}.parquet"
