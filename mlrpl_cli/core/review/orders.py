"""The orders in which cells come to be asked. Axes: N reviewed images, C classes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import ClassVar

import numpy as np

from mlrpl_cli.core.labels.states import UNKNOWN
from mlrpl_cli.core.review.learning import Lesson

KEPT = 8
"""Orders of earlier trainings that somebody may be in the middle of."""

Cell = tuple[int, int, str | None]
"""An image's place, a class's column, and why it is asked."""


class Orders:
    """Of one lesson; before the first one, the order of the data set."""

    NAMES: ClassVar = ("suggested", "errors", "class", "unlabelled")

    def __init__(self, given: np.ndarray, lesson: Lesson | None, before: Orders | None = None) -> None:
        """`before` has the orders of earlier lessons."""
        self.given, self.lesson = given, lesson
        earlier = list(before._kept.items())[-KEPT:] if before else []
        self._kept: dict[tuple[int, int], np.ndarray] = dict(earlier)

    def cells(self, by: str, states: np.ndarray, column: int | None) -> Iterator[Cell]:
        """What is to be asked of images whose labels stand as `states` (N, C), of one class where it is given."""
        found = {"suggested": self._suggested, "errors": self._errors, "class": self._open}.get(by, self._unlabelled)
        return (cell for cell in found(states, column) if column is None or cell[1] == column)

    def count(self, by: str, states: np.ndarray, column: int | None, but: frozenset[tuple[int, int]]) -> int:
        """How many cells there are to be asked, without some that need not be."""
        if by == "errors":
            return sum(1 for place, c, _ in self.cells(by, states, column) if (place, c) not in but)
        unknown = states == UNKNOWN if column is None else states[:, [column]] == UNKNOWN
        spared = (1 for place, c in but if states[place, c] == UNKNOWN and column in (None, c))
        return int(unknown.sum()) - sum(spared)

    def by_probability(self, column: int, version: int | None) -> tuple[np.ndarray, int]:
        """(N,) places by falling probability of a class, of the lesson `version` if it is kept, and of which it is."""
        now = self.lesson.version if self.lesson else 0
        if version is not None and (version, column) in self._kept:
            return self._kept[version, column], version
        if (now, column) not in self._kept:
            p = self.lesson.probabilities[:, column] if self.lesson else np.zeros(len(self.given))
            self._kept[now, column] = np.argsort(-p, kind="stable")
        return self._kept[now, column], now

    def _suggested(self, states: np.ndarray, column: int | None) -> Iterator[Cell]:
        """As `suggest` has it; then, and before anything was learned, in the order of the data set."""
        told = set[tuple[int, int]]()
        if self.lesson:
            found = self.lesson.suggested
            for place, c, why in zip(found.rows.tolist(), found.columns.tolist(), found.because, strict=True):
                told.add((place, c))
                if states[place, c] == UNKNOWN:
                    yield place, c, why
        yield from (cell for cell in self._open(states, column) if cell[:2] not in told)

    def _errors(self, states: np.ndarray, column: int | None) -> Iterator[Cell]:
        """Given labels as `check` has them."""
        if self.lesson:
            found = self.lesson.doubtful
            for place, c, why in zip(found.rows.tolist(), found.columns.tolist(), found.because, strict=True):
                if self.given[place, c] != UNKNOWN:
                    yield place, c, why

    def _open(self, states: np.ndarray, column: int | None) -> Iterator[Cell]:
        """Unknown cells, those of a class nearest to p = 0.5 first."""
        if column is None:
            yield from _unknown_cells(states, range(len(states)))
            return
        places = np.flatnonzero(states[:, column] == UNKNOWN)
        if self.lesson:
            places = places[np.argsort(np.abs(self.lesson.probabilities[places, column] - 0.5), kind="stable")]
        yield from ((place, column, None) for place in places.tolist())

    def _unlabelled(self, states: np.ndarray, column: int | None) -> Iterator[Cell]:
        """Unknown cells of images in the order of the data set, those without any label first."""
        untouched = (states == UNKNOWN).all(axis=1)
        for places in (np.flatnonzero(untouched), np.flatnonzero(~untouched)):
            yield from _unknown_cells(states, places.tolist())


def _unknown_cells(states: np.ndarray, places: Iterable[int]) -> Iterator[Cell]:
    """Image after image, so that whoever wants the first ones does not wait for all."""
    for place in places:
        yield from ((place, c, None) for c in np.flatnonzero(states[place] == UNKNOWN).tolist())
