"""When the model is trained again: soon after answers, one training at a time, never in the way of the next answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import asynccontextmanager, suppress

from mlrpl_cli.core.review.desk import Desk
from mlrpl_cli.core.review.learner import Learner
from mlrpl_cli.core.review.learning import Task

MANY, QUIET = 10, 3.0
"""Answers after which a training is due at once, and seconds without one after which it is for any."""
PATIENCE = 30.0
"""Seconds until it is tried again after a training that failed."""


class Teacher:
    """Has the desk's labels learned whenever they have changed."""

    def __init__(self, desk: Desk, learner: Learner) -> None:
        self.desk, self.learner = desk, learner
        self._changes, self._heard = 0, asyncio.Event()

    def heard(self, answers: int) -> None:
        """So many were given or taken back."""
        self._changes += answers
        self._heard.set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Trains in the background of the block."""
        task = asyncio.create_task(self._teach())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _teach(self) -> None:
        version = 0
        while True:
            self._changes, version = 0, version + 1
            failed = await self._train(version)
            if failed:
                self.desk.learning, self.desk.told = "failed", failed
                await asyncio.sleep(PATIENCE)
                continue
            self.desk.learning, self.desk.told = "idle", None
            await self._until_due()

    async def _until_due(self) -> None:
        while self._changes < MANY:
            self._heard.clear()
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._heard.wait(), QUIET)
                continue
            if self._changes:
                return

    async def _train(self, version: int) -> str | None:
        """Why it failed; None where it did not."""
        states, answers = await asyncio.to_thread(self.desk.known)
        self.desk.learning = "training" if self.desk.lesson else "starting"
        self.desk.told = "the model is being trained; answers are taken meanwhile"
        task = Task(version, states, answers, None)
        try:
            done = await asyncio.to_thread(self.learner.begin, task)
            with suppress(Exception):  # it is asked for what it raised below
                await asyncio.wrap_future(done)
            self.desk.take(self.learner.took(done))
        except BrokenProcessPool:
            return "the training was ended from outside, such as for want of memory; it is tried again"
        except Exception as error:
            return f"the model could not be trained ({type(error).__name__}: {error}); answers are kept"
        return None
