"""A learner that dies is followed by another one, whenever it dies; all answers are learned in the end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool

import numpy as np
import pytest

from mlrpl_cli.core.labels.answers.records import NewAnswer
from mlrpl_cli.core.review import teaching
from mlrpl_cli.core.review.desk import Desk
from mlrpl_cli.core.review.learning import NO_CELLS, Lesson, Task
from mlrpl_cli.core.review.teaching import Teacher

LONGEST = 60


class Fickle:
    """Does what it is told, task by task: trains, dies in the middle, is dead already, or fails."""

    def __init__(self, desk: Desk, *fates: str) -> None:
        self.desk, self.fates, self.tasks = desk, list(fates), list[Task]()

    def begin(self, task: Task) -> Future:
        self.tasks.append(task)
        done: Future = Future()
        fate = self.fates.pop(0) if self.fates else "trains"
        if fate == "dead":
            raise BrokenProcessPool("dead")
        if fate == "trains":
            p = np.zeros(self.desk.given.shape, np.float32)
            done.set_result(Lesson(task.version, task.answers, 1.0, 0, p, False, NO_CELLS, NO_CELLS, None))
        else:
            done.set_exception(BrokenProcessPool("dies") if fate == "dies" else ValueError("odd"))
        return done

    def took(self, done: Future) -> Lesson:
        return done.result()


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teaching, "PATIENCE", 0)
    monkeypatch.setattr(teaching, "QUIET", 0.01)


async def until(true: Callable[[], bool]) -> None:
    async def wait() -> None:
        while not true():
            await asyncio.sleep(0)

    await asyncio.wait_for(wait(), LONGEST)


@pytest.mark.parametrize("fates", [(), ("dead",), ("dies",), ("fails",), ("trains", "dead", "dies", "fails")])
def test_all_answers_are_learned_however_often_a_training_fails(
    fates: tuple[str, ...], desk: Desk, open_cell: Callable
) -> None:
    learner = Fickle(desk, *fates)
    cells = [open_cell() for _ in range(3)]

    def knows(answers: int) -> bool:
        return desk.lesson is not None and desk.lesson.answers == answers

    async def answer() -> None:
        teacher = Teacher(desk, learner)
        async with teacher.running():
            for number, cell in enumerate(cells, 1):
                await until(lambda: desk.learning == "idle")
                desk.record([NewAnswer(str(number), *cell, "present", "ann", None)])
                teacher.heard(1)
                await until(lambda known=number: knows(known))

    asyncio.run(answer())
    assert not learner.fates
    versions = [task.version for task in learner.tasks]
    assert versions == sorted(set(versions))


def test_why_a_training_failed_is_told(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teaching, "PATIENCE", LONGEST)

    async def wait() -> None:
        async with Teacher(desk, Fickle(desk, "fails")).running():
            await until(lambda: desk.learning == "failed")

    asyncio.run(wait())
    assert desk.told == "the model could not be trained (ValueError: odd); answers are kept"
