"""The `mlrpl` command: its subcommands, and the one place where errors become a line and an exit code.

A subcommand is a plain function with Typer-annotated parameters, in a module of the same name:

    # mlrpl_cli/commands/count.py
    def count(data: options.Data = None, as_json: options.Json = False) -> None:
        \"\"\"What `mlrpl count --help` says above the options.\"\"\"

plus one line in COMMANDS below. The function parses, calls one function of `mlrpl_cli.core` and prints
through `mlrpl_cli.commands.console`; it raises MlrplError and never catches to print. Its module is imported
when the subcommand runs or its options are asked for; what needs PyTorch it imports inside the function, so that
neither help nor a usage error waits for it.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pkgutil import resolve_name
from types import FrameType
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from mlrpl_cli import __version__
from mlrpl_cli.commands import console, options
from mlrpl_cli.core.io.errors import MlrplError, memory_for
from mlrpl_cli.core.io.own_process import own_process

COMMANDS = {
    "prepare": ("mlrpl_cli.commands.prepare:prepare", "Read a data set, hide labels, and write the prepared folder."),
    "train": ("mlrpl_cli.commands.train:train", "Train a method on a prepared folder."),
    "eval": ("mlrpl_cli.commands.eval:eval", "Measure a trained run on the test images."),
    "decide": ("mlrpl_cli.commands.decide:decide", "Choose when a trained run says yes, no or unsure."),
    "sweep": ("mlrpl_cli.commands.sweep:sweep", "Compare methods at many proportions of known labels."),
    "predict": ("mlrpl_cli.commands.predict:predict", "Predict the classes of images with a trained run."),
    "suggest": ("mlrpl_cli.commands.suggest:suggest", "Rank the unknown cells or images to ask somebody of next."),
    "export": ("mlrpl_cli.commands.export:export", "Write a trained run as one file, for ONNX or PyTorch."),
    "export-labels": (
        "mlrpl_cli.commands.export_labels:export_labels",
        "Write labels or predictions in a format that other programs read.",
    ),
    "review": ("mlrpl_cli.commands.review:review", "Answer labels in the browser while the model learns from them."),
    "complete": ("mlrpl_cli.commands.complete:complete", "Fill unknown labels that keep a promised precision."),
    "check": ("mlrpl_cli.commands.check:check", "List the given labels that look wrong, and write better ones."),
    "runs": ("mlrpl_cli.commands.runs:runs", "List prepared folders and runs, and which is the newest."),
    "backbones": ("mlrpl_cli.commands.backbones:backbones", "List the backbones there are, and which are downloaded."),
    "visualize": ("mlrpl_cli.commands.visualize:visualize", "Draw where a trained run looks, and how it trained."),
    "report": ("mlrpl_cli.commands.report:report", "Write a run, or a sweep, as one HTML file that can be mailed."),
}

TRACEBACK_VARIABLE = "MLRPL_TRACEBACK"
HELP_OPTIONS = {"help_option_names": ["--help", "-h"]}


class LazyGroup(TyperGroup):
    """Lists its commands from COMMANDS alone and imports the one that is used."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        self.rich_markup_mode = "rich"  # for help alone: an error is told in lines, and does not wait for Rich
        super().format_help(ctx, formatter)

    # The contexts and commands are Any because Typer's own types for them are private.
    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        if name is not None:
            single = typer.Typer(add_completion=False, context_settings=HELP_OPTIONS)
            single.command(name)(options.with_voice(resolve_name(COMMANDS[name][0])))
            command = get_command(single)
        return name, command, rest

    def make_context(self, *arguments: Any, **options: Any) -> Any:
        with error_boundary():  # --help and --version print here
            return super().make_context(*arguments, **options)

    def invoke(self, ctx: Any) -> Any:
        with error_boundary():
            return super().invoke(ctx)


@contextmanager
def error_boundary() -> Iterator[None]:
    """Turn whatever a command raises into one line on stderr and an exit code; Typer's own errors pass."""
    try:
        with _signals_interrupt(), memory_for("free some memory"):
            try:
                yield
            except typer.Exit:
                sys.stdout.flush()
                raise
            sys.stdout.flush()
    except (typer.Exit, typer.Abort, typer.TyperException):
        raise
    except KeyboardInterrupt as error:
        console.print_note("mlrpl: interrupted")
        raise typer.Exit(console.INTERRUPTED) from error
    except Exception as error:
        if not isinstance(error, BrokenPipeError):  # whoever read has gone, and that needs no words
            console.print_error(f"mlrpl: {_told(error)}")
        if isinstance(error, OSError):
            _discard_unwritten()
        raise typer.Exit(1) from error


@contextmanager
def _signals_interrupt() -> Iterator[None]:
    """Ctrl-C, and the SIGTERM of a machine that goes down, raise KeyboardInterrupt: what is half-written is removed."""
    with ExitStack() as restoring:
        main_thread = threading.current_thread() is threading.main_thread()  # Python takes signals in no other one
        for number in (signal.SIGINT, signal.SIGTERM) if main_thread else ():
            if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup, and of a shell's background jobs
                restoring.callback(signal.signal, number, signal.signal(number, _interrupt))
        yield


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt. What it cuts short in a library may be missed by the library's cleaning up: no news."""
    sys.unraisablehook = lambda unraisable: None
    signal.default_int_handler(number, frame)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command line (default: the process's own) and exit.

    Exit codes: 0 done, 1 an error told in one line, 2 wrong usage, 3 a figure of eval is not as --require asks,
    4 predict could read no image, 130 interrupted by Ctrl-C or SIGTERM.
    """
    own_process()
    for stream in (sys.stdout, sys.stderr):
        # A file name that the terminal's encoding cannot say must not stop the work.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    app(args=arguments, prog_name="mlrpl")


def _told(error: Exception) -> str:
    """The line of an error, and the traceback above that of a bug when it was asked for."""
    if isinstance(error, MlrplError):
        return f"error: {error}"
    if isinstance(error, OSError):
        reason = error.strerror or str(error) or type(error).__name__
        return f"error: {reason if error.filename is None else f'{error.filename}: {reason}'}"
    advice = f"set {TRACEBACK_VARIABLE}=1 to see where, and please report it"
    if os.environ.get(TRACEBACK_VARIABLE) == "1":
        traceback.print_exc()
        advice = "please report it with the traceback above"
    return f"this is a bug in mlrpl: {type(error).__name__}: {error}; {advice}"


def _discard_unwritten() -> None:
    """Point stdout at nothing if it takes no more, so that Python does not complain of it once more when it ends."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"mlrpl {__version__}")
        raise typer.Exit


def _global_options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Multi-label recognition when images carry only some of their labels.

    Start with: mlrpl prepare, mlrpl train, mlrpl eval.
    """


app = typer.Typer(
    cls=LazyGroup,
    callback=_global_options,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings=HELP_OPTIONS,
)
for _name, (_, _help) in COMMANDS.items():
    app.command(_name, help=_help)(lambda: None)  # resolve_command replaces it before anything calls it
