"""How long work reports itself without knowing who listens: the command line draws bars, a library call is silent."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol, TypeVar

T = TypeVar("T")


class Task(Protocol):
    """One piece of long work under way."""

    def advance(self, steps: int = 1, **figures: float) -> None:
        """Report `steps` more done; `figures` (a loss, a rate) are shown beside the bar."""


class Progress(Protocol):
    """What a core function needs of its caller to report long work."""

    def task(self, description: str, total: int, unit: str = "images") -> AbstractContextManager[Task]:
        """Open a task of `total` steps; used as a context manager."""

    def note(self, message: str) -> None:
        """Say in one line what is being done."""

    def detail(self, message: str) -> None:
        """Say in one line what only those want to know who look closely."""

    def warn(self, message: str) -> None:
        """Say in one line what makes a result another one than the user may think; it stands beside the result."""


class Silent:
    """Reports nothing: the default of every core function, and its own task."""

    def task(self, description: str, total: int, unit: str = "images") -> AbstractContextManager[Task]:
        return nullcontext(self)

    def note(self, message: str) -> None: ...
    def detail(self, message: str) -> None: ...
    def warn(self, message: str) -> None: ...
    def advance(self, steps: int = 1, **figures: float) -> None: ...


def track(progress: Progress, items: Iterable[T], description: str, total: int, unit: str = "images") -> Iterator[T]:
    """Yield from `items`, one step each."""
    with progress.task(description, total, unit) as task:
        for item in items:
            yield item
            task.advance()
