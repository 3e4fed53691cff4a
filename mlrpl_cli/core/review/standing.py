"""Labels with the answers so far, kept up cell by cell: what was answered is looked at, and nothing else.

Axes: N reviewed images, C classes.
"""

from __future__ import annotations

import numpy as np

from mlrpl_cli.core.labels.answers.records import UNSURE
from mlrpl_cli.core.labels.answers.settling import check_disagreements, settled_cell
from mlrpl_cli.core.labels.answers.store import AnswerStore
from mlrpl_cli.core.labels.states import ABSENT, PRESENT, UNKNOWN


class Labels:
    """Of the reviewed images. Whoever reads it while others answer holds a lock."""

    def __init__(self, given: np.ndarray, places: np.ndarray, store: AnswerStore, disagreements: str) -> None:
        """`places` has the place of each row of the data set, -1 for an image that is not reviewed.

        Raises ConfigError as `settled`.
        """
        check_disagreements(disagreements)
        self._given, self._places, self._store, self._disagreements = given, places, store, disagreements
        self.states = given.copy()
        """(N, C) int8"""
        self.disputed = np.zeros(given.shape, bool)
        """(N, C): whether people disagree."""
        self.answered = np.zeros(given.shape, bool)
        """(N, C): whether somebody said that it is present or absent."""
        self._own = dict[str, set[tuple[int, int]]]()
        for cell in {(one.row, one.column) for one in store.standing}:
            self.settle(*cell)

    def settle(self, row: int, column: int) -> None:
        """Look at the answers to a cell again."""
        place = int(self._places[row])
        if place < 0:
            return
        said, cell = self._store.of_cell(row, column), (place, column)
        told = [one.state for one in said]
        self.states[cell], self.disputed[cell] = settled_cell(int(self._given[cell]), told, self._disagreements)
        self.answered[cell] = any(state != UNSURE for state in told)
        people = {one.person for one in said}
        for person in people - self._own.keys():
            self._own[person] = set()
        for person, own in self._own.items():
            (own.add if person in people else own.discard)(cell)

    def of(self, person: str) -> set[tuple[int, int]]:
        """The places and columns that a person answered."""
        return self._own.get(person, set())

    def counts(self) -> tuple[list[int], list[int], list[int]]:
        """(C,) present, absent and unknown cells."""
        present, absent, unknown = ((self.states == state).sum(axis=0) for state in (PRESENT, ABSENT, UNKNOWN))
        return present.tolist(), absent.tolist(), unknown.tolist()
