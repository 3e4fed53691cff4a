"""What Rich draws: tables, and progress on a terminal as bars with rate, remaining time and figures.

Whoever needs it imports it then: help and usage errors do not wait for Rich.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple, TextIO

from rich import progress as bars
from rich.console import Console, Group, RenderableType
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from mlrpl_cli.commands.words import MISSING, WARNING, amount_text, figures_text
from mlrpl_cli.core.io.errors import printable
from mlrpl_cli.core.io.progress import Task

WIDTH_OF_FILES = 200
"""Columns that a table may take where there is no terminal to fit."""
_NUMBER = re.compile(rf"-?\d+(\.\d+)?%?|{MISSING}|")
"""A cell that is a number, or stands for one that there is not."""


def print_table(stream: TextIO, title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """The title as a line of its own, however long, since a folder's name in it is copied; then the table."""
    console = console_of(stream)
    console.print(Text(printable(title)), soft_wrap=True)
    console.print(table_of(columns, rows))


def titled(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Group:
    """The same above bars, where a long title takes several lines."""
    return Group(Text(printable(title), overflow="fold"), table_of(columns, rows))


def table_of(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Table:
    """Numbers are aligned right, and None is an empty cell."""
    table = Table()
    cells = [["" if cell is None else printable(cell) for cell in row] for row in rows]
    for index, column in enumerate(columns):
        numeric = all(_NUMBER.fullmatch(row[index]) for row in cells)
        table.add_column(Text(printable(column)), justify="right" if numeric else "left", overflow="fold")
    for row in cells:
        table.add_row(*map(Text, row))
    return table


def console_of(stream: TextIO) -> Console:
    """Made at each call, because whoever redirects sys.stdout means what is printed from then on."""
    width = None if stream.isatty() else WIDTH_OF_FILES
    return Console(file=stream, width=width, highlight=False, markup=False, emoji=False)


class BarProgress(bars.Progress):
    """Bars with rate, remaining time and figures; a task inside another takes its bar away when it ends."""

    table: RenderableType | None = None
    """What stands above the bars."""

    def __init__(self, verbose: bool, is_first: Callable[[str], bool]) -> None:
        """`is_first` is asked for every warning whether it has to be said, and remembers it."""
        self.verbose, self.is_first = verbose, is_first
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

    def detail(self, message: str) -> None:
        if self.verbose:
            self.note(message)

    def warn(self, message: str) -> None:
        if self.is_first(message):
            self.note(f"{WARNING}{message}")

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
