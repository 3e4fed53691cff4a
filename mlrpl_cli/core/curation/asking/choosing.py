"""Choosing the cells, or images, that are worth most together: one at a time, each after what the ones before settle.

    take argmax_u  w(u | taken) / cost(u),   w(u) = Σ of the worths of its cells

No worth grows by what is taken, so the best of the worths as they were last computed is computed again, and taken if it
is still the best (lazy evaluation, Minoux 1978): the same choice as by computing all of them each time. Axes: N images,
C classes, U units, each of which is asked whole.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from heapq import heappop, heappush

import numpy as np

from mlrpl_cli.core.curation.asking.options import CELL


@dataclass(frozen=True)
class Units:
    """What can be asked: single cells, or images with their open cells."""

    may_ask: np.ndarray
    """(N, C) bool"""
    rows: np.ndarray
    """(U,) the image of each."""
    column: np.ndarray | None
    """(U,) the class of a cell; None for images."""
    costs: np.ndarray
    """(U,)"""

    def columns(self, unit: int) -> np.ndarray:
        """(k,) the classes that are asked."""
        return np.flatnonzero(self.may_ask[self.rows[unit]]) if self.column is None else self.column[unit : unit + 1]

    def per_cost(self, worths: np.ndarray) -> np.ndarray:
        """(N, C) worths of cells → (U,) of units, by their costs."""
        cells = self.may_ask
        sums = np.where(cells, worths, 0).sum(axis=1)[self.rows] if self.column is None else worths[cells]
        return sums / self.costs


def units_of(may_ask: np.ndarray, by: str, costs: tuple[float, float]) -> Units:
    """What can be asked `by` cells, which cost 1 each, or images, by `costs` of opening one and of each answer."""
    if by == CELL:
        rows, columns = np.nonzero(may_ask)
        return Units(may_ask, rows, columns, np.ones(len(rows)))
    rows = np.flatnonzero(may_ask.any(axis=1))
    of_image, of_cell = costs
    return Units(may_ask, rows, None, of_image + of_cell * may_ask[rows].sum(axis=1))


class Worth(ABC):
    """What answers are worth, in a unit of its own, at least 0."""

    @abstractmethod
    def of_all(self) -> np.ndarray:
        """(N, C)"""

    @abstractmethod
    def of(self, row: int, columns: np.ndarray) -> np.ndarray:
        """(k,) of some cells of an image, after the answers that are expected."""

    @abstractmethod
    def expect(self, row: int, columns: np.ndarray) -> None:
        """These cells (k,) will be answered; nothing may be worth more by it."""

    def first(self, units: Units) -> np.ndarray:
        """(U,) of each unit by its cost, before anything is taken."""
        return units.per_cost(self.of_all())

    def now(self, units: Units, unit: int) -> float:
        """The same of one, after what is expected."""
        return float(self.of(int(units.rows[unit]), units.columns(unit)).sum() / units.costs[unit])


def choose(worth: Worth, units: Units, budget: int) -> Iterator[tuple[int, float]]:
    """Up to `budget` units, the best first, each with its worth by its cost when it was taken.

    `worth` knows of a unit as expected only when the next one is asked for.
    """
    first = worth.first(units)
    waiting, position = np.argsort(-first, kind="stable"), 0
    again, taken = list[tuple[float, int, int]](), np.zeros(units.may_ask.shape[1], int)
    for _ in range(min(budget, len(first))):
        while True:
            if again and (position == len(waiting) or -again[0][0] >= first[waiting[position]]):
                negative, unit, computed_at = heappop(again)
            else:
                unit, computed_at = int(waiting[position]), 0
                negative, position = -float(first[unit]), position + 1
            columns = units.columns(unit)
            if computed_at == (now := int(taken[columns].sum())):
                break
            heappush(again, (-worth.now(units, unit), unit, now))
        yield unit, -negative
        worth.expect(int(units.rows[unit]), columns)
        taken[columns] += 1
