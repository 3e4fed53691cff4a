"""Anybody's file of answers: what mlrpl cannot have written is refused in one line, and nothing of it is followed."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing

import pytest

from mlrpl_cli.core.io.errors import DataError
from mlrpl_cli.core.io.reading import GIB
from mlrpl_cli.core.labels.answers import database
from mlrpl_cli.core.labels.answers.database import SCHEMA
from mlrpl_cli.core.labels.answers.reading import read_answers
from mlrpl_cli.core.labels.answers.store import AnswerStore
from tests.core.labels.answers.about import data_set, said

TRIGGERS = [statement for statement in SCHEMA if statement.startswith("CREATE TRIGGER")]
ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)"
ANSWERS = "answers (id, token, image, class, state, undoes, person, at, p)"


@pytest.fixture
def path(tmp_path):
    """Answers 1 to 4: two of ann to a cell, one of bob, and one that takes back the first."""
    path = tmp_path / "answers.sqlite"
    with AnswerStore.open(path, data_set(tmp_path)) as store:
        store.add([said("1"), said("2"), said("3", person="bob")])
        store.undo(["1"], "ann")
    return path


def change(path, *statements: str) -> None:
    """As somebody with SQLite at hand would, the triggers out of the way."""
    with closing(sqlite3.connect(path)) as connection:
        for statement in ("DROP TRIGGER answers_stay", "DROP TRIGGER answers_keep", *statements, *TRIGGERS):
            connection.execute(statement)
        connection.commit()


def refused(path) -> str:
    """The line in which reading and opening refuse the file, which stays as it is."""
    before, said = path.read_bytes(), []
    for refuse in (read_answers, lambda path: AnswerStore.open(path, data_set(path.parent))):
        with pytest.raises(DataError) as caught:
            refuse(path)
        said.append(str(caught.value))
    assert said[0] == said[1]
    assert "\n" not in said[0]
    assert len(said[0]) < 1000
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]
    return said[0]


def test_the_file_as_it_is_can_be_read(path):
    change(path)
    assert [answer.token for answer in read_answers(path)[1]] == ["2", "3"]


LAYOUTS = {
    "a view named answers": (
        "DROP TABLE answers",
        f"CREATE VIEW answers AS {ENDLESS} SELECT i AS id, 'x' AS token FROM n",
        "CREATE TABLE other (id)",
    ),
    "one table more": ("CREATE TABLE other (id)",),
    "a view beside": (f"CREATE VIEW other AS {ENDLESS} SELECT * FROM n",),
    "an index of an expression": ("CREATE INDEX other ON answers (length(at))",),
    "a check that is slow": (
        "DROP TABLE classes",
        "CREATE TABLE classes (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, position INTEGER "
        "CHECK (length(zeroblob(999999999)) > 0))",
    ),
    "a generated column": ("ALTER TABLE images ADD COLUMN other AS (zeroblob(999999999))",),
    "many tables": tuple(f"CREATE TABLE t{number} (id)" for number in range(300)),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_another_layout_is_refused_before_anything_is_read(path, name):
    if name.startswith("a view named"):
        with closing(sqlite3.connect(path)) as connection:
            for statement in LAYOUTS[name]:
                connection.execute(statement)
    else:
        change(path, *LAYOUTS[name])
    assert refused(path) == (
        f"{path} is damaged: it does not have the tables that mlrpl makes; take a copy of it from before, or name "
        "another file"
    )


ROWS = {
    "a huge name": "UPDATE images SET name = zeroblob(3000000) WHERE id = 1",
    "a huge person": "UPDATE answers SET person = printf('%.3000000c', 'x') WHERE id = 2",
    "a long person": "UPDATE answers SET person = printf('%.101c', 'x') WHERE id = 2",
    "huge labels": "UPDATE images SET given = zeroblob(3000000) WHERE id = 1",
    "labels of one class less": "UPDATE images SET given = x'0000' WHERE id = 1",
    "labels that are text": "UPDATE images SET given = 'abc' WHERE id = 1",
    "labels of other values": "UPDATE images SET given = x'000002' WHERE id = 1",
    "a name that is text": "UPDATE images SET name = 'x.jpg' WHERE id = 1",
    "a name that is a number": "UPDATE images SET name = 5 WHERE id = 1",
    "a name that leads outside": "UPDATE images SET name = CAST('../x.jpg' AS BLOB) WHERE id = 1",
    "an absolute name": "UPDATE images SET name = CAST('/etc/x.jpg' AS BLOB) WHERE id = 1",
    "an empty name": "UPDATE images SET name = x'' WHERE id = 1",
    "a name with a zero byte": "UPDATE images SET name = x'6100' WHERE id = 1",
    "a split that is none": "UPDATE images SET split = 'dev' WHERE id = 1",
    "a split that is bytes": "UPDATE images SET split = x'00' WHERE id = 1",
    "a position twice": "UPDATE images SET position = 1 WHERE id = 1",
    "a position below 0": "UPDATE images SET position = -1 WHERE id = 1",
    "a position far away": "UPDATE images SET position = 1 << 62 WHERE id = 1",
    "a position that is text": "UPDATE classes SET position = 'a' WHERE id = 1",
    "a position that is no whole number": "UPDATE classes SET position = 0.5 WHERE id = 1",
    "no class": "UPDATE classes SET position = NULL",
    "no image": "UPDATE images SET position = NULL, given = x''",
    "a class that is bytes": "UPDATE classes SET name = x'00' WHERE id = 1",
    "a class without a name": "UPDATE classes SET name = ' ' WHERE id = 1",
    "text that is no UTF-8": "UPDATE classes SET name = CAST(x'ff0a0a' AS TEXT) WHERE id = 1",
    "no image root": "DELETE FROM about WHERE key = 'image_root'",
    "an image root that is text": "UPDATE about SET value = '/images' WHERE key = 'image_root'",
    "an image root that is relative": "UPDATE about SET value = CAST('images' AS BLOB) WHERE key = 'image_root'",
    "another state": "UPDATE answers SET state = 'maybe' WHERE id = 2",
    "a state that is bytes": "UPDATE answers SET state = x'00' WHERE id = 2",
    "no state": "UPDATE answers SET state = NULL WHERE id = 2",
    "no token": "UPDATE answers SET token = NULL WHERE id = 2",
    "a token that is bytes": "UPDATE answers SET token = x'00' WHERE id = 2",
    "nobody": "UPDATE answers SET person = '' WHERE id = 2",
    "a person who steers a terminal": "UPDATE answers SET person = char(27) || '[2J' WHERE id = 2",
    "no moment": "UPDATE answers SET at = 'yesterday' WHERE id = 2",
    "a moment that is bytes": "UPDATE answers SET at = x'00' WHERE id = 2",
    "a probability above 1": "UPDATE answers SET p = 1.5 WHERE id = 2",
    "an endless probability": "UPDATE answers SET p = 9e999 WHERE id = 2",
    "a probability that is text": "UPDATE answers SET p = 'x' WHERE id = 2",
    "an image that is none": "UPDATE answers SET image = 99 WHERE id = 2",
    "a class that is none": "UPDATE answers SET class = -1 WHERE id = 2",
    "an image that is bytes": "UPDATE answers SET image = x'01' WHERE id = 2",
    "an id below 0": "UPDATE answers SET id = -2 WHERE id = 2",
    "what takes back itself": "UPDATE answers SET undoes = 4 WHERE id = 4",
    "what takes back a later one": f"INSERT INTO {ANSWERS} VALUES "
    "(5, NULL, 1, 2, NULL, 6, 'ann', '2026-01-01', NULL), (6, '6', 1, 2, 'present', NULL, 'ann', '2026-01-01', NULL)",
    "what takes back in a circle": f"INSERT INTO {ANSWERS} VALUES "
    "(5, NULL, 1, 2, NULL, 6, 'ann', '2026-01-01', NULL), (6, NULL, 1, 2, NULL, 5, 'ann', '2026-01-01', NULL)",
    "what takes back what takes back": f"INSERT INTO {ANSWERS} VALUES "
    "(5, NULL, 1, 2, NULL, 4, 'ann', '2026-01-01', NULL)",
    "what takes back nothing": "UPDATE answers SET undoes = 99 WHERE id = 4",
    "what takes back another's": "UPDATE answers SET undoes = 3 WHERE id = 4",
    "what takes back text": "UPDATE answers SET undoes = 'x' WHERE id = 4",
    "what takes back an answer to another cell": "UPDATE answers SET class = 1 WHERE id = 4",
    "what takes back with a state": "UPDATE answers SET state = 'present' WHERE id = 4",
    "what takes back with a token": "UPDATE answers SET token = '4' WHERE id = 4",
}


@pytest.mark.parametrize("name", ROWS)
def test_rows_that_cannot_be_are_refused(path, name):
    change(path, ROWS[name])
    assert refused(path).startswith(f"{path} is damaged: ")


@pytest.mark.parametrize("name", [name for name in ROWS if "huge" in name or "long" in name])
def test_large_values_are_refused_also_where_python_cannot_limit_them(path, name, monkeypatch):
    """Before 3.11 it has no way to."""
    monkeypatch.setattr(database, "LONGEST_VALUE", GIB)
    change(path, ROWS[name])
    assert refused(path).startswith(f"{path} is damaged: ")


def test_a_file_cut_short_or_overwritten_is_refused(path):
    whole = path.read_bytes()
    for odd in (whole[:4096], whole[: len(whole) // 2], whole[:4096] + bytes(len(whole) - 4096)):
        path.write_bytes(odd)
        assert " is damaged: " in refused(path)
    for odd in (whole[:50], b"", bytes(len(whole))):
        path.write_bytes(odd)
        with pytest.raises(DataError, match="is not a file of answers that mlrpl review wrote"):
            read_answers(path)


def test_what_is_no_file_is_told(tmp_path):
    with pytest.raises(DataError, match=r"^cannot read .*none: No such file or directory; name another file$"):
        read_answers(tmp_path / "none")
    with pytest.raises(DataError, match="is a folder, a pipe or a device; name another file"):
        read_answers(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="is a folder, a pipe or a device; name another file"):
        read_answers(tmp_path / "pipe")


def test_a_folder_that_cannot_be_written_can_be_read(path):
    """What was closed is one file, which needs none beside it."""
    path.parent.chmod(0o555)
    try:
        assert len(read_answers(path)[1]) == 2
    finally:
        path.parent.chmod(0o755)
