"""What lies on the table while people answer: labels as they stand, what was learned last, and what to ask next.

Rows are those of the prepared folder, as the page has them; "places" count the images that are reviewed, its training
and validation images. Axes: N reviewed images, C classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from threading import RLock
from typing import Any

import numpy as np

from mlrpl_cli.core.io.errors import ConfigError, DataError, did_you_mean
from mlrpl_cli.core.labels.answers.records import DataSet, NewAnswer
from mlrpl_cli.core.labels.answers.settling import settled
from mlrpl_cli.core.labels.answers.store import AnswerStore
from mlrpl_cli.core.labels.records import TEST
from mlrpl_cli.core.labels.states import ABSENT, PRESENT, UNKNOWN
from mlrpl_cli.core.review.learning import Lesson
from mlrpl_cli.core.review.orders import Cell, Orders

POINT = 0.01
"""Of mAP."""
LOOKED_AT = 1000
"""Cells among which those of one image are brought together."""
WORDS = {PRESENT: "present", ABSENT: "absent", UNKNOWN: None}


@dataclass(frozen=True)
class Labels:
    """Of the reviewed images, with all answers so far."""

    states: np.ndarray
    """(N, C) int8"""
    disputed: np.ndarray
    """(N, C) bool"""


class Desk:
    """Everything that the page asks for but pictures; safe to call from several threads."""

    def __init__(self, data: DataSet, store: AnswerStore, person: str, disagreements: str) -> None:
        self.data, self.store, self.person, self.disagreements = data, store, person, disagreements
        self.rows = np.flatnonzero(np.array(data.splits) != TEST)
        self.lesson: Lesson | None = None
        self.learning = "starting"
        """What the learner does: "starting", "training", "idle" or "failed"."""
        self.told: str | None = "the model is being trained for the first time"
        """What is said of that; None for how much it knows."""
        self._places = np.full(len(data.images), -1)
        self._places[self.rows] = np.arange(len(self.rows))
        self._reached = list[tuple[int, float]]()
        self._lock, self._own = RLock(), dict[str, frozenset[tuple[int, int]]]()
        self._labels: Labels | None = None
        self.given = data.given[self.rows]
        """(N, C) int8: labels before any answer."""
        self._orders = Orders(self.given, None)

    def labels(self) -> Labels:
        """As they stand."""
        with self._lock:
            if self._labels is None:
                states, disputed = settled(self.data.given, self.store.standing, self.disagreements)
                self._labels = Labels(states[self.rows], disputed[self.rows])
            return self._labels

    def known(self) -> tuple[np.ndarray, int]:
        """(N, C) int8 labels as they stand, and how many answers are in them."""
        with self._lock:
            return self.labels().states, self.store.count

    def record(self, answers: Sequence[NewAnswer]) -> dict[str, Any]:
        """Keep answers for good. Raises DataError for what can be none, and where they could not be kept."""
        for answer in answers:
            self.check_cell(answer.row, answer.column)
        self.store.add(answers)
        self._forget()
        return {"answers": self.store.count}

    def undo(self, tokens: Sequence[str], person: str) -> dict[str, Any]:
        """Take back answers of one's own. Raises DataError where that could not be kept."""
        undone = self.store.undo(tokens, person)
        self._forget()
        return {"undone": undone, "answers": self.store.count}

    def take(self, lesson: Lesson) -> None:
        """What was learned."""
        with self._lock:
            self.lesson, self._orders = lesson, Orders(self.given, lesson, self._orders)
            if lesson.estimate is not None:
                self._reached.append((lesson.answers, lesson.estimate.map))

    def state(self) -> dict[str, Any]:
        """Counts, and how the model is doing."""
        labels, lesson, learning = self.labels(), self.lesson, self.learning
        counts = {word: (labels.states == state).sum(axis=0).tolist() for state, word in WORDS.items()}
        classes = [
            {"name": name, "present": present, "absent": absent, "open": unknown}
            for name, present, absent, unknown in zip(self.data.classes, *counts.values(), strict=True)
        ]
        estimate = lesson and lesson.estimate
        return {
            "title": str(self.data.source),
            "person": self.person,
            "classes": classes,
            "images": len(self.rows),
            "known": sum(counts["present"]) + sum(counts["absent"]),
            "open": sum(counts[None]),
            "answers": self.store.count,
            "disputed": int(labels.disputed.sum()),
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
        labels, own, lesson = self.labels(), self._answered_by(person), self.lesson
        cells = self._orders.cells(by, labels.states, column)
        asked = _of_images(((place, c, why) for place, c, why in cells if (place, c) not in own), most)
        left = self._orders.count(by, labels.states, column, own)
        items = [self._item(place, of, labels, own, person) for place, of in asked.items()]
        return {"version": lesson.version if lesson else 0, "left": left, "items": items}

    def grid(self, column: int, show: str, person: str, start: int, most: int, version: int | None) -> dict[str, Any]:
        """Images by falling probability of a class; with `version`, in the order of that training if it is known."""
        self._check_column(column, needed=True)
        labels, own = self.labels(), self._answered_by(person)
        order, version = self._orders.by_probability(column, version)
        states = labels.states[order, column]
        if show == "open":
            mine = np.fromiter(((place, column) in own for place in order.tolist()), bool, len(order))
            order = order[(states == UNKNOWN) & ~mine]
        elif show in ("present", "absent"):
            order = order[states == (PRESENT if show == "present" else ABSENT)]
        elif show != "all":
            raise ConfigError(f"expected show to be open, present, absent or all, got '{show}'")
        shown = order[max(start, 0) :][:most].tolist()
        items = [
            {"row": int(self.rows[place]), "name": self._name(place)}
            | self._cell(place, column, None, person)
            | {"state": WORDS[int(labels.states[place, column])]}
            for place in shown
        ]
        return {"version": version, "total": len(order), "items": items}

    def disagreements_told(self) -> dict[str, Any]:
        """The cells that people disagree on, with what each says."""
        items = []
        for place, column in np.argwhere(self.labels().disputed).tolist():
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

    def _forget(self) -> None:
        """What was made of the answers before."""
        with self._lock:
            self._labels = None
            self._own.clear()

    def _answered_by(self, person: str) -> frozenset[tuple[int, int]]:
        with self._lock:
            if person not in self._own:
                mine = (one for one in self.store.standing if one.person == person)
                self._own[person] = frozenset((int(self._places[one.row]), one.column) for one in mine)
            return self._own[person]

    def _item(
        self,
        place: int,
        asked: dict[int, str | None],
        labels: Labels,
        own: frozenset[tuple[int, int]],
        person: str,
    ) -> dict[str, Any]:
        unknown = np.flatnonzero(labels.states[place] == UNKNOWN).tolist()
        others = [c for c in self._by_probability(place, unknown) if c not in asked and (place, c) not in own]
        row = int(self.rows[place])
        return {
            "row": row,
            "name": self._name(place),
            "split": self.data.splits[row],
            "cells": [self._cell(place, c, why, person) for c, why in asked.items()],
            "others": [self._cell(place, c, None, person) for c in others],
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

    From the last training that was a point or more below the newest one.
    """
    if not reached:
        return None
    answers, now = reached[-1]
    before = [known for known, value in reversed(reached) if value <= now - POINT]
    return answers - before[0] if before else None
