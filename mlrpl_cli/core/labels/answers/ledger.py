"""Which answers stand: of each person the newest to a cell that was not taken back."""

from __future__ import annotations

from bisect import bisect_left, insort
from operator import itemgetter

from mlrpl_cli.core.labels.answers.records import Standing

Cell = tuple[int, int]
"""Ids of an image and of a class."""
_Numbered = tuple[int, Standing]
_number = itemgetter(0)


class Ledger:
    """The answers of a file, kept in memory as they come and go."""

    def __init__(self) -> None:
        self._said: dict[Cell, dict[str, list[_Numbered]]] = {}  # all that were not taken back, by person
        self._standing: list[_Numbered] = []
        self._gone: list[_Numbered] = []

    @property
    def standing(self) -> list[Standing]:
        """In the order of their ids."""
        return [answer for _, answer in self._standing]

    @property
    def count(self) -> int:
        """Of those."""
        return len(self._standing)

    @property
    def gone(self) -> int:
        """How many would stand if their image and their class were still there."""
        return len(self._gone)

    def of_cell(self, cell: Cell) -> list[Standing]:
        """Those that stand, in the order of their ids."""
        newest = sorted((answers[-1] for answers in self._said.get(cell, {}).values()), key=_number)
        return [answer for _, answer in newest]

    def add(self, number: int, cell: Cell, answer: Standing) -> None:
        """`number` is its id, larger than all before. A negative row or column says that it is there no more."""
        answers = self._said.setdefault(cell, {}).setdefault(answer.person, [])
        if answers:
            self._leave(answers[-1])
        answers.append((number, answer))
        self._stand(answers[-1])

    def take_back(self, number: int, cell: Cell, person: str) -> None:
        """Raises KeyError for an answer that the person has not given to the cell, or has taken back."""
        answers = self._said[cell][person]
        place = bisect_left(answers, number, key=_number)
        if place == len(answers) or answers[place][0] != number:
            raise KeyError(number)
        taken = answers.pop(place)
        if place == len(answers):
            self._leave(taken)
            if answers:
                self._stand(answers[-1])
        if not answers:
            del self._said[cell][person]

    def _stand(self, numbered: _Numbered) -> None:
        insort(self._among(numbered), numbered, key=_number)

    def _leave(self, numbered: _Numbered) -> None:
        among = self._among(numbered)
        del among[bisect_left(among, numbered[0], key=_number)]

    def _among(self, numbered: _Numbered) -> list[_Numbered]:
        answer = numbered[1]
        return self._standing if min(answer.row, answer.column) >= 0 else self._gone
