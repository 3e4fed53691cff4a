from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import typer

from mlrpl_cli import __version__, app
from mlrpl_cli.core.backbones.frozen import FrozenEncoder
from mlrpl_cli.core.io.errors import DataError
from tests import small

HEAVY = ("torch", "open_clip", "clip", "numpy", "click")


@pytest.fixture
def behave(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], None]:
    """Make `mlrpl train` do something else."""

    def install(function: Callable[[], None]) -> None:
        module = ModuleType("made_up_command")
        module.train = function  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "made_up_command", module)
        monkeypatch.setitem(app.COMMANDS, "train", ("made_up_command:train", "Made up."))

    return install


@pytest.fixture
def fail(behave: Callable[[Callable[[], None]], None]) -> Callable[[BaseException], None]:
    """Make `mlrpl train` raise an exception."""

    def install(error: BaseException) -> None:
        def raising() -> None:
            raise error

        behave(raising)

    return install


def in_new_process(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the command line as a process and print, last, which heavy modules it imported."""
    code = (
        "import atexit, sys; from mlrpl_cli.app import main;"
        f"atexit.register(lambda: print([name for name in {HEAVY} if name in sys.modules]));"
        f"main({list(arguments)!r})"
    )
    environment = {**os.environ, **variables}
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=60, check=False
    )


@pytest.mark.parametrize("name", app.COMMANDS)
@pytest.mark.parametrize("option", ["--help", "--no-such-option"])
def test_help_and_a_usage_error_of_a_command_wait_for_no_heavy_import(name: str, option: str) -> None:
    process = in_new_process(name, option)
    assert process.returncode == (0 if option == "--help" else 2)
    assert process.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], []])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    process = in_new_process(*arguments)
    assert process.stdout.splitlines()[-1] == "[]"


def test_help_lists_every_command_with_its_line(mlrpl: Callable) -> None:
    outcome = mlrpl("--help")
    text = " ".join(outcome.out.replace("│", " ").split())
    assert outcome.code == 0
    for name, (_, line) in app.COMMANDS.items():
        assert f"{name} {line}" in text


@pytest.mark.parametrize("name", app.COMMANDS)
def test_every_listed_command_has_help(name: str, mlrpl: Callable) -> None:
    outcome = mlrpl(name, "--help")
    assert outcome.code == 0
    assert f"Usage: mlrpl {name}" in outcome.out


def test_version(mlrpl: Callable) -> None:
    outcome = mlrpl("--version")
    assert (outcome.code, outcome.out) == (0, f"mlrpl {__version__}\n")


def test_module_form_is_the_same_program() -> None:
    command = [sys.executable, "-m", "mlrpl_cli", "--version"]
    process = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert process.stdout == f"mlrpl {__version__}\n"


def test_an_error_of_ours_is_one_line(mlrpl: Callable, fail: Callable) -> None:
    fail(DataError("no [bold]images[/] in a\nfolder\x1b[31m"))
    outcome = mlrpl("train")
    assert outcome.code == 1
    assert outcome.out == ""
    assert outcome.err == "mlrpl: error: no [bold]images[/] in a\\nfolder\\x1b[31m\n"


def test_a_long_error_is_not_broken(mlrpl: Callable, fail: Callable) -> None:
    fail(DataError("word " * 100 + "end"))
    assert mlrpl("train").err == "mlrpl: error: " + "word " * 100 + "end\n"


def test_an_error_of_the_system_is_one_line(mlrpl: Callable, fail: Callable) -> None:
    fail(PermissionError(13, "Permission denied", "secret.csv"))
    outcome = mlrpl("train")
    assert (outcome.code, outcome.err) == (1, "mlrpl: error: secret.csv: Permission denied\n")


def test_an_interruption_is_one_line(mlrpl: Callable, fail: Callable) -> None:
    fail(KeyboardInterrupt())
    outcome = mlrpl("train")
    assert (outcome.code, outcome.err) == (130, "mlrpl: interrupted\n")


def test_a_bug_is_one_line(mlrpl: Callable, fail: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLRPL_TRACEBACK", raising=False)
    fail(ZeroDivisionError("division by zero"))
    outcome = mlrpl("train")
    advice = "set MLRPL_TRACEBACK=1 to see where, and please report it"
    assert outcome.code == 1
    assert outcome.err == f"mlrpl: this is a bug in mlrpl: ZeroDivisionError: division by zero; {advice}\n"


def test_a_bug_shows_its_traceback_when_asked(mlrpl: Callable, fail: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLRPL_TRACEBACK", "1")
    fail(ZeroDivisionError("division by zero"))
    lines = mlrpl("train").err.splitlines()
    expected = "mlrpl: this is a bug in mlrpl: ZeroDivisionError: division by zero"
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-1] == f"{expected}; please report it with the traceback above"


def test_the_code_a_command_chooses_is_kept(mlrpl: Callable, fail: Callable) -> None:
    fail(typer.Exit(5))
    assert mlrpl("train").code == 5


def test_another_rank_says_which_one_it_is(mlrpl: Callable, fail: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    fail(DataError("only I met it"))
    outcome = mlrpl("train")
    assert (outcome.code, outcome.err) == (1, "rank 1: mlrpl: error: only I met it\n")


@pytest.mark.parametrize(
    "error", [MemoryError("12 GiB"), RuntimeError("DefaultCPUAllocator: can't allocate memory:\nyou tried 12 GiB")]
)
def test_out_of_memory_is_one_line_with_what_to_lower(error: Exception, mlrpl: Callable, fail: Callable) -> None:
    fail(error)
    outcome = mlrpl("train")
    assert outcome.code == 1
    assert outcome.err.startswith("mlrpl: error: out of memory: ")
    assert outcome.err.endswith("12 GiB; free some memory\n")
    assert outcome.err.count("\n") == 1


@pytest.mark.parametrize(
    ("views", "advice"),
    [
        (2, "32 images are encoded at once, whatever the batch size: lower the image size (--set image_size=N)"),
        (0, "lower the batch size (--set batch_size=N) or the image size"),
    ],
)
def test_out_of_memory_names_what_helps_there(
    mlrpl: Callable, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, views: int, advice: str
) -> None:
    """The cache is filled in batches of a fixed size, so that a smaller batch size would not help."""

    def refuse(*arguments: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 12 GiB")

    monkeypatch.setattr(FrozenEncoder, "__call__", refuse)
    monkeypatch.chdir(tmp_path)
    settings = {**small.OPTIONS, "data": small.write_prepared(tmp_path / "data"), "run": "run", "views": views}
    settings["backbone"] = small.write_backbone(tmp_path / "clip.safetensors")
    outcome = mlrpl("train", *(f"--set={name}={value}" for name, value in settings.items()))
    (line,) = [line for line in outcome.err.splitlines() if line.startswith("mlrpl:")]
    assert outcome.code == 1
    assert f"you tried 12 GiB; {advice}" in line


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["prepair"], "No such command 'prepair'. Did you mean 'prepare'"),
        (["prepare", "--kep", "1"], "No such option: --kep"),
        (["prepare", "--keep", "many"], "Invalid value for '--keep'"),
    ],
)
def test_wrong_usage_exits_2(arguments: list[str], sentence: str, mlrpl: Callable) -> None:
    outcome = mlrpl(*arguments)
    assert (outcome.code, outcome.out) == (2, "")
    assert sentence in outcome.err


@pytest.mark.parametrize("printing", ["print_json([0] * 10)", "print_json([0] * 100_000)", "print_line('word ' * 99)"])
def test_a_closed_pipe_is_no_error(printing: str) -> None:
    """As in `mlrpl predict … | head -1`: whoever read has gone, and that needs no words."""
    reading, writing = os.pipe()
    os.close(reading)
    code = (
        "import sys; from mlrpl_cli import app; from mlrpl_cli.commands import console;"
        f"sys.modules['made_up'] = console; console.train = lambda: console.{printing};"
        "app.COMMANDS['train'] = ('made_up:train', ''); app.main(['train'])"
    )
    command = [sys.executable, "-c", code]
    process = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    os.close(writing)
    assert (process.returncode, process.stderr) == (1, "")


def test_completion_offers_the_commands() -> None:
    process = in_new_process(_MLRPL_COMPLETE="complete_bash", COMP_WORDS="mlrpl p", COMP_CWORD="1")
    assert process.stdout.splitlines()[:-1] == ["prepare", "predict", "pack"]
    assert process.stdout.splitlines()[-1] == "[]"


def test_completion_offers_the_options_and_values_of_a_command() -> None:
    process = in_new_process(_MLRPL_COMPLETE="complete_bash", COMP_WORDS="mlrpl prepare --dataset v", COMP_CWORD="3")
    assert process.stdout.splitlines()[0] == "voc"
