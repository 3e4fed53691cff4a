"""What commands say: results on stdout; progress, notes and errors on stderr.

Under `torchrun` every rank runs the same command; only the main one (RANK unset or 0) prints results and
progress.
"""

from __future__ import annotations

import codecs
import json
import math
import os
import re
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mlrpl_cli.commands.words import MISSING, WARNING, amount_text, figures_text
from mlrpl_cli.core.io.errors import printable
from mlrpl_cli.core.io.parallel import ranks
from mlrpl_cli.core.io.progress import Progress, Silent, Task

if TYPE_CHECKING:
    from mlrpl_cli.core.export.writing import Exported

INTERRUPTED = 130
"""Exit code of a command that Ctrl-C or SIGTERM ended."""
REQUIREMENT_FAILED = 3
"""Exit code of `eval` when a figure is not as --require asks."""
NOTHING_READ = 4
"""Exit code of `predict` when no image could be read."""
NOT_LEARNABLE = "* could not be learned, for want of a known present or absent training cell"
"""What explains the star of `marked`."""
SOON, SELDOM = 5.0, 300.0
"""Seconds between two lines of a task where there is no terminal for a bar: at least, and at most while it goes on."""
clock = time.monotonic


@dataclass
class Voice:
    """How much the command that runs says on stderr, and what it has warned of."""

    quiet: bool = False
    """Nothing but warnings and errors."""
    verbose: bool = False
    """Details too."""
    begun: float = field(default_factory=clock)
    warnings: list[str] = field(default_factory=list)

    def first_warning(self, text: str) -> bool:
        """Whether it has not warned so yet; it has from then on."""
        is_first = text not in self.warnings
        self.warnings += [text] * is_first
        return is_first


voice = Voice()


def speak(quiet: bool = False, verbose: bool = False) -> None:
    """What a command begins with: as quiet or as verbose as it was asked to be, and without a warning so far."""
    global voice
    voice = Voice(quiet, verbose)


is_main_process = ranks.is_main


def csv_truth(value: bool | None) -> str:
    """A truth value as it stands in a CSV file; empty where it is not known."""
    return "" if value is None else str(value).lower()


def marked(name: str, learnable: bool | None) -> str:
    """A class name, with a star where the class could not be learned."""
    return f"{name} *" if learnable is False else name


def print_line(text: object) -> None:
    """One line of results on stdout."""
    if is_main_process():
        print(printable(text), flush=True)


def percent(share: float | None) -> str:
    """A share in [0, 1] as a percentage with two decimals; a dash for None and NaN."""
    return MISSING if share is None or math.isnan(share) else f"{100 * share:.2f}"


def figure(value: float | None) -> str:
    """A number with four decimals; a dash for None and NaN."""
    return MISSING if value is None or math.isnan(value) else f"{value:.4f}"


def print_exported(exported: Exported, *beside: object) -> None:
    """What has to be known of a label file, where it and the files beside it are, and the command that reads it."""
    for note in exported.notes:
        print_line(note)
    print_line(f"written: {' and '.join(map(str, (exported.path, *beside)))}")
    if exported.read_back:
        print_line(f"read back: {exported.read_back}")


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table of results on stdout below its title; numbers are aligned right and None is an empty cell."""
    if is_main_process():
        from mlrpl_cli.commands import drawn

        drawn.print_table(sys.stdout, title, columns, rows)


def print_json(value: object, indent: int | None = 2) -> None:
    """`value` as JSON on stdout: dataclasses as objects, paths as strings, NaN and infinities as null.

    It is UTF-8 whatever the locale and the code page of the terminal, as RFC 8259 has it; with `indent` None one line.
    """
    if is_main_process():
        from pydantic_core import to_jsonable_python  # slow, and help imports this module

        plain = to_jsonable_python(value, inf_nan_mode="null", fallback=lambda other: other.tolist())
        text = json.dumps(plain, indent=indent, ensure_ascii=False, allow_nan=False)
        line = _BEYOND_ASCII.sub(_json_character, text) + "\n"
        if binary := getattr(sys.stdout, "buffer", None):
            sys.stdout.flush()  # what was printed before
            binary.write(line.encode())
        else:
            sys.stdout.write(line)
        sys.stdout.flush()


def print_note(text: object) -> None:
    """One line that is no result, on stderr, unless the command is to be quiet."""
    if is_main_process() and not voice.quiet:
        print_error(text)


def print_detail(text: object) -> None:
    """One line on stderr for those who asked for details."""
    if voice.verbose:
        print_note(text)


def print_warning(text: object) -> None:
    """One line on stderr that a result has to be read with; `--json` lists it beside the result."""
    if is_main_process() and voice.first_warning(str(text)):
        print_error(f"{WARNING}{text}")


def print_error(text: object) -> None:
    """One line on stderr from whichever process calls: what only one rank met, only that rank can tell."""
    speaker = "" if is_main_process() else f"rank {os.environ['RANK']}: "
    print(speaker + printable(text), file=sys.stderr, flush=True)


def progress() -> Progress:
    """Bars on a terminal, a few plain lines elsewhere; of a quiet command warnings alone.

    Nothing from a process that is not the main one.
    """
    if not is_main_process():
        return Silent()
    if voice.quiet:
        return QuietProgress()
    if not sys.stderr.isatty():
        return LineProgress()
    from mlrpl_cli.commands.drawn import BarProgress

    return BarProgress(voice.verbose, voice.first_warning)


def show_above(progress: Progress, title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Replace the table of results above the bars of `progress`; without a terminal nothing is shown."""
    from mlrpl_cli.commands.drawn import BarProgress, titled

    if isinstance(progress, BarProgress):
        progress.table = titled(title, columns, rows)
        progress.refresh()


class QuietProgress(Silent):
    """Warnings."""

    def warn(self, message: str) -> None:
        print_warning(message)


class LineProgress:
    """Lines for a log: one at each tenth of a task, though not within SOON of the last one, and at least each SELDOM.

    The last line says how far a task came. A task inside another has no tenths, and no last line when it was short.
    """

    note, detail, warn = staticmethod(print_note), staticmethod(print_detail), staticmethod(print_warning)
    _open = 0

    @contextmanager
    def task(self, description: str, total: int, unit: str = "images") -> Iterator[Task]:
        task = _LineTask(description, total, unit, inside=self._open > 0)
        self._open += 1
        try:
            yield task
        finally:
            self._open -= 1
        short = task.inside and clock() - task.begun < SOON
        if task.said < task.done and not short:
            task.say()


@dataclass
class _LineTask:
    description: str
    total: int
    unit: str
    inside: bool
    done: int = 0
    said: int = 0
    figures: str = ""

    def __post_init__(self) -> None:
        self.begun = self.spoke = clock()

    def advance(self, steps: int = 1, **figures: float) -> None:
        self.done += steps
        self.figures = figures_text(figures) or self.figures
        tenth = not self.inside and 10 * (self.done - self.said) >= self.total > 0
        if clock() - self.spoke >= (SOON if tenth else SELDOM):
            self.say()

    def say(self) -> None:
        self.said, self.spoke = self.done, clock()
        print_note(f"{self.description}: {amount_text(self.done, self.total, self.unit)}  {self.figures}".rstrip())


_BEYOND_ASCII = re.compile(r"[^\n -~]")
"""JSON escapes the ASCII control characters itself, all but the last."""


def _json_character(found: re.Match[str]) -> str:
    """A character as it is, or escaped when it steers a terminal or when stdout is said to show no UTF-8."""
    character, encoding = found[0], getattr(sys.stdout, "encoding", None) or "utf-8"
    shown = character.isprintable() and codecs.lookup(encoding).name == "utf-8"
    return character if shown else json.dumps(character)[1:-1]
