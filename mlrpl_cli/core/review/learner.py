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


class Material(NamedTuple):
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


def material_of(ground: Ground, parts: np.ndarray, given: np.ndarray) -> Material:
    """The same as arrays."""
    scores, contents, texts = (of.float().numpy() for of in (ground.scores, ground.contents, ground.texts))
    return Material(scores, contents, texts, ground.config, parts, given)


def ground_from(material: Material) -> Ground:
    """The other way."""
    scores, contents, texts = map(torch.from_numpy, (material.scores, material.contents, material.texts))
    return Ground(scores, contents, texts, material.config)


@dataclass
class Learner:
    """Takes a task at a time; a process that was killed is started again for the next one."""

    material: Material
    _open: ExitStack
    _pool: ProcessPoolExecutor | None = None
    _last: Lesson | None = None
    _chosen_by: int = 0

    def begin(self, task: Task) -> Future[Lesson]:
        """Train; λ is that of the last time as long as that will do.

        The first one starts a process, to which the images go: seconds, or more of many. Raises BrokenProcessPool for
        one that has died since; the next one has a new process.
        """
        if self._last is not None and not self._chooses_by((task.labels != UNKNOWN).sum()):
            task = replace(task, precision=self._last.precision)
        if self._pool is None:
            self._pool = self._open.enter_context(process_pool(1, _be_ready, (self.material,)))
        try:
            with without_interrupts():
                return self._pool.submit(_learn, task)
        except BrokenProcessPool:
            self._pool = None
            raise

    def took(self, done: Future[Lesson]) -> Lesson:
        """What a training came to. Raises what it raised; after a process that died there is a new one."""
        try:
            lesson = done.result()
        except BrokenProcessPool:
            self._pool = None
            raise
        if self._chooses_by(lesson.known):
            self._chosen_by = lesson.known
        self._last = lesson
        return lesson

    def _chooses_by(self, known: int) -> bool:
        """Whether λ is chosen anew by so many known cells."""
        return self._last is None or known >= GROWTH * max(self._chosen_by, 1)


class _EndedError(Exception):
    """Makes a pool end at once rather than wait."""


@contextmanager
def learner(material: Material) -> Iterator[Learner]:
    """Ends its process with the block, in the middle of a training if there is one."""
    held = ExitStack()
    try:
        yield Learner(material, held)
    finally:
        with suppress(_EndedError), held:
            raise _EndedError


_ground: tuple[Ground, np.ndarray, np.ndarray] | None = None
"""Of the process that trains."""


def _be_ready(material: Material) -> None:
    global _ground
    if hasattr(os, "nice"):
        os.nice(NICE)
    torch.set_num_threads(max((os.cpu_count() or 1) - 1, 1))
    _ground = ground_from(material), material.parts, material.given


def _learn(task: Task) -> Lesson:
    if _ground is None:
        raise RuntimeError("the process was not made ready")
    return learn(*_ground, task)
