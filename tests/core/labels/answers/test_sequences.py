"""Any sequence of answers and undos, the file closed and opened in between, is what a list of all of it says."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from mlrpl_cli.core.labels.answers.reading import read_answers
from mlrpl_cli.core.labels.answers.records import NewAnswer
from mlrpl_cli.core.labels.answers.store import AnswerStore
from tests.core.labels.answers.about import data_set

PEOPLE = ("ann", "bob")


class Reference:
    """Every answer in a list; what stands is looked for anew each time."""

    def __init__(self) -> None:
        self.all: list[NewAnswer] = []
        self.undone: set[str] = set()

    def add(self, answers) -> None:
        self.all += answers

    def undo(self, tokens) -> None:
        self.undone |= set(tokens)

    def standing(self) -> list[NewAnswer]:
        left = [answer for answer in self.all if answer.token not in self.undone]
        return [
            answer
            for place, answer in enumerate(left)
            if not any(
                (later.row, later.column, later.person) == (answer.row, answer.column, answer.person)
                for later in left[place + 1 :]
            )
        ]


CELLS = st.tuples(st.integers(0, 1), st.integers(0, 1))
ANSWERS = st.tuples(CELLS, st.sampled_from(["present", "absent", "unsure"]), st.sampled_from(PEOPLE))
STEPS = st.one_of(
    st.lists(ANSWERS, max_size=4),
    st.tuples(st.sampled_from(PEOPLE), st.lists(st.integers(0, 30), min_size=1, max_size=3)),
    st.sampled_from(["open again", "take it over"]),
)


def as_added(standing) -> list[NewAnswer]:
    return [NewAnswer(a.token, a.row, a.column, a.state, a.person, a.probability) for a in standing]


@settings(max_examples=60, deadline=None)
@given(st.lists(STEPS, max_size=12))
def test_any_sequence_is_what_the_slow_reference_says(steps) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path, reference = Path(folder) / "answers.sqlite", Reference()
        data = data_set(Path(folder))
        store = AnswerStore.open(path, data)
        for step in steps:
            if isinstance(step, str):
                store.close()
                less = data_set(Path(folder), data.images[1:], data.classes[1:], data.given[1:, 1:])
                if step == "take it over":
                    AnswerStore.open(path, less).close()
                store = AnswerStore.open(path, data)
            elif isinstance(step, list):
                first = len(reference.all)
                new = [NewAnswer(f"{first + n}", *cell, state, who, 0.5) for n, (cell, state, who) in enumerate(step)]
                store.add(new)
                reference.add(new)
            else:
                person, numbers = step
                own = [answer.token for answer in reference.all if answer.person == person]
                tokens = [own[number % len(own)] for number in numbers] if own else []
                assert store.undo(tokens, person) == len(set(tokens))
                reference.undo(tokens)
            expected = reference.standing()
            assert as_added(store.standing) == expected
            assert store.count == len(expected)
            for row in range(2):
                for column in range(2):
                    here = [answer for answer in expected if (answer.row, answer.column) == (row, column)]
                    assert as_added(store.of_cell(row, column)) == here
        store.close()
        assert as_added(read_answers(path)[1]) == reference.standing()
