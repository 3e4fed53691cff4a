"""The SQLite file of answers: how it is laid out, how it is opened, and its errors in one sentence.

A file of others is opened as one: it has to be laid out as ours to the letter before anything in it is looked at, so
that it has no view, trigger or check of its own that SQLite would follow.
"""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from mlrpl_cli.core.io.errors import DataError, one_line
from mlrpl_cli.core.io.reading import GIB, MIB, short

MAGIC, APPLICATION, VERSION = b"SQLite format 3\0", 0x6D6C7270, 1
"""How the file begins, and what its header says of whose it is ("mlrp") and of its layout's version."""
HEADER = 100
"""Bytes."""
_KIND = slice(68, 72)
LARGEST = 16 * GIB
LONGEST_VALUE = MIB
"""Bytes of anything in it: a row of labels has a byte a class."""
ANOTHER = "name another file"
SCHEMA = (
    "CREATE TABLE about (key TEXT NOT NULL UNIQUE, value BLOB NOT NULL)",
    "CREATE TABLE classes (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, position INTEGER)",
    "CREATE TABLE images (id INTEGER PRIMARY KEY, name BLOB NOT NULL UNIQUE, split TEXT NOT NULL, position INTEGER, "
    "given BLOB NOT NULL)",
    "CREATE TABLE answers (id INTEGER PRIMARY KEY AUTOINCREMENT, token TEXT UNIQUE, "
    "image INTEGER NOT NULL REFERENCES images, class INTEGER NOT NULL REFERENCES classes, state TEXT, "
    "undoes INTEGER UNIQUE REFERENCES answers, person TEXT NOT NULL, at TEXT NOT NULL, p REAL)",
    "CREATE TRIGGER answers_stay BEFORE DELETE ON answers BEGIN SELECT RAISE(ABORT, 'answers are only added'); END",
    "CREATE TRIGGER answers_keep BEFORE UPDATE ON answers BEGIN SELECT RAISE(ABORT, 'answers are only added'); END",
)
"""Of version 1: a position is a row or a column of the data set, NULL where it has the image or class no more; `given`
has a byte a class, none without a position. An undo has no token and no state, and the cell and person of its
answer."""
_LAYOUT = "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY type, name LIMIT 100"


class NotSavedError(DataError):
    """Nothing of what was to be saved was, though nothing is wrong with it: the same may be saved later."""


class FullDiskError(NotSavedError):
    """There is no room for it."""


def is_answers(header: bytes) -> bool:
    """Whether a file that begins so is one of answers, of any version."""
    return header.startswith(MAGIC) and header[_KIND] == APPLICATION.to_bytes(4, "big")


def check_file(path: Path) -> None:
    """Raise DataError for what is no regular file, or too large, and OSError for none.

    It is not opened: that of a process which has it open in SQLite would lose its locks when it is closed again.
    """
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        raise DataError(f"{path} is a folder, a pipe or a device; {ANOTHER}")
    if status.st_size > LARGEST:
        raise DataError(f"{path} has {status.st_size} bytes, expected at most {LARGEST}; {ANOTHER}")


def check_kind(connection: sqlite3.Connection, path: Path) -> None:
    """Raise DataError for a file that is not one of answers, or of another version."""
    kind, version = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))
    if kind != APPLICATION:
        raise _foreign(path)
    if version != VERSION:
        raise DataError(f"{path} has format version {version}, this mlrpl reads version {VERSION}; take a newer mlrpl")


def connect(path: Path, mode: str) -> sqlite3.Connection:
    """`mode` is that of SQLite's addresses: ro, rw or rwc. Transactions are begun by name."""
    address = f"{Path(os.path.abspath(path)).as_uri()}?mode={mode}"  # bytes that are no UTF-8 survive only so
    connection = sqlite3.connect(address, uri=True, timeout=30, isolation_level=None, check_same_thread=False)
    if hasattr(connection, "setlimit"):  # since Python 3.11
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LONGEST_VALUE)
    for setting in ("trusted_schema = OFF", "cell_size_check = ON", "foreign_keys = ON"):
        connection.execute(f"PRAGMA {setting}")
    return connection


def check_layout(connection: sqlite3.Connection, path: Path) -> None:
    """Raise DataError for a file that is not laid out as ours, or whose pages are damaged."""
    with closing(sqlite3.connect(":memory:")) as ours:
        for statement in SCHEMA:
            ours.execute(statement)
        expected = ours.execute(_LAYOUT).fetchall()
    if connection.execute(_LAYOUT).fetchall() != expected:
        raise damaged(path, "it does not have the tables that mlrpl makes")
    (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise damaged(path, short(found))


@contextmanager
def transaction(connection: sqlite3.Connection, path: Path) -> Iterator[None]:
    """All of what is written in it is saved when it ends, or none: then DataError says why."""
    with told(path):
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


@contextmanager
def told(path: Path) -> Iterator[None]:
    """Turn what SQLite raises into DataError, of what passes into NotSavedError."""
    try:
        yield
    except (sqlite3.Error, UnicodeError) as error:  # what SQLite says of a damaged file need not be UTF-8
        raise _error(path, one_line(error)) from error


def damaged(path: Path, what: str) -> DataError:
    """The error for a file that does not hold what `mlrpl review` wrote."""
    return DataError(f"{path} is damaged: {what}; take a copy of it from before, or {ANOTHER}")


def _foreign(path: Path) -> DataError:
    return DataError(f"{path} is not a file of answers that mlrpl review wrote; {ANOTHER}")


def _error(path: Path, said: str) -> DataError:
    if "not a database" in said:
        return _foreign(path)
    if "closed" in said:
        return NotSavedError(f"{path} is closed: none of this was saved; start mlrpl review again")
    if "is full" in said:
        return FullDiskError(f"the disk of {path} is full: none of this was saved, all before is; free some room")
    if "disk I/O" in said or "readonly" in said or "unable to open" in said:
        held = "what it held is still there"
        return NotSavedError(f"cannot use {path} ({said}): {held}; look at its disk, or {ANOTHER}")
    if "locked" in said:
        return NotSavedError(f"{path} is in use ({said}): what it held is still there; end what uses it, and try again")
    return damaged(path, short(said))
