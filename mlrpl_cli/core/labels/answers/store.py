"""The file of answers as `mlrpl review` keeps it: what was added is on the disk before anybody is told so."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Sequence
from contextlib import ExitStack, closing, suppress
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType

from mlrpl_cli.core.io.errors import DataError
from mlrpl_cli.core.io.files import held, make_folder, writing
from mlrpl_cli.core.io.reading import shown
from mlrpl_cli.core.labels.answers.contents import Contents, read_contents
from mlrpl_cli.core.labels.answers.database import (
    NotSavedError,
    check_file,
    check_kind,
    connect,
    told,
    transaction,
)
from mlrpl_cli.core.labels.answers.ledger import Cell
from mlrpl_cli.core.labels.answers.records import DataSet, NewAnswer, Standing, check_answer, check_person, check_token
from mlrpl_cli.core.labels.answers.taking_over import create, same, take_over

LOCK_SUFFIX = ".lock"
"""Behind the name of the file, for the lock of the one who writes to it."""


class AnswerStore:
    """Answers about one data set. One store at a time has the file; its methods may be called from several threads."""

    def __init__(
        self,
        path: Path,
        connection: sqlite3.Connection,
        contents: Contents,
        held_open: ExitStack,
        before: Path | None = None,
    ) -> None:
        """For `open`."""
        self._path, self._connection, self._held_open = path, connection, held_open
        self.was_about = before
        """The prepared folder that the file was about until now, where that is another."""
        self._contents, self._ledger = contents, contents.ledger
        self._rows, self._columns = (
            {number: place for place, number in enumerate(ids)} for ids in (contents.image_ids, contents.class_ids)
        )
        self._lock = threading.RLock()
        self._file = _identity(path)

    @classmethod
    def open(cls, path: Path, data: DataSet) -> AnswerStore:
        """The answers in the file, which is created where there is none, about `data`.

        A data set that has changed is taken over: answers about what it has no more stay in the file and do not stand.
        Raises DataError for a file that is another store's by now, that is damaged or not of answers, that cannot be
        written, and for a data set that shares no image with the one that the file is about.
        """
        path = Path(os.path.realpath(path))
        make_folder(path.parent)
        with ExitStack() as stack:
            if stack.enter_context(held(path.with_name(path.name + LOCK_SUFFIX))) is False:
                raise DataError(
                    f"another mlrpl review has {path}; go on in its page, end it, or name another --answers"
                )
            with told(path):
                connection = stack.enter_context(closing(_opened(path)))
                contents, before = _contents(connection, path, data)
                connection.execute("PRAGMA journal_mode = WAL")
                return cls(path, connection, contents, stack.pop_all(), before)

    def add(self, answers: Sequence[NewAnswer]) -> None:
        """All of them or, when it raises, none; they are on the disk when it returns.

        A token that is there already, with the same content, is the answer that is there. Raises DataError for a token
        that is another answer's, and for what `check_answer` refuses, and NotSavedError.
        """
        shape = self._contents.data.given.shape
        for answer in answers:
            check_answer(answer, *shape)
        added = list[tuple[int, Cell, Standing]]()
        with self._lock:
            self._check_place()
            at = _now()
            with transaction(self._connection, self._path):
                for answer in answers:
                    if (number := self._insert(answer, at)) is not None:
                        added.append((number, self._cell(answer.row, answer.column), _standing(answer, at)))
            for new in added:
                self._ledger.add(*new)

    def undo(self, tokens: Sequence[str], person: str) -> int:
        """Take back answers of `person`: the one before, of the same person to the same cell, stands again.

        What was taken back already is not, again. Returns how many different answers the tokens are of. Raises
        DataError, having done nothing, for tokens that are no answer or one of somebody else, and NotSavedError.
        """
        check_person(person)
        for token in tokens:
            check_token(token)
        taken, different = list[tuple[int, Cell]](), dict.fromkeys(tokens)
        with self._lock:
            self._check_place()
            at = _now()
            with transaction(self._connection, self._path):
                for token in different:
                    taken += self._insert_undo(token, person, at)
            for number, cell in taken:
                self._ledger.take_back(number, cell, person)
        return len(different)

    @property
    def standing(self) -> list[Standing]:
        """Of each person the newest answer to a cell that was not taken back, in the order in which they were given."""
        with self._lock:
            return self._ledger.standing

    @property
    def count(self) -> int:
        """How many those are."""
        with self._lock:
            return self._ledger.count

    def cells_of(self, tokens: Sequence[str]) -> list[tuple[int, int]]:
        """The rows and columns of the answers of these tokens, of those that the data set has."""
        rows, columns = self._rows, self._columns
        with self._lock, told(self._path):
            found = [
                self._connection.execute("SELECT image, class FROM answers WHERE token = ?", (token,)).fetchone()
                for token in tokens
            ]
        return [(rows[cell[0]], columns[cell[1]]) for cell in found if cell and cell[0] in rows and cell[1] in columns]

    @property
    def gone(self) -> int:
        """How many would stand if the data set still had their image and class."""
        with self._lock:
            return self._ledger.gone

    def of_cell(self, row: int, column: int) -> list[Standing]:
        """Those of one cell."""
        with self._lock:
            return self._ledger.of_cell(self._cell(row, column))

    def close(self) -> None:
        """Leave one file, which anybody can read and copy. Where that cannot be, the next to open it does it."""
        with self._lock:
            with suppress(sqlite3.Error):  # of a full disk, or while somebody reads: nothing is lost
                self._connection.execute("PRAGMA busy_timeout = 1000")
                self._connection.execute("PRAGMA journal_mode = DELETE")
            self._held_open.close()

    def __enter__(self) -> AnswerStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _cell(self, row: int, column: int) -> Cell:
        return self._contents.image_ids[row], self._contents.class_ids[column]

    def _insert(self, answer: NewAnswer, at: str) -> int | None:
        """The id of a new row; None for an answer that is there."""
        content = (*self._cell(answer.row, answer.column), answer.state, answer.person, answer.probability)
        known = self._connection.execute(
            "SELECT image, class, state, person, p FROM answers WHERE token = ?", (answer.token,)
        ).fetchone()
        if known is not None and known != content:
            raise DataError(f"token {shown(answer.token)} is that of another answer; load the page again")
        if known is not None:
            return None
        return self._connection.execute(
            "INSERT INTO answers (token, image, class, state, person, p, at) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (answer.token, *content, at),
        ).lastrowid

    def _insert_undo(self, token: str, person: str, at: str) -> list[tuple[int, Cell]]:
        """The answer that is taken back; [] for one that was before."""
        found = self._connection.execute(
            "SELECT id, image, class, person FROM answers WHERE token = ?", (token,)
        ).fetchone()
        if found is None or found[3] != person:
            raise DataError(f"{shown(token)} is no answer of {shown(person)}, who alone can take it back")
        number, image, class_, _ = found
        if self._connection.execute("SELECT 1 FROM answers WHERE undoes = ?", (number,)).fetchone():
            return []
        self._connection.execute(
            "INSERT INTO answers (image, class, undoes, person, at) VALUES (?, ?, ?, ?, ?)",
            (image, class_, number, person, at),
        )
        return [(number, (image, class_))]

    def _check_place(self) -> None:
        """Raise NotSavedError where the file is no longer at its name: what is added would go with this process."""
        if _identity(self._path) != self._file:
            raise NotSavedError(f"{self._path} was moved or replaced meanwhile: nothing was saved; put it back")


def _opened(path: Path) -> sqlite3.Connection:
    """Raises DataError for a file that is not of answers, and for one that cannot be written."""
    with writing(path):
        if path.exists():
            check_file(path)
    connection = connect(path, "rwc")
    try:
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA fullfsync = ON")  # where a sync leaves the data in the disk's own memory: macOS
        return connection
    except BaseException:
        connection.close()
        raise


def _contents(connection: sqlite3.Connection, path: Path, data: DataSet) -> tuple[Contents, Path | None]:
    """What the file holds, once it is about `data`, and the prepared folder that it was about if that is another."""
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    if not pages:  # a new file, or one of a process that was killed before it had made one
        create(connection, path, data)
        return read_contents(connection, path), None
    check_kind(connection, path)
    contents = read_contents(connection, path)
    if same(contents.data, data):
        return contents, None
    take_over(connection, path, data)
    before = contents.data.source
    return read_contents(connection, path), None if before == Path(os.path.abspath(data.source)) else before


def _standing(answer: NewAnswer, at: str) -> Standing:
    place = int(answer.row), int(answer.column)
    return Standing(*place, answer.state, answer.person, answer.token, at, answer.probability)


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")


def _identity(path: Path) -> tuple[int, int] | None:
    """Which file is at a path; None for none."""
    with suppress(OSError):
        status = path.stat()
        return status.st_dev, status.st_ino
    return None
