"""What lies on the table while people answer: labels as they stand, what was learned last, and what to ask next.

Rows are those of the prepared folder, as the page has them; "places" count the images that are reviewed, its training
and validation images. Axes: N reviewed images, C classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from threading import RLock
from typing import Any

import numpy as np

from mlrpl_cli.core.io.errors import ConfigError, DataError, did_you_mean
from mlrpl_cli.core.labels.answers.records import DataSet, NewAnswer
from mlrpl_cli.core.labels.answers.store import AnswerStore
from mlrpl_cli.core.labels.records import TEST
from mlrpl_cli.core.labels.states import ABSENT, PRESENT, UNKNOWN
from mlrpl_cli.core.review.learning import Lesson
from mlrpl_cli.core.review.orders import Cell, Orders, Recent
from mlrpl_cli.core.review.standing import Labels

POINT = 0.01
"""Of mAP."""
LOOKED_AT = 1000
"""Cells among which those of one image are brought together."""
MOST_OTHERS = 40
"""Open classes of an image that are told beside those that are asked."""
WORDS = {PRESENT: "present", ABSENT: "absent", UNKNOWN: None}
STATES = {"open": UNKNOWN, "present": PRESENT, "absent": ABSENT}


class Desk:
    """Everything that the page asks for but pictures; safe to call from several threads."""

    def __init__(self, data: DataSet, store: AnswerStore, person: str, disagreements: str, asks: bool = False) -> None:
        """`person` answers where a page says nobody else; with `asks`, pages ask who it is first."""
        self.data, self.store, self.person, self.asks = data, store, person, asks
        self.rows = np.flatnonzero(np.array(data.splits) != TEST)
        self.lesson: Lesson | None = None
        self.learning = "starting"
        """What the learner does: "starting", "training", "idle" or "failed"."""
        self.told: str | None = "the model is being trained for the first time"
        """What is said of that; None for how much it knows."""
        self.given = data.given[self.rows]
        """(N, C) int8: labels before any answer."""
        self._places = np.full(len(data.images), -1)
        self._places[self.rows] = np.arange(len(self.rows))
        self._reached = list[tuple[int, float]]()
        self._lock, self._orders = RLock(), Orders(self.given, None)
        self._shown = Recent()
        """Places of a grid, by the version of their order, the class, what is shown and to whom."""
        self._labels = Labels(self.given, self._places, store, disagreements)

    def known(self) -> tuple[np.ndarray, int]:
        """(N, C) int8 labels as they stand, and how many answers are in them."""
        with self._lock:
            return self._labels.states.copy(), self.store.count

    def record(self, answers: Sequence[NewAnswer]) -> dict[str, Any]:
        """Keep answers for good. Raises DataError for what can be none, NotSavedError where they could not be kept."""
        for answer in answers:
            self.check_cell(answer.row, answer.column)
        self.store.add(answers)
        self._changed((answer.row, answer.column) for answer in answers)
        return {"answers": self.store.count}

    def undo(self, tokens: Sequence[str], person: str) -> dict[str, Any]:
        """Take back answers of one's own. Raises DataError, and NotSavedError where that could not be kept."""
        with self._lock:
            cells = self.store.cells_of(tokens)
            undone = self.store.undo(tokens, person)
        self._changed(cells)
        return {"undone": undone, "answers": self.store.count}

    def take(self, lesson: Lesson) -> None:
        """What was learned."""
        with self._lock:
            self.lesson, self._orders = lesson, Orders(self.given, lesson, self._orders)
            if lesson.estimate is not None and lesson.estimate.of_given:
                self._reached.append((lesson.answers, lesson.estimate.map))

    def state(self) -> dict[str, Any]:
        """Counts, and how the model is doing."""
        lesson, learning = self.lesson, self.learning
        with self._lock:
            counts = self._labels.counts()
            disputed = int(self._labels.disputed.sum())
        classes = [
            {"name": name, "present": present, "absent": absent, "open": unknown}
            for name, present, absent, unknown in zip(self.data.classes, *counts, strict=True)
        ]
        present, absent, unknown = map(sum, counts)
        estimate = lesson and lesson.estimate
        return {
            "title": str(self.data.source),
            "person": self.person,
            "asks": self.asks,
            "classes": classes,
            "images": len(self.rows),
            "known": present + absent,
            "open": unknown,
            "answers": self.store.count,
            "disputed": disputed,
            "learning": {
                "state": learning,
                "told": self.told or f"the model knows {lesson.answers if lesson else 0} answers",
                "version": lesson.version if lesson else 0,
                "answers": lesson.answers if lesson else 0,
            },
            "estimate": vars(estimate) if estimate else None,
            "last_point": last_point(self._reached),
        }

    def queue(self, by: str, person: str, column: int | None = None, most: int = 20) -> dict[str, Any]:
        """Images with what is to be asked of them. Raises ConfigError for an order that there is not."""
        if by not in Orders.NAMES:
            raise ConfigError(f"no queue is called '{by}'; {did_you_mean(by, Orders.NAMES)}")
        self._check_column(column, needed=by == "class")
        with self._lock:
            labels, own, lesson = self._labels, self._labels.of(person), self.lesson
            cells = self._orders.cells(by, labels.states, labels.answered, column)
            asked = _of_images(((place, c, why) for place, c, why in cells if (place, c) not in own), most)
            left = self._orders.count(by, labels.states, labels.answered, column, own)
            items = [self._item(place, of, person) for place, of in asked.items()]
        return {"version": lesson.version if lesson else 0, "left": left, "items": items}

    def grid(self, column: int, show: str, person: str, start: int, most: int, version: int | None) -> dict[str, Any]:
        """Images by falling probability of a class; with `version`, in the order of that training if it is kept.

        Which they are is found when they are looked at from the `start` 0, so that an answer moves none of those that
        follow. Raises ConfigError for what cannot be shown.
        """
        self._check_column(column, needed=True)
        if show != "all" and show not in STATES:
            raise ConfigError(f"expected show to be open, present, absent or all, got '{show}'")
        with self._lock:
            order, version = self._orders.by_probability(column, version)
            key = (version, column, show, person)
            if start <= 0:
                self._shown.pop(key, None)
            order = self._shown.of(key, partial(self._showing, order, column, show, person))
            items = [
                {"row": int(self.rows[place]), "name": self._name(place)}
                | self._cell(place, column, None, person)
                | {"state": WORDS[int(self._labels.states[place, column])]}
                for place in order[max(start, 0) :][:most].tolist()
            ]
        return {"version": version, "total": len(order), "items": items}

    def _showing(self, order: np.ndarray, column: int, show: str, person: str) -> np.ndarray:
        """Those of `order` (N,) that are shown."""
        if show == "all":
            return order
        order = order[self._labels.states[order, column] == STATES[show]]
        mine = [place for place, c in self._labels.of(person) if c == column] if show == "open" else []
        return order[~np.isin(order, mine)] if mine else order

    def disagreements_told(self) -> dict[str, Any]:
        """The cells that people disagree on, with what each says."""
        items = []
        with self._lock:
            cells = np.argwhere(self._labels.disputed).tolist()
        for place, column in cells:
            row = int(self.rows[place])
            said = [{"person": one.person, "state": one.state, "at": one.at} for one in self.store.of_cell(row, column)]
            items.append({"row": row, "name": self._name(place), "column": column, "answers": said})
        return {"items": items}

    def check_row(self, row: int) -> int:
        """The place of a row. Raises DataError for one that is not reviewed."""
        if not 0 <= row < len(self._places) or self._places[row] < 0:
            raise DataError(f"no image that is reviewed has the number {row}; load the page again")
        return int(self._places[row])

    def check_cell(self, row: int, column: int) -> None:
        """Raises DataError for a cell that is not reviewed."""
        self.check_row(row)
        self._check_column(column, needed=True)

    def _check_column(self, column: int | None, needed: bool) -> None:
        if (column is None and needed) or (column is not None and not 0 <= column < len(self.data.classes)):
            raise DataError(f"expected the number of a class below {len(self.data.classes)}, got {column}")

    def _changed(self, cells: Iterable[tuple[int, int]]) -> None:
        """Somebody answered cells, or took that back."""
        with self._lock:
            for row, column in cells:
                self._labels.settle(row, column)

    def _item(self, place: int, asked: dict[int, str | None], person: str) -> dict[str, Any]:
        row, own = int(self.rows[place]), self._labels.of(person)
        unknown = np.flatnonzero(self._labels.states[place] == UNKNOWN).tolist()
        others = [c for c in self._by_probability(place, unknown) if c not in asked and (place, c) not in own]
        return {
            "row": row,
            "name": self._name(place),
            "split": self.data.splits[row],
            "cells": [self._cell(place, c, why, person) for c, why in asked.items()],
            "others": [self._cell(place, c, None, person) for c in others[:MOST_OTHERS]],
        }

    def _cell(self, place: int, column: int, why: str | None, person: str) -> dict[str, Any]:
        row, lesson = int(self.rows[place]), self.lesson
        said = [one for one in self.store.of_cell(row, column) if one.person != person]
        return {
            "column": column,
            "p": float(lesson.probabilities[place, column]) if lesson and lesson.calibrated else None,
            "given": WORDS[int(self.data.given[row, column])],
            "because": why,
            "answers": [{"person": one.person, "state": one.state} for one in said],
        }

    def _by_probability(self, place: int, columns: Iterable[int]) -> list[int]:
        lesson = self.lesson
        return sorted(columns, key=lambda c: 0.0 if lesson is None else -float(lesson.probabilities[place, c]))

    def _name(self, place: int) -> str:
        """Of an image, as JSON can say it: bytes beyond UTF-8 are replaced."""
        return self.data.images[self.rows[place]].encode(errors="replace").decode()


def _of_images(cells: Iterable[Cell], most: int) -> dict[int, dict[int, str | None]]:
    """The first images, each with the columns that are asked of it and why: those of the first LOOKED_AT cells."""
    asked = dict[int, dict[int, str | None]]()
    for seen, (place, column, why) in enumerate(cells):
        if place in asked or len(asked) < most:
            asked.setdefault(place, {})[column] = why
        elif seen >= LOOKED_AT:
            break
    return asked


def last_point(reached: Sequence[tuple[int, float]]) -> int | None:
    """How many answers the last point of mAP took, of (answers, mAP) after each training; None where none was gained.

    From the last training that was a point or more below the newest one. Where answers were taken back since, so that
    there are no more than then, nothing is told.
    """
    if not reached:
        return None
    answers, now = reached[-1]
    before = [known for known, value in reversed(reached) if value <= now - POINT]
    return answers - before[0] if before and answers > before[0] else None
