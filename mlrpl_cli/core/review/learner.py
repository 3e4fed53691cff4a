"""Training beside the server: in a process of its own, so that no answer waits for it, which ends when the server does.

Axes: N images, C classes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool, ProcessPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch

from mlrpl_cli.core.config import TrainConfig
from mlrpl_cli.core.curation.ground import Ground
from mlrpl_cli.core.io.processes import process_pool, without_interrupts
from mlrpl_cli.core.labels.states import UNKNOWN
from mlrpl_cli.core.review.learning import Lesson, Task, learn

GROWTH = 1.5
"""λ is chosen again when so many times the cells are known that it was chosen by."""
NICE = 10
"""How much the process steps back for the server, in the system's own unit."""


class Subject(NamedTuple):
    """What does not change while people answer, as it goes to the process."""

    scores: np.ndarray
    """(N, C, M) float32, of `Ground`."""
    contents: np.ndarray
    """(N, D) float32"""
    texts: np.ndarray
    """(C, E) float32"""
    config: TrainConfig
    parts: np.ndarray
    """(N, C) int8, of `cross_fitting.parts_of`."""
    given: np.ndarray
    """(N, C) bool: the cells that were known before anybody was asked."""


def subject_of(ground: Ground, parts: np.ndarray, given: np.ndarray) -> Subject:
    """The same as arrays."""
    scores, contents, texts = (of.float().numpy() for of in (ground.scores, ground.contents, ground.texts))
    return Subject(scores, contents, texts, ground.config, parts, given)


def ground_from(subject: Subject) -> Ground:
    """The other way."""
    scores, contents, texts = map(torch.from_numpy, (subject.scores, subject.contents, subject.texts))
    return Ground(scores, contents, texts, subject.config)


@dataclass
class Learner:
    """Takes a task at a time; a process that was killed is started again for the next one."""

    subject: Subject
    _open: ExitStack
    _pool: ProcessPoolExecutor | None = None
    _last: Lesson | None = None
    _chosen_by: int = 0

    def begin(self, task: Task) -> Future[Lesson]:
        """Train; λ is that of the last time as long as that will do.

        The first one starts a process, to which the images go: seconds, or more of many. Raises BrokenProcessPool for
        one that has died since; the next one has a new process.
        """
        known = int((task.labels != UNKNOWN).sum())
        if self._last is not None and known < GROWTH * max(self._chosen_by, 1):
            task = replace(task, precision=self._last.precision)
        if self._pool is None:
            self._pool = self._open.enter_context(process_pool(1, _be_ready, (self.subject,)))
        try:
            with without_interrupts():
                return self._pool.submit(_learn, task)
        except BrokenProcessPool:
            self._pool = None
            raise

    def took(self, done: Future[Lesson], task: Task) -> Lesson:
        """What the training of a task came to. Raises what it raised; after a process that died there is a new one."""
        try:
            lesson = done.result()
        except BrokenProcessPool:
            self._pool = None
            raise
        known = int((task.labels != UNKNOWN).sum())
        if self._last is None or known >= GROWTH * max(self._chosen_by, 1):
            self._chosen_by = known
        self._last = lesson
        return lesson


class _EndedError(Exception):
    """Makes a pool end at once rather than wait."""


@contextmanager
def learner(subject: Subject) -> Iterator[Learner]:
    """Ends its process with the block, in the middle of a training if there is one."""
    held = ExitStack()
    try:
        yield Learner(subject, held)
    finally:
        with suppress(_EndedError), held:
            raise _EndedError


_ground: tuple[Ground, np.ndarray, np.ndarray] | None = None
"""Of the process that trains."""


def _be_ready(subject: Subject) -> None:
    global _ground
    if hasattr(os, "nice"):
        os.nice(NICE)
    torch.set_num_threads(max((os.cpu_count() or 1) - 1, 1))
    _ground = ground_from(subject), subject.parts, subject.given


def _learn(task: Task) -> Lesson:
    if _ground is None:
        raise RuntimeError("the process was not made ready")
    return learn(*_ground, task)
