"""The orders in which cells come to be asked. Axes: N reviewed images, C classes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import ClassVar

import numpy as np

from mlrpl_cli.core.labels.states import UNKNOWN
from mlrpl_cli.core.review.learning import Lesson

KEPT = 64
"""Orders of classes, and of earlier trainings, that somebody may be in the middle of: those last asked for."""

Cell = tuple[int, int, str | None]
"""An image's place, a class's column, and why it is asked."""


class Recent(OrderedDict[tuple[int | str, ...], np.ndarray]):
    """Orders by what they are of: the KEPT that were last asked for."""

    def of(self, key: tuple[int | str, ...], make: Callable[[], np.ndarray]) -> np.ndarray:
        """The one that is kept, or else a new one."""
        if key not in self:
            self[key] = make()
        self.move_to_end(key)
        if len(self) > KEPT:
            self.popitem(last=False)
        return self[key]


class Orders:
    """Of one lesson; before the first one, the order of the data set."""

    NAMES: ClassVar = ("suggested", "errors", "class", "unlabelled")

    def __init__(self, given: np.ndarray, lesson: Lesson | None, before: Orders | None = None) -> None:
        """`before` has the orders of earlier lessons."""
        self.given, self.lesson = given, lesson
        self._kept: Recent = before._kept if before else Recent()

    def cells(self, by: str, states: np.ndarray, answered: np.ndarray, column: int | None) -> Iterator[Cell]:
        """What is to be asked of images whose labels stand as `states` (N, C), of one class where it is given.

        `answered` (N, C) are the cells that somebody said are present or absent.
        """
        if by == "errors":
            found = self._errors(answered)
        else:
            found = {"suggested": self._suggested, "class": self._open}.get(by, self._unlabelled)(states, column)
        return (cell for cell in found if column is None or cell[1] == column)

    def count(
        self, by: str, states: np.ndarray, answered: np.ndarray, column: int | None, but: Collection[tuple[int, int]]
    ) -> int:
        """How many cells there are to be asked, without some that need not be."""
        if by == "errors":
            return sum(1 for place, c, _ in self.cells(by, states, answered, column) if (place, c) not in but)
        unknown = states == UNKNOWN if column is None else states[:, [column]] == UNKNOWN
        spared = (1 for place, c in but if states[place, c] == UNKNOWN and column in (None, c))
        return int(unknown.sum()) - sum(spared)

    def by_probability(self, column: int, version: int | None) -> tuple[np.ndarray, int]:
        """(N,) places by falling probability of a class, of the lesson `version` if it is kept, and of which it is."""
        if version is None or (version, column) not in self._kept:
            version = self.lesson.version if self.lesson else 0
        p = self.lesson.probabilities[:, column] if self.lesson else np.zeros(len(self.given))
        return self._kept.of((version, column), lambda: np.argsort(-p, kind="stable")), version

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

    def _errors(self, answered: np.ndarray) -> Iterator[Cell]:
        """Given labels that nobody confirmed or denied, as `check` has them."""
        if self.lesson:
            found = self.lesson.doubtful
            for place, c, why in zip(found.rows.tolist(), found.columns.tolist(), found.because, strict=True):
                if self.given[place, c] != UNKNOWN and not answered[place, c]:
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
        open_ = states[:, column] == UNKNOWN if column is not None else np.ones(len(states), bool)
        for places in (np.flatnonzero(untouched & open_), np.flatnonzero(~untouched & open_)):
            yield from _unknown_cells(states, places.tolist())


def _unknown_cells(states: np.ndarray, places: Iterable[int]) -> Iterator[Cell]:
    """Image after image, so that whoever wants the first ones does not wait for all."""
    for place in places:
        yield from ((place, c, None) for c in np.flatnonzero(states[place] == UNKNOWN).tolist())
