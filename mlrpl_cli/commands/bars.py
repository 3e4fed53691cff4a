"""Progress on a terminal: bars with rate, remaining time and figures, and a table above them."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from rich import progress as bars
from rich.console import RenderableType
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from mlrpl_cli.commands.console import amount_text, console_of, figures_text
from mlrpl_cli.core.io.errors import printable
from mlrpl_cli.core.io.progress import Task


class BarProgress(bars.Progress):
    """Bars with rate, remaining time and figures; a task inside another takes its bar away when it ends."""

    table: Table | None = None
    """What stands above the bars."""

    def __init__(self) -> None:
        super().__init__(
            bars.TextColumn("{task.description}", markup=False),
            bars.BarColumn(bar_width=24),
            _Amount(),
            bars.TimeRemainingColumn(compact=True, elapsed_when_finished=True),
            bars.TextColumn("{task.fields[figures]}", markup=False),
            console=console_of(sys.stderr),
            # Rich would print on the bars' own stream what goes to stdout: wrong where that is a file.
            redirect_stdout=sys.stdout.isatty(),
        )

    @contextmanager
    def task(self, description: str, total: int, unit: str = "images") -> Iterator[Task]:
        inside = bool(self.task_ids)
        self.start()
        # A total of 0 means unknown: Rich then shows a moving bar instead of a finished one.
        bar = self.add_task(printable(description), total=total or None, unit=unit, figures="")
        try:
            yield _BarTask(self, bar)
        finally:
            if not inside:
                self.table = None  # what is left on the screen is the caller's to print
                self.stop()
            self.remove_task(bar)

    def note(self, message: str) -> None:
        self.console.print(Text(printable(message)), soft_wrap=True)

    def get_renderables(self) -> Iterable[RenderableType]:
        return [*([self.table] if self.table else []), *super().get_renderables()]


class _BarTask(NamedTuple):
    progress: BarProgress
    bar: bars.TaskID

    def advance(self, steps: int = 1, **figures: float) -> None:
        self.progress.advance(self.bar, steps)
        if figures:
            self.progress.update(self.bar, figures=figures_text(figures))


class _Amount(bars.ProgressColumn):
    """How much is done, and how much of it a second."""

    def render(self, task: bars.Task) -> Text:
        done = amount_text(int(task.completed), int(task.total or 0), task.fields["unit"])
        speed = task.finished_speed or task.speed
        if speed is None:
            return Text(done)
        return Text(f"{done}  {decimal(int(speed)) if task.fields['unit'] == 'bytes' else format(speed, '.3g')}/s")
