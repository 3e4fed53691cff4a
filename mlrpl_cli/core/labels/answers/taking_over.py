"""A data set written into a file of answers: for the first time, or in place of what it was when answers came."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mlrpl_cli.core.io.errors import DataError
from mlrpl_cli.core.io.reading import short
from mlrpl_cli.core.labels.answers.contents import IMAGE_ROOT, SOURCE
from mlrpl_cli.core.labels.answers.database import APPLICATION, SCHEMA, VERSION, transaction
from mlrpl_cli.core.labels.answers.records import DataSet


def create(connection: sqlite3.Connection, path: Path, data: DataSet) -> None:
    """Make an empty file one of answers about `data`, of which there is none yet."""
    with transaction(connection, path):
        for statement in (f"PRAGMA application_id = {APPLICATION}", f"PRAGMA user_version = {VERSION}", *SCHEMA):
            connection.execute(statement)
        _write(connection, data)


def take_over(connection: sqlite3.Connection, path: Path, data: DataSet) -> None:
    """Write `data` in place of the data set that the file is about; its answers stay.

    Raises DataError for a data set that has no image of that one.
    """
    names = {os.fsdecode(name) for (name,) in connection.execute("SELECT name FROM images")}
    if names.isdisjoint(data.images):
        (source,) = connection.execute("SELECT value FROM about WHERE key = ?", (SOURCE,)).fetchone()
        was, told = os.fsdecode(source), short(data.images[0])
        advice = "name another file with --answers"
        raise DataError(f"{path} is about {was}, and no image of {data.source} ({told}) is among its; {advice}")
    with transaction(connection, path):
        _write(connection, data)


def same(one: DataSet, other: DataSet) -> bool:
    """Whether nothing would have to be written."""
    plain = ((data.classes, data.images, data.splits, *map(_bytes, _folders(data))) for data in (one, other))
    return len(set(plain)) == 1 and np.array_equal(one.given, other.given)


def _write(connection: sqlite3.Connection, data: DataSet) -> None:
    if data.given.shape != (len(data.images), len(data.classes)):
        raise DataError(f"{data.source} has labels that are not those of its images and classes; prepare it again")
    _check_different(data.images, data)
    _check_different(data.classes, data)
    given = np.ascontiguousarray(data.given, np.int8)
    labels = (row.tobytes() for row in given)
    names = map(os.fsencode, data.images)
    about = zip((IMAGE_ROOT, SOURCE), map(_bytes, _folders(data)), strict=True)
    connection.executemany("INSERT OR REPLACE INTO about VALUES (?, ?)", about)
    connection.execute("UPDATE classes SET position = NULL")
    connection.execute("UPDATE images SET position = NULL, given = x''")
    connection.executemany(
        "INSERT INTO classes (name, position) VALUES (?, ?) "
        "ON CONFLICT (name) DO UPDATE SET position = excluded.position",
        zip(data.classes, range(len(data.classes)), strict=True),
    )
    connection.executemany(
        "INSERT INTO images (name, split, position, given) VALUES (?, ?, ?, ?) ON CONFLICT (name) DO UPDATE "
        "SET split = excluded.split, position = excluded.position, given = excluded.given",
        zip(names, data.splits, range(len(data.images)), labels, strict=True),
    )


def _check_different(names: Sequence[str], data: DataSet) -> None:
    if len(set(names)) != len(names):
        raise DataError(f"{data.source} has a name twice; run mlrpl prepare again")


def _folders(data: DataSet) -> tuple[Path, Path]:
    return data.image_root, data.source


def _bytes(folder: Path) -> bytes:
    return os.fsencode(os.path.abspath(folder))
