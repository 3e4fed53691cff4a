from __future__ import annotations

import io
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from mlrpl_cli.commands import console
from mlrpl_cli.core.io.errors import csv_text


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_names_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    console.print_line("a\x1b[2J\nb\u202e [red]c[/red]")
    assert capsys.readouterr().out == "a\\x1b[2J\\nb\\u202e [red]c[/red]\n"


def test_tables_show_markup_as_it_is_and_align_numbers_right(capsys: pytest.CaptureFixture[str]) -> None:
    console.print_table("[b]T", ("name", "AP"), [("[red]x", 9.5), ("y\n", None), ("z", "100.0%")])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].rstrip() == "[b]T"
    assert [line for line in lines if "│" in line] == [
        "│ [red]x │    9.5 │",
        "│ y\\n    │        │",
        "│ z      │ 100.0% │",
    ]


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_the_title_of_a_table_is_one_line_whatever_the_width(
    stream: type[io.StringIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr(sys, "stdout", out := stream())
    title = f"figures of runs/{'a-long-name-' * 30}: 12 images"
    console.print_table(title, ("name", "AP"), [("x", 9.5)])
    assert out.getvalue().splitlines()[0] == title
    assert out.getvalue().splitlines()[1] == "┏━━━━━━┳━━━━━┓"


def test_json_is_valid_for_what_core_returns(capsys: pytest.CaptureFixture[str]) -> None:
    @dataclass
    class Result:
        folder: Path
        scores: np.ndarray
        best: np.float32
        missing: float

    value = [Result(Path("a/b"), np.array([1.5, np.inf]), np.float32(0.5), float("nan")), {"\x9b": ("é",)}]
    console.print_json(value)
    text = capsys.readouterr().out
    expected = {"folder": "a/b", "scores": [1.5, None], "best": 0.5, "missing": None}
    assert json.loads(text) == [expected, {"\x9b": ["é"]}]
    assert "\x9b" not in text
    assert "é" in text


def test_json_stays_json_whatever_the_names_and_the_encoding(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["é", "猫🐈", "\x1b[2J\x7f\x9b", "\u202e\u200b", "\udce9", "two\nlines"]
    for encoding in ("utf-8", "latin-1", "ascii", "cp1252", "utf-16"):
        memory = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(memory, encoding))
        console.print_json(names)
        sys.stdout.flush()
        text = memory.getvalue().decode("utf-8")
        assert json.loads(text) == names
        assert ("é" in text) == (encoding == "utf-8")
        assert all(character.isprintable() or character == "\n" for character in text)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a.png", "a.png"),
        ("=1+1", "'=1+1"),
        ("  =1+1", "'  =1+1"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@SUM(1)", "'@SUM(1)"),
        ("＝1", "'＝1"),
        ("\t=1", "\\t=1"),
        ("\r=1", "\\r=1"),
        ("a=1", "a=1"),
        ("", ""),
        ("\x1b[2J\u202e\udce9\n", "\\x1b[2J\\u202e\\udce9\\n"),
    ],
)
def test_csv_holds_no_formula_and_no_character_that_steers(name: str, shown: str) -> None:
    assert csv_text(name) == shown


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time in seconds, which stands still."""
    time = [0.0]
    monkeypatch.setattr(console, "clock", lambda: time[0])
    return time


def test_plain_progress_of_a_short_task_is_its_last_line(now: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with console.progress().task("Checking", 105, "files") as task:
        for _ in range(105):
            task.advance()
    assert capsys.readouterr().err == "Checking: 105/105 files\n"


def test_plain_progress_of_a_long_task_is_ten_lines(now: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with console.progress().task("Reading", 1000) as task:
        for step in range(1000):
            now[0] += 0.1
            task.advance(loss=1 / (step + 1))
    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    assert captured.out == ""
    assert len(lines) == 10
    assert lines[0] == "Reading: 100/1000 images  loss 0.01"
    assert lines[-1] == "Reading: 1000/1000 images  loss 0.001"


def test_plain_progress_of_hours_is_a_line_every_five_minutes(
    now: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    """In an inner task too; 1,000 steps of 60 seconds, of which each fifth is told."""
    progress = console.progress()
    with progress.task("Outer", 0, "runs"), progress.task("Reading", 1000) as task:
        for _ in range(1000):
            now[0] += 60
            task.advance()
    assert capsys.readouterr().err.splitlines() == [f"Reading: {n}/1000 images" for n in range(5, 1001, 5)]


def test_plain_progress_of_an_inner_task_is_its_last_line_unless_it_is_short(
    now: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    progress = console.progress()
    with progress.task("Training", 2, "epochs") as outer:
        for seconds in (1, 0.01):
            with progress.task("Epoch", 50, "batches") as inner:
                for _ in range(49):
                    now[0] += seconds
                    inner.advance()
            outer.advance(mAP=0.5)
    expected = ["Epoch: 49/50 batches", "Training: 1/2 epochs  mAP 0.5", "Training: 2/2 epochs  mAP 0.5"]
    assert capsys.readouterr().err.splitlines() == expected


def test_plain_progress_of_unknown_length_and_bytes(capsys: pytest.CaptureFixture[str]) -> None:
    with console.progress().task("Fetching", 0, "bytes") as task:
        task.advance(1_500_000)
        task.advance(500_000)
    assert capsys.readouterr().err == "Fetching: 2.0 MB\n"


def test_a_terminal_gets_bars_and_is_left_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    progress = console.progress()
    with progress.task("Reading [x]", 4) as task:
        task.advance(2, loss=0.25)
        progress.note("half \x1b way")
        console.show_above(progress, "Results", ("method",), [("sarl",)])
        task.advance(2)
    shown = terminal.getvalue()
    assert "Reading [x]" in shown
    assert "4/4 images" in shown
    assert "loss 0.25" in shown
    assert "sarl" in shown
    assert "half \\x1b way" in shown
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l"), "the cursor is visible again"


@pytest.mark.parametrize("rank", ["1", "7"])
def test_other_ranks_are_silent(rank: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", rank)
    console.print_line("line")
    console.print_table("title", ("a",), [(1,)])
    console.print_json({})
    console.print_note("note")
    progress = console.progress()
    progress.note("note")
    with progress.task("Reading", 1) as task:
        task.advance()
    assert capsys.readouterr() == ("", "")


def test_rank_0_speaks(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "0")
    console.print_line("line")
    assert capsys.readouterr().out == "line\n"


@pytest.mark.parametrize("stream", [Terminal, io.StringIO])
def test_a_warning_is_said_once_and_kept_beside_bars_as_between_lines(
    monkeypatch: pytest.MonkeyPatch, stream: type[io.StringIO]
) -> None:
    monkeypatch.setattr(sys, "stderr", stream())
    console.speak()
    progress = console.progress()
    for _ in range(2):
        progress.warn("no test image")
    console.print_warning("no test image")
    assert sys.stderr.getvalue().count("mlrpl: warning: no test image") == 1
    assert console.voice.warnings == ["no test image"]
