"""The file of answers: what is added is there, once; what is taken back is not; a data set may change under it."""

from __future__ import annotations

import os
import sqlite3
import threading
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pytest

from mlrpl_cli.core.io.errors import DataError
from mlrpl_cli.core.labels.answers.database import FullDiskError
from mlrpl_cli.core.labels.answers.reading import read_answers, read_file
from mlrpl_cli.core.labels.answers.records import Standing
from mlrpl_cli.core.labels.answers.store import AnswerStore
from tests.core.labels.answers.about import CLASSES, GIVEN, IMAGES, data_set, said


@pytest.fixture
def path(tmp_path):
    return tmp_path / "answers.sqlite"


def open_store(path, data=None) -> AnswerStore:
    return AnswerStore.open(path, data or data_set(path.parent))


def tokens(answers) -> list[str]:
    return [answer.token for answer in answers]


def test_what_is_added_stands_also_after_the_file_was_closed_and_is_one_file(path):
    answers = [said("1"), said("2", 2, 0, "unsure", "bob", None), said("3", 3, 2, "absent", "ann", 1)]
    with open_store(path) as store:
        store.add(answers)
        before, at = store.standing, datetime.fromisoformat(store.standing[0].at)
    assert [replace(answer, at="") for answer in before] == [
        Standing(0, 1, "present", "ann", "1", "", 0.25),
        Standing(2, 0, "unsure", "bob", "2", "", None),
        Standing(3, 2, "absent", "ann", "3", "", 1),
    ]
    assert at.utcoffset() == timedelta(0)
    assert os.listdir(path.parent) == ["answers.sqlite"]
    with open_store(path) as store:
        assert (store.standing, store.count) == (before, 3)


def test_the_file_says_what_it_is_about(path):
    data = data_set(path.parent)
    open_store(path, data).close()
    found, standing = read_answers(path)
    assert standing == []
    assert replace(found, given=None) == replace(data, given=None)
    assert found.given.dtype == np.int8
    assert np.array_equal(found.given, GIVEN)


def test_it_can_be_read_while_it_is_written(path):
    with open_store(path) as store:
        store.add([said("1")])
        assert tokens(read_answers(path)[1]) == ["1"]
        store.add([said("2", 1)])
        assert read_answers(path)[1] == store.standing


def test_of_each_person_the_newest_answer_stands(path):
    with open_store(path) as store:
        store.add([said("1"), said("2", person="bob"), said("3", state="absent"), said("4", column=2)])
        assert tokens(store.standing) == ["2", "3", "4"]
        assert tokens(store.of_cell(0, 1)) == ["2", "3"]
        assert store.of_cell(1, 1) == []


def test_what_is_taken_back_stands_no_more_and_what_was_before_does_again(path):
    with open_store(path) as store:
        store.add([said("1"), said("2", state="absent"), said("3", 1)])
        assert store.undo(["2"], "ann") == 1
        assert tokens(store.standing) == ["1", "3"]
        assert store.undo(["1", "3", "2", "1"], "ann") == 3  # that of 2 is done already
        assert (store.standing, store.count, store.of_cell(0, 1)) == ([], 0, [])
    with open_store(path) as store:
        assert store.standing == []


def test_an_answer_below_the_one_that_stands_can_be_taken_back(path):
    with open_store(path) as store:
        store.add([said("1"), said("2", state="absent")])
        store.undo(["1"], "ann")
        assert tokens(store.standing) == ["2"]
        store.undo(["2"], "ann")
        assert store.standing == []


def test_an_answer_that_is_sent_again_is_the_same_one(path):
    with open_store(path) as store:
        store.add([said("1"), said("1")])
        store.add([said("1"), said("2", 1)])
        assert tokens(store.standing) == ["1", "2"]
        store.undo(["1"], "ann")
        store.add([said("1")])  # sent before it was taken back, and come again after
        assert tokens(store.standing) == ["2"]


OTHERS = [said("1", 1), said("1", column=2), said("1", state="absent"), said("1", person="bob"),
          said("1", probability=None)]  # fmt: skip


@pytest.mark.parametrize("other", OTHERS)
def test_a_token_of_another_answer_is_refused_with_all_that_came_with_it(path, other):
    with open_store(path) as store:
        store.add([said("1")])
        with pytest.raises(DataError, match=r"^token '1' is that of another answer; load the page again$"):
            store.add([said("2"), other])
        assert tokens(store.standing) == ["1"]


ODD = [
    (said("1", 4), "expected a row from 0 to 3, got 4;"),
    (said("1", -1), "expected a row from 0 to 3, got -1;"),
    (said("1", 0.0), "expected a row from 0 to 3, got 0.0;"),
    (said("1", True), "expected a row from 0 to 3, got True;"),
    (said("1", column=3), "expected a column from 0 to 2, got 3;"),
    (said("1", column="1"), "expected a column from 0 to 2, got '1';"),
    (said("1", state="unknown"), "expected an answer of present, absent, unsure, got 'unknown';"),
    (said("1", person=""), "expected a person's name of up to 100 characters without control characters, got '';"),
    (said("1", person="a\nb"), r"got 'a\\nb'; choose another name"),
    (said("1", person="\ud800"), "choose another name"),
    (said("1", person="a" * 101), "choose another name"),
    (said(""), "expected a token of up to 100 characters without control characters, got '';"),
    (said("1" * 101), "expected a token of"),
    (said("\0"), "expected a token of"),
    (said(None), "expected a token of"),
    (said("1", probability=1.5), "expected a probability from 0 to 1, or none, got 1.5"),
    (said("1", probability=float("nan")), "got nan"),
    (said("1", probability=True), "got True"),
]


@pytest.mark.parametrize(("answer", "told"), ODD)
def test_what_no_answer_can_be_is_refused_in_a_sentence_and_nothing_is_saved(path, answer, told):
    with open_store(path) as store:
        with pytest.raises(DataError, match=told):
            store.add([said("good"), answer])
        assert store.standing == []


def test_only_ones_own_answers_can_be_taken_back(path):
    with open_store(path) as store:
        store.add([said("1"), said("2", person="bob")])
        for wrong in ("2", "nothing"):
            with pytest.raises(DataError, match=f"^'{wrong}' is no answer of 'ann', who alone can take it back$"):
                store.undo(["1", wrong], "ann")
        with pytest.raises(DataError, match="expected a token"):
            store.undo([""], "ann")
        with pytest.raises(DataError, match="expected a person"):
            store.undo(["1"], "")
        assert tokens(store.standing) == ["1", "2"]


def test_answers_are_never_changed_or_removed(path):
    with open_store(path) as store:
        store.add([said("1")])
        store.undo(["1"], "ann")
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM answers").fetchone() == (2,)
        for statement in ("UPDATE answers SET person = 'bob'", "DELETE FROM answers"):
            with pytest.raises(sqlite3.IntegrityError, match="answers are only added"):
                connection.execute(statement)


def test_one_store_at_a_time_has_the_file(path):
    with open_store(path) as store:
        told = f"^another mlrpl review has {path}; go on in its page, end it, or name another --answers$"
        with pytest.raises(DataError, match=told):
            open_store(path)
        store.add([said("1")])
    with open_store(path) as store:
        assert store.count == 1


def test_another_thread_may_close_it(path):
    store = open_store(path)
    thread = threading.Thread(target=store.close)
    thread.start()
    thread.join()
    open_store(path).close()


def test_a_closed_store_says_so(path):
    store = open_store(path)
    store.close()
    store.close()
    with pytest.raises(DataError, match="is closed: none of this was saved"):
        store.add([said("1")])


def test_several_threads_add_and_take_back_at_once(path):
    def work(person: str) -> None:
        for number in range(20):
            store.add([said(f"{person}{number}", number % 4, person=person)])
        store.undo([f"{person}{number}" for number in range(16, 20)], person)
        assert store.standing

    with open_store(path) as store:
        threads = [threading.Thread(target=work, args=(person,)) for person in ("ann", "bob", "çağ")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(tokens(store.standing)) == sorted(f"{p}{n}" for p in ("ann", "bob", "çağ") for n in range(12, 16))
        assert [answer.at for answer in store.standing] == sorted(answer.at for answer in store.standing)
        before = store.standing
    assert read_answers(path)[1] == before


def test_a_data_set_that_grew_keeps_its_answers_by_name(path):
    with open_store(path) as store:
        store.add([said("1", 2, 2), said("2", 3, 0)])
    images, classes = ("new.jpg", *reversed(IMAGES)), ("bird", *reversed(CLASSES))
    grown = data_set(path.parent, images, classes, np.zeros((5, 4)))
    with open_store(path, grown) as store:
        assert [(answer.row, answer.column, answer.token) for answer in store.standing] == [(2, 1, "1"), (1, 3, "2")]
        store.add([said("3", 0, 0)])
        before = store.standing
    found, standing = read_answers(path)
    assert (found.images, found.classes, standing) == (images, classes, before)
    assert not found.given.any()


def test_answers_about_what_is_gone_stay_in_the_file_and_stand_again_when_it_is_back(path):
    with open_store(path) as store:
        store.add([said("1", 0, 0), said("2", 1, 0), said("3", 1, 1), said("4", 1, 0, person="bob")])
    less = data_set(path.parent, IMAGES[1:], CLASSES[1:], GIVEN[1:, 1:])
    with open_store(path, less) as store:
        assert (tokens(store.standing), store.count) == (["3"], 1)
        store.undo(["2"], "ann")
    assert read_file(path).ledger.gone == 2
    with open_store(path) as store:
        assert tokens(store.standing) == ["1", "3", "4"]


def test_a_data_set_without_an_image_of_the_one_before_is_refused(path):
    with open_store(path) as store:
        store.add([said("1")])
    before = path.read_bytes()
    told = (
        r"is about .*prepared, and no image of .*prepared \(other.jpg\) is among its; name another file with --answers"
    )
    with pytest.raises(DataError, match=told):
        open_store(path, data_set(path.parent, ("other.jpg",), given=[[0, 0, 0]]))
    assert path.read_bytes() == before


def test_a_data_set_with_a_name_twice_is_refused(path):
    with pytest.raises(DataError, match="has a name twice; run mlrpl prepare again"):
        open_store(path, data_set(path.parent, ("a.jpg", "a.jpg"), given=np.zeros((2, 3))))


def test_a_full_disk_saves_nothing_of_what_came_and_all_before_and_adding_works_again(path):
    with open_store(path) as store:
        store.add([said("1")])
        (pages,) = store._connection.execute("PRAGMA page_count").fetchone()
        store._connection.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(
            FullDiskError, match=r"^the disk of .* is full: none of this was saved, all before is; free"
        ):
            store.add([said(f"{number:0100d}", number % 4) for number in range(1000)])
        assert tokens(store.standing) == tokens(read_answers(path)[1]) == ["1"]
        store._connection.execute(f"PRAGMA max_page_count = {2**30}")
        store.add([said(f"{number:0100d}", number % 4, person="bob") for number in range(1000)])
        assert store.count == 5
    assert len(read_answers(path)[1]) == 5


def test_a_file_that_was_moved_meanwhile_takes_nothing_more(path):
    with open_store(path) as store:
        store.add([said("1")])
        path.rename(path.with_name("moved"))
        with pytest.raises(DataError, match="was moved or replaced meanwhile: nothing was saved; put it back"):
            store.add([said("2")])
        path.with_name("moved").rename(path)
        store.add([said("3", 1)])
        assert tokens(store.standing) == ["1", "3"]


def test_what_is_no_file_of_answers_is_refused_and_stays_as_it_is(path):
    for content in (b"no database", b"x" * 5000):
        path.write_bytes(content)
        with pytest.raises(DataError, match="is not a file of answers that mlrpl review wrote; name another file"):
            open_store(path)
        assert path.read_bytes() == content
    path.unlink()
    path.mkdir()
    with pytest.raises(DataError, match="is a folder, a pipe or a device"):
        open_store(path)


def test_a_file_of_another_program_or_version_is_refused(path):
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE answers (id)")
    with pytest.raises(DataError, match="is not a file of answers"):
        open_store(path)
    path.unlink()
    open_store(path).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 2")
    for function in (open_store, read_answers):
        with pytest.raises(DataError, match="has format version 2, this mlrpl reads version 1; take a newer mlrpl"):
            function(path)


def test_a_folder_that_cannot_be_written_is_told(path):
    path.parent.joinpath("file").write_text("")
    with pytest.raises(DataError, match=r"^cannot write .*file"):
        open_store(path.parent / "file" / "answers.sqlite", data_set(path.parent))


def test_a_killed_writer_of_a_new_file_leaves_nothing_that_hinders(path):
    path.write_bytes(b"")
    with open_store(path) as store:
        store.add([said("1")])
        assert store.count == 1


def test_a_name_of_the_file_may_hold_anything(path):
    odd = path.with_name("a?b#c%41 \udcff.sqlite")
    with open_store(odd, data_set(path.parent)) as store:
        store.add([said("1")])
    assert tokens(read_answers(odd)[1]) == ["1"]
    assert os.listdir(path.parent) == [odd.name]
