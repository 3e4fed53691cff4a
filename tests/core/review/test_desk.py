"""What the page is told: labels with answers, queues without what was answered, an order that outlives a training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mlrpl_cli.core.io.errors import ConfigError, DataError
from mlrpl_cli.core.labels.answers.records import DataSet, NewAnswer
from mlrpl_cli.core.labels.answers.settling import settled
from mlrpl_cli.core.labels.answers.store import AnswerStore
from mlrpl_cli.core.labels.states import ABSENT, PRESENT, UNKNOWN
from mlrpl_cli.core.review import desk as desks
from mlrpl_cli.core.review import orders
from mlrpl_cli.core.review.desk import Desk, last_point
from mlrpl_cli.core.review.learning import NO_CELLS, Cells, Estimate, Lesson


def answer(token: str, cell: tuple[int, int], state: str = "present", person: str = "ann") -> NewAnswer:
    return NewAnswer(token, *cell, state, person, None)


def lesson(desk: Desk, version: int = 1, map: float = 0.5, seed: int = 0, **more: object) -> Lesson:
    p = np.random.default_rng(seed).random(desk.given.shape, np.float32)
    values = {"suggested": NO_CELLS, "doubtful": NO_CELLS, "estimate": Estimate(map, map, map, "told", True)} | more
    return Lesson(version, desk.store.count, 1.0, 0, p, True, **values)


def test_an_answer_is_a_label_from_then_on_until_it_is_taken_back(desk: Desk, open_cell: Callable) -> None:
    row, column = open_cell()
    before = desk.state()
    desk.record([answer("a", (row, column))])
    after = desk.state()
    assert desk.known()[0][desk.check_row(row), column] == PRESENT
    assert (after["known"], after["open"]) == (before["known"] + 1, before["open"] - 1)
    assert after["classes"][column]["present"] == before["classes"][column]["present"] + 1
    desk.undo(["a"], "ann")
    assert desk.state() == before


def test_counts_are_those_of_training_and_validation_images(desk: Desk) -> None:
    learning = np.array(desk.data.splits) != "test"
    state, given = desk.state(), desk.data.given[learning]
    assert state["images"] == learning.sum()
    assert state["known"] == (given != UNKNOWN).sum()
    assert [one["absent"] for one in state["classes"]] == (given == ABSENT).sum(axis=0).tolist()


@pytest.mark.parametrize("by", ["suggested", "class", "unlabelled"])
@pytest.mark.parametrize("learned", [False, True])
def test_a_queue_holds_every_open_cell_once_and_no_other(by: str, learned: bool, desk: Desk) -> None:
    if learned:
        (rows, columns) = np.nonzero(desk.given == UNKNOWN)
        desk.take(lesson(desk, suggested=Cells(rows[::-3], columns[::-3], ("doubtful",) * len(rows[::-3]))))
    column = 1 if by == "class" else None
    found = desk.queue(by, "ann", column, 100)
    asked = [(item["row"], cell["column"]) for item in found["items"] for cell in item["cells"]]
    states = desk.known()[0]
    unknown = {(int(desk.rows[n]), c) for n, c in np.argwhere(states == UNKNOWN).tolist() if column in (None, c)}
    assert (sorted(asked), found["left"]) == (sorted(unknown), len(unknown))


@pytest.mark.parametrize("by", ["suggested", "class", "unlabelled"])
def test_what_one_answered_is_not_asked_again_of_the_same_person(by: str, desk: Desk, open_cell: Callable) -> None:
    """An unsure answer leaves the cell open for others."""
    row, column = open_cell()
    desk.record([answer("a", (row, column), "unsure")])

    def asks(person: str) -> bool:
        items = desk.queue(by, person, column, 100)["items"]
        return any(item["row"] == row and cell["column"] == column for item in items for cell in item["cells"])

    assert not asks("ann")
    assert asks("bob")
    left = {person: desk.queue(by, person, column)["left"] for person in ("ann", "bob")}
    assert left["ann"] == left["bob"] - 1


def test_likely_errors_are_given_labels_in_the_order_of_the_lesson(desk: Desk) -> None:
    rows, columns = np.nonzero(desk.given != UNKNOWN)
    order = slice(5, None, -1)
    desk.take(lesson(desk, doubtful=Cells(rows[order], columns[order], ("right with p 0.1",) * 6)))

    def asked() -> list[tuple]:
        cells = [(item["row"], cell) for item in desk.queue("errors", "ann")["items"] for cell in item["cells"]]
        return [(row, cell["column"], cell["given"]) for row, cell in cells]

    expected = [
        (int(desk.rows[n]), c, {PRESENT: "present", ABSENT: "absent"}[int(desk.given[n, c])])
        for n, c in zip(rows[order].tolist(), columns[order].tolist(), strict=True)
    ]
    assert sorted(asked()) == sorted(expected)
    assert asked()[0] == expected[0]
    desk.record([answer("a", expected[0][:2], "absent", "bob")])
    assert sorted(asked()) == sorted(expected[1:])  # what somebody answered is asked of nobody else


def test_a_queue_of_few_images_has_all_that_is_asked_of_them(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desks, "LOOKED_AT", 10_000)
    rows, columns = np.nonzero(desk.given == UNKNOWN)
    order = np.argsort(columns, kind="stable")  # an image's cells lie far apart
    desk.take(lesson(desk, suggested=Cells(rows[order], columns[order], ("doubtful",) * len(order))))
    for item in desk.queue("suggested", "ann", most=3)["items"]:
        place = desk.check_row(item["row"])
        assert {cell["column"] for cell in item["cells"]} == set(np.flatnonzero(desk.given[place] == UNKNOWN).tolist())
        assert not item["others"]


def test_a_grid_falls_in_probability_and_keeps_the_order_of_its_training(desk: Desk) -> None:
    desk.take(lesson(desk))
    first = desk.grid(0, "all", "ann", 0, 100, None)
    p = [item["p"] for item in first["items"]]
    assert p == sorted(p, reverse=True)
    assert first["total"] == len(desk.rows)
    desk.take(lesson(desk, version=2, seed=1))
    rows = [item["row"] for item in first["items"]]
    parts = [desk.grid(0, "all", "ann", start, 7, first["version"])["items"] for start in range(0, len(rows), 7)]
    assert [item["row"] for part in parts for item in part] == rows
    assert [item["row"] for item in desk.grid(0, "all", "ann", 0, 100, None)["items"]] != rows


def test_answers_move_no_image_that_is_still_to_be_scrolled_to(desk: Desk) -> None:
    first = desk.grid(0, "open", "ann", 0, 2, None)
    everything = [item["row"] for item in desk.grid(0, "open", "ann", 0, 100, first["version"])["items"]]
    for item in first["items"]:
        desk.record([answer(str(item["row"]), (item["row"], 0))])
    rest = desk.grid(0, "open", "ann", 2, 100, first["version"])
    assert [item["row"] for item in rest["items"]] == everything[2:]
    assert desk.grid(0, "open", "ann", 0, 100, None)["total"] == len(everything) - 2


@pytest.mark.parametrize(("show", "state"), [("open", None), ("present", "present"), ("absent", "absent")])
def test_a_grid_shows_the_cells_of_one_state(show: str, state: str | None, desk: Desk) -> None:
    found = desk.grid(2, show, "ann", 0, 100, None)
    words = {PRESENT: "present", ABSENT: "absent", UNKNOWN: None}
    assert {item["state"] for item in found["items"]} == {state}
    assert found["total"] == sum(words[label] == state for label in desk.given[:, 2].tolist())


def test_what_people_disagree_on_is_unknown_and_told(desk: Desk, open_cell: Callable) -> None:
    row, column = open_cell()
    desk.record([answer("a", (row, column)), answer("b", (row, column), "absent", "bob")])
    (item,) = desk.disagreements_told()["items"]
    said = [(one["person"], one["state"]) for one in item["answers"]]
    assert (item["row"], item["column"], said) == (row, column, [("ann", "present"), ("bob", "absent")])
    assert desk.state()["disputed"] == 1
    assert desk.known()[0][desk.check_row(row), column] == UNKNOWN


def test_before_probabilities_are_calibrated_none_is_told(desk: Desk) -> None:
    found = lesson(desk)
    desk.take(Lesson(**{**vars(found), "calibrated": False}))
    assert {item["p"] for item in desk.grid(0, "all", "ann", 0, 100, None)["items"]} == {None}


def test_a_test_image_is_not_answered(desk: Desk) -> None:
    row = desk.data.splits.index("test")
    with pytest.raises(DataError, match=f"no image that is reviewed has the number {row}"):
        desk.record([answer("a", (row, 0))])
    assert desk.store.count == 0


def test_labels_are_those_of_settling_all_answers(desk: Desk) -> None:
    """Kept up cell by cell, after every answer and every undo of several people."""
    random, given = np.random.default_rng(0), []
    learning = np.flatnonzero(np.array(desk.data.splits) != "test")
    for number in range(120):
        if given and random.random() < 0.3:
            token, person = given.pop(int(random.integers(len(given))))
            desk.undo([token], person)
        else:
            cell = int(random.choice(learning[:4])), int(random.integers(3))
            state, person = random.choice(["present", "absent", "unsure"]), str(random.choice(["ann", "bob", "cy"]))
            desk.record([answer(str(number), cell, str(state), person)])
            given.append((str(number), person))
        states, disputed = settled(desk.data.given, desk.store.standing)
        assert (desk.known()[0] == states[learning]).all()
        assert desk.state()["disputed"] == disputed[learning].sum()
    own = {
        person: {(one.row, one.column) for one in desk.store.standing if one.person == person} for _, person in given
    }
    for person, cells in own.items():
        asked = desk.queue("unlabelled", person, None, 100)["items"]
        assert not {(item["row"], cell["column"]) for item in asked for cell in item["cells"]} & cells


def test_answers_to_what_is_a_test_image_by_now_count_for_nothing(data: DataSet, tmp_path: Path) -> None:
    row = data.splits.index("train")
    with AnswerStore.open(tmp_path / "moved.sqlite", data) as store:
        Desk(data, store, "ann", "unknown").record([answer("a", (row, 0))])
    splits = tuple("test" if place == row else split for place, split in enumerate(data.splits))
    moved = replace(data, splits=splits)
    with AnswerStore.open(tmp_path / "moved.sqlite", moved) as store:
        found = Desk(moved, store, "ann", "unknown")
        queue = found.queue("unlabelled", "ann", None, 100)
        assert queue["left"] == sum(len(item["cells"]) for item in queue["items"])
        assert (found.known()[0] == moved.given[found.rows]).all()


def test_other_open_classes_are_the_likeliest_ones(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desks, "MOST_OTHERS", 1)
    desk.take(lesson(desk))
    for item in desk.queue("class", "ann", 0, 100)["items"]:
        place = desk.check_row(item["row"])
        unknown = [c for c in np.flatnonzero(desk.given[place] == UNKNOWN).tolist() if c != 0]
        best = sorted(unknown, key=lambda c: -desk.lesson.probabilities[place, c])[:1]
        assert [cell["column"] for cell in item["others"]] == best


def test_orders_that_were_not_asked_for_for_long_go(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orders, "KEPT", 3)
    for version in range(1, 4):
        desk.take(lesson(desk, version, seed=version))
        desk.grid(0, "all", "ann", 0, 10, None)
        assert desk.grid(0, "all", "ann", 0, 10, 1)["version"] == 1  # somebody is in the middle of it
    desk.grid(1, "all", "ann", 0, 10, None)
    assert [desk.grid(0, "all", "ann", 0, 10, version)["version"] for version in (1, 2)] == [1, 3]


def test_an_unknown_queue_is_told_with_those_there_are(desk: Desk) -> None:
    with pytest.raises(ConfigError, match="no queue is called 'error'; did you mean 'errors'"):
        desk.queue("error", "ann")
    with pytest.raises(DataError, match="expected the number of a class below 3, got None"):
        desk.queue("class", "ann")


@pytest.mark.parametrize(
    ("reached", "took"),
    [
        ([], None),
        ([(0, 0.5)], None),
        ([(0, 0.5), (40, 0.52)], 40),
        ([(0, 0.5), (40, 0.505), (90, 0.52)], 50),
        ([(0, 0.5), (40, 0.52), (90, 0.525)], 90),
        ([(0, 0.5), (40, 0.4)], None),
        ([(100, 0.5), (95, 0.52)], None),
    ],
)
def test_the_last_point_is_counted_from_the_last_training_that_was_a_point_below(reached: list, took: int) -> None:
    assert last_point(reached) == took
