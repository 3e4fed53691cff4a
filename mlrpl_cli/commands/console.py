"""What commands say: results on stdout; progress, notes and errors on stderr.

Under `torchrun` every rank runs the same command; only the main one (RANK unset or 0) prints results and
progress.
"""

from __future__ import annotations

import json
import math
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console, RenderableType
from rich.filesize import decimal
from rich.progress import BarColumn, ProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.progress import Task as Bar
from rich.table import Table
from rich.text import Text

from mlrpl_cli.core.io.errors import printable
from mlrpl_cli.core.io.progress import Progress, Silent, Task

WIDTH_OF_FILES = 200
"""Columns that a table may take where there is no terminal to fit."""
MISSING = "–"
"""What stands in a table for a number that there is not."""
FORMULA_STARTS = tuple("=+-@＝＋－＠")
"""What begins a formula in a spreadsheet; the wide forms do under East Asian settings. Tabs are escaped before."""
LINES_PER_TASK = 10
"""How many lines a task prints at most where there is no terminal for a bar."""


def is_main_process() -> bool:
    """Whether this process speaks for all: true outside torchrun and on its rank 0."""
    return os.environ.get("RANK", "0") == "0"


def csv_text(text: object) -> str:
    """A name as it may stand in a CSV file, which is for people: as `printable` makes it, and never a formula.

    What a spreadsheet would compute, a text that starts with = + - or @ (also after spaces), gets a single quote in
    front, which spreadsheets take for the mark of a text. Numbers are not names and go without it. Programs read
    JSON, where every name is as it is.
    """
    shown = printable(text)
    return f"'{shown}" if shown.lstrip().startswith(FORMULA_STARTS) else shown


def print_line(text: object) -> None:
    """One line of results on stdout."""
    if is_main_process():
        _console(sys.stdout).print(Text(printable(text)), soft_wrap=True)


def percent(share: float | None) -> str:
    """A share in [0, 1] as a percentage with two decimals; a dash for None and NaN."""
    return MISSING if share is None or math.isnan(share) else f"{100 * share:.2f}"


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table of results on stdout; numbers are aligned right and None is an empty cell."""
    if is_main_process():
        _console(sys.stdout).print(_table(title, columns, rows))


def print_json(value: object) -> None:
    """`value` as JSON on stdout: dataclasses as objects, paths as strings, NaN and infinities as null."""
    if is_main_process():
        text = json.dumps(_jsonable(value), indent=2, ensure_ascii=False, allow_nan=False)
        sys.stdout.write(_BEYOND_ASCII.sub(_json_character, text) + "\n")


def print_note(text: object) -> None:
    """One line that is no result, on stderr."""
    if is_main_process():
        print_error(text)


def print_error(text: object) -> None:
    """One line on stderr from whichever process calls: what only one rank met, only that rank can tell."""
    speaker = "" if is_main_process() else f"rank {os.environ['RANK']}: "
    _console(sys.stderr).print(Text(speaker + printable(text)), soft_wrap=True)


def progress() -> Progress:
    """Bars on a terminal, a few plain lines elsewhere, nothing from a process that is not the main one."""
    if not is_main_process():
        return Silent()
    return BarProgress() if sys.stderr.isatty() else LineProgress()


def board() -> Board:
    """Progress that can show a table of results above its bars while they grow; without a terminal only at the end."""
    return Board(progress())


class Board:
    """Progress with a table that is drawn anew at each `show`."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self.task, self.note = progress.task, progress.note

    def show(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Replace the table above the bars."""
        if isinstance(self._progress, BarProgress):
            self._progress.show(_table(title, columns, rows))


class BarProgress:
    """Bars with rate, remaining time and figures; a task inside another takes its bar away when it ends."""

    def __init__(self) -> None:
        self._bars = _BarsBelow(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            _Count(),
            _Rate(),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True),
            TextColumn("{task.fields[figures]}", markup=False),
            console=_console(sys.stderr),
        )
        self._open = 0

    @contextmanager
    def task(self, description: str, total: int, unit: str = "images") -> Iterator[Task]:
        if self._open == 0:
            self._bars.start()
        self._open += 1
        # A total of 0 means unknown: Rich then shows a moving bar instead of a finished one.
        bar = self._bars.add_task(printable(description), total=total or None, unit=unit, figures="")
        try:
            yield _BarTask(self._bars, bar)
        finally:
            self._open -= 1
            if self._open:
                self._bars.remove_task(bar)
            else:
                self._close()

    def note(self, message: str) -> None:
        self._bars.console.print(Text(printable(message)), soft_wrap=True)

    def show(self, table: Table) -> None:
        self._bars.table = table

    def _close(self) -> None:
        self._bars.table = None  # what is left on the screen is the caller's to print
        self._bars.stop()
        for bar in self._bars.task_ids:
            self._bars.remove_task(bar)


class LineProgress:
    """At most LINES_PER_TASK lines for a task, and one, at its end, for a task inside another."""

    def __init__(self) -> None:
        self._open = 0

    @contextmanager
    def task(self, description: str, total: int, unit: str = "images") -> Iterator[Task]:
        task = _LineTask(description, total, unit, LINES_PER_TASK if self._open == 0 else 1)
        self._open += 1
        try:
            yield task
        finally:
            self._open -= 1
        task.finish()

    def note(self, message: str) -> None:
        print_note(message)


class _BarsBelow(Bars):
    """Bars below a table, when there is one."""

    table: Table | None = None

    def get_renderables(self) -> Iterable[RenderableType]:
        if self.table is not None:
            yield self.table
        yield from super().get_renderables()


class _BarTask:
    def __init__(self, bars: Bars, bar: Any) -> None:
        self._bars, self._bar = bars, bar

    def advance(self, steps: int = 1, **figures: float) -> None:
        self._bars.advance(self._bar, steps)
        if figures:
            self._bars.update(self._bar, figures=_figures(figures))


class _LineTask:
    def __init__(self, description: str, total: int, unit: str, lines: int) -> None:
        self._description, self._total, self._unit, self._lines = description, total, unit, lines
        self._done = self._said = 0
        self._figures: Mapping[str, float] = {}

    def advance(self, steps: int = 1, **figures: float) -> None:
        self._done += steps
        self._figures = figures or self._figures
        if (self._done - self._said) * self._lines >= self._total > 0:
            self._say()

    def finish(self) -> None:
        """Say how far it came, unless the last line did."""
        if self._said < self._done:
            self._say()

    def _say(self) -> None:
        self._said = self._done
        amount = _amount(self._done, self._total, self._unit)
        print_note(f"{self._description}: {amount}  {_figures(self._figures)}".rstrip())


class _Count(ProgressColumn):
    def render(self, task: Bar) -> Text:
        return Text(_amount(int(task.completed), int(task.total or 0), task.fields["unit"]))


class _Rate(ProgressColumn):
    def render(self, task: Bar) -> Text:
        speed = task.finished_speed or task.speed
        if speed is None:
            return Text("")
        return Text(f"{decimal(int(speed))}/s" if task.fields["unit"] == "bytes" else f"{speed:.3g}/s")


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Table:
    table = Table(title=Text(printable(title)), title_justify="left")
    for index, column in enumerate(columns):
        numeric = all(_is_number(row[index]) for row in rows)
        table.add_column(Text(printable(column)), justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text("" if cell is None else printable(cell)) for cell in row))
    return table


def _is_number(cell: object) -> bool:
    """Whether a cell is a number, however formatted, or stands for one that there is not."""
    try:
        float("nan" if cell in (None, MISSING) else str(cell).rstrip("%"))
    except ValueError:
        return False
    return True


def _amount(done: int, total: int, unit: str) -> str:
    """`120/2000 images`; `120 images` when the total is unknown; bytes with their own prefixes."""
    if unit == "bytes":
        return f"{decimal(done)} of {decimal(total)}" if total else decimal(done)
    return f"{done}/{total} {unit}" if total else f"{done} {unit}"


def _figures(figures: Mapping[str, float]) -> str:
    return "  ".join(f"{name} {value:.4g}" for name, value in figures.items())


def _console(stream: TextIO) -> Console:
    """Made at each call, because whoever redirects sys.stdout means what is printed from then on."""
    width = None if stream.isatty() else WIDTH_OF_FILES
    return Console(file=stream, width=width, highlight=False, markup=False, emoji=False)


def _jsonable(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return _jsonable(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): _jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(item) for item in value]
    if hasattr(value, "tolist"):
        return _jsonable(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value


# JSON escapes the ASCII control characters itself, all but the last.
_BEYOND_ASCII = re.compile(r"[^\n -~]")


def _json_character(found: re.Match[str]) -> str:
    """A character as it is, or escaped when it steers a terminal or when stdout's encoding has no place for it."""
    character = found[0]
    try:
        character.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return json.dumps(character)[1:-1]
    return character if character.isprintable() else json.dumps(character)[1:-1]
