"""What a file of answers holds, looked at before it is believed. N images, C classes."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from mlrpl_cli.core.io.reading import is_file_name, is_name, leads_outside, shown
from mlrpl_cli.core.labels.answers.database import check_layout, damaged
from mlrpl_cli.core.labels.answers.ledger import Cell, Ledger
from mlrpl_cli.core.labels.answers.records import (
    LONGEST_PERSON,
    LONGEST_TOKEN,
    STATES,
    DataSet,
    Standing,
    is_probability,
    is_text,
)
from mlrpl_cli.core.labels.marks import MOST_CELLS, MOST_CLASSES, NOWHERE
from mlrpl_cli.core.labels.records import SPLITS

IMAGE_ROOT, SOURCE = "image_root", "source"
"""Keys of `about`; their values are the bytes of paths."""
_LONGEST_TIME = 40
_Places = dict[int, int]  # row or column by id, NOWHERE for what the data set has no more


@dataclass(frozen=True)
class Contents:
    """All of a file."""

    data: DataSet
    image_ids: tuple[int, ...]
    """Of the N rows."""
    class_ids: tuple[int, ...]
    """Of the C columns."""
    ledger: Ledger


def read_contents(connection: sqlite3.Connection, path: Path) -> Contents:
    """Everything in the file, as of one moment. Raises DataError for what `mlrpl review` cannot have written."""
    with _one_moment(connection):
        check_layout(connection, path)
        try:
            return _read(connection)
        except _OddError as error:
            raise damaged(path, str(error)) from error


class _OddError(Exception):
    """Something in the file that we cannot have written."""


def _read(connection: sqlite3.Connection) -> Contents:
    about = dict(connection.execute("SELECT key, value FROM about LIMIT 10"))
    root, source = (_path(about.get(key)) for key in (IMAGE_ROOT, SOURCE))
    classes, columns = _classes(connection)
    class_ids = _in_order(columns, "classes")
    images, rows = _images(connection, len(class_ids))
    image_ids = _in_order(rows, "images")
    given = np.empty((len(image_ids), len(class_ids)), np.int8)
    for row, number in enumerate(image_ids):
        given[row] = np.frombuffer(images[number][2], np.int8)
    if not np.isin(given, (-1, 0, 1)).all():
        raise _OddError("labels are neither present, absent nor unknown")
    data = DataSet(
        classes=tuple(classes[number] for number in class_ids),
        image_root=root,
        images=tuple(images[number][0] for number in image_ids),
        splits=tuple(images[number][1] for number in image_ids),
        given=given,
        source=source,
    )
    return Contents(data, image_ids, class_ids, _ledger(connection, rows, columns))


def _path(value: Any) -> Path:
    way = os.fsdecode(value) if isinstance(value, bytes) else ""
    if not is_file_name(way) or not os.path.isabs(way):
        raise _OddError(f"a folder is {shown(value)}")
    return Path(way)


def _classes(connection: sqlite3.Connection) -> tuple[dict[int, str], _Places]:
    """Names and columns by id."""
    names, columns = dict[int, str](), _Places()
    for number, name, position in connection.execute("SELECT id, name, position FROM classes"):
        if not is_name(name) or len(names) == MOST_CLASSES:
            raise _OddError(f"class {len(names) + 1} is called {shown(name)}")
        names[number], columns[number] = name, _place(position)
    _check_different(names.values(), len(names), "classes")
    return names, columns


def _images(connection: sqlite3.Connection, classes: int) -> tuple[dict[int, tuple[str, str, bytes]], _Places]:
    """Names, splits and given labels, and rows, by id."""
    found, rows = dict[int, tuple[str, str, bytes]](), _Places()
    for number, name, split, position, given in connection.execute("SELECT * FROM images"):
        row, file = _place(position), os.fsdecode(name) if isinstance(name, bytes) else ""
        if not is_file_name(file) or leads_outside(file) or split not in SPLITS:
            raise _OddError(f"an image is {shown(name)}, of the split {shown(split)}")
        if not isinstance(given, bytes) or len(given) != (0 if row == NOWHERE else classes):
            raise _OddError(f"the labels of {shown(name)} are not those of {classes} classes")
        if (len(found) + 1) * classes > MOST_CELLS:
            raise _OddError("it has more images and classes than memory holds")
        found[number], rows[number] = (file, split, given), row
    _check_different((name for name, _, _ in found.values()), len(found), "images")
    return found, rows


def _ledger(connection: sqlite3.Connection, rows: _Places, columns: _Places) -> Ledger:
    ledger, tokens, last = Ledger(), set[str](), 0
    for row in connection.execute("SELECT * FROM answers ORDER BY id"):
        number, token, image, class_, state, undoes, person, at, probability = row
        cell = image, class_
        if image not in rows or class_ not in columns or not is_text(person, LONGEST_PERSON) or not _is_time(at):
            raise _OddError(f"answer {shown(number)} is {shown(row[1:])}")
        if number <= last:
            raise _OddError(f"answer {shown(number)} follows {last}")
        last = number
        if undoes is not None:
            _take_back(ledger, row, cell)
            continue
        if token in tokens or not (is_text(token, LONGEST_TOKEN) and state in STATES and is_probability(probability)):
            raise _OddError(f"answer {number} is {shown(row[1:])}")
        tokens.add(token)
        ledger.add(number, cell, Standing(rows[image], columns[class_], state, person, token, at, probability))
    return ledger


def _take_back(ledger: Ledger, row: tuple[Any, ...], cell: Cell) -> None:
    number, token, _, _, state, undoes, person, _, _ = row
    try:
        ledger.take_back(undoes, cell, person)
    except (KeyError, TypeError):
        raise _OddError(f"answer {number} takes back {shown(undoes)}, which is none of that person's") from None
    if token is not None or state is not None:
        raise _OddError(f"answer {number} is both an answer and one that takes back another")


def _is_time(value: object) -> bool:
    """Whether `value` is ISO 8601's form of a moment."""
    try:
        return isinstance(value, str) and len(value) <= _LONGEST_TIME and bool(datetime.fromisoformat(value))
    except ValueError:
        return False


def _place(position: Any) -> int:
    """A row or column; NOWHERE for NULL."""
    if position is not None and (not isinstance(position, int) or position < 0):
        raise _OddError(f"a position is {shown(position)}")
    return NOWHERE if position is None else position


def _in_order(places: _Places, what: str) -> tuple[int, ...]:
    """The ids of the places 0, 1, …"""
    found = sorted((place, number) for number, place in places.items() if place != NOWHERE)
    if [place for place, _ in found] != list(range(len(found))) or not found:
        raise _OddError(f"the positions of {what} are not 0, 1, …")
    return tuple(number for _, number in found)


def _check_different(names: Any, count: int, what: str) -> None:
    if len(set(names)) != count:
        raise _OddError(f"{what} have the same name")


@contextmanager
def _one_moment(connection: sqlite3.Connection) -> Iterator[None]:
    """What is read sees nothing that is written meanwhile."""
    connection.execute("BEGIN")
    try:
        yield
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
