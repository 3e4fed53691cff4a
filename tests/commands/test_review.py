"""`mlrpl review` as a user types it: a server that is killed and comes back where it was, and one that is ended."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any
from urllib.request import Request, urlopen

import pytest

from mlrpl_cli.core.labels.answers.reading import read_answers
from mlrpl_cli.core.labels.states import UNKNOWN
from tests.core.curation.conftest import place  # noqa: F401

pytestmark = pytest.mark.usefixtures("one_thread")
LONGEST = 120


class Page:
    """A server in a process of its own, and what its page would send."""

    def __init__(self, *arguments: object) -> None:
        command = [sys.executable, "-m", "mlrpl_cli", "review", *map(str, arguments)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.opened = [self.process.stdout.readline() for _ in range(1 if "--json" in arguments else 3)]

    @property
    def url(self) -> str:
        (line,) = self.opened
        return json.loads(line)["result"]["url"]

    def ask(self, what: str, body: object = None) -> Any:
        content = None if body is None else json.dumps(body).encode()
        with urlopen(Request(self.url + what, content, {"Content-Type": "application/json"}), timeout=LONGEST) as reply:
            return json.load(reply)

    def end(self, number: signal.Signals) -> tuple[int, str, str]:
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=LONGEST)
        return self.process.returncode, out, err


@pytest.fixture
def page() -> Iterator[Callable[..., Page]]:
    opened: list[Page] = []

    def open_page(*arguments: object) -> Page:
        opened.append(Page(*arguments))
        return opened[-1]

    yield open_page
    for each in opened:
        each.process.kill()
        each.process.communicate()


def test_what_was_saved_is_there_after_a_kill_and_the_page_goes_on(place, page, mlrpl, tmp_path):  # noqa: F811
    """Then it ends by Ctrl-C, and prepare makes labels of its answers."""
    prepared, run = place
    answers = tmp_path / "answers.sqlite"
    arguments = (prepared.folder, "--run", run, "--answers", answers, "--workers", 0, "--device", "cpu", "--json")
    row, column = map(int, _open_cell(prepared))
    first = page(*arguments)
    cell = {"token": "a", "row": row, "column": column, "state": "present", "p": None}
    assert first.ask("answers", {"person": "ann", "answers": [cell]}) == {"answers": 1}
    first.end(signal.SIGKILL)
    second = page(*arguments)
    assert second.url == first.url
    assert second.ask("state")["answers"] == 1
    assert mlrpl("review", *arguments).err.count("another mlrpl review has") == 1
    code, out, err = second.end(signal.SIGINT)
    assert (code, out) == (0, ""), err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["answers.sqlite", "answers.sqlite.address"]
    (kept,) = read_answers(answers)[1]
    assert (kept.row, kept.column, kept.state) == (row, column, "present")
    assert mlrpl("prepare", "--root", answers, "--out", tmp_path / "new").code == 0


def test_a_page_says_where_it_is_and_where_answers_went(place, page, tmp_path):  # noqa: F811
    prepared, run = place
    answers = tmp_path / "answers.sqlite"
    opened = page(prepared.folder, "--run", run, "--answers", answers, "--workers", 0, "--device", "cpu")
    learning = sum(split != "test" for split in prepared.splits)
    assert opened.opened[0].startswith(f"{learning} images, {len(prepared.classes)} classes, ")
    assert opened.opened[0].endswith(f"; 0 answers so far in {answers}\n")
    assert opened.opened[1].startswith("open http://127.0.0.1:")
    code, out, _ = opened.end(signal.SIGTERM)
    assert (code, out) == (0, f"0 answers are in {answers}\nlabels of them: mlrpl prepare --root {answers}\n")


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (("--port", 70000), "port"),
        (("--person", "a\nb"), "expected a person's name of up to 100 characters without control characters"),
        (("--disagreements", "vote"), "disagreements"),
        (("--backbone", "nothing"), "--backbone is for a start without a run; leave out --backbone or --run"),
    ],
)
def test_what_cannot_be_is_one_line(more, told, place, mlrpl, tmp_path):  # noqa: F811
    prepared, run = place
    done = mlrpl("review", prepared.folder, "--run", run, "--answers", tmp_path / "a.sqlite", *more)
    assert done.code in (1, 2)
    assert told in done.err
    assert not list(tmp_path.iterdir())


def test_a_file_of_something_else_is_one_line_and_stays(place, mlrpl, tmp_path):  # noqa: F811
    prepared, run = place
    path = tmp_path / "mine.sqlite"
    path.write_text("mine")
    done = mlrpl("review", prepared.folder, "--run", run, "--answers", path)
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert path.read_text() == "mine"


def test_without_the_extra_it_says_what_to_install(place, mlrpl, monkeypatch):  # noqa: F811
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    done = mlrpl("review", place[0].folder)
    assert (done.code, done.err) == (
        1, "mlrpl: error: review needs starlette and uvicorn; pip install 'mlrpl[web]'\n"
    )  # fmt: skip


def _open_cell(prepared: Any) -> tuple[int, int]:
    for row, split in enumerate(prepared.splits):
        for column, state in enumerate(prepared.observed_labels[row]):
            if split != "test" and state == UNKNOWN:
                return row, column
    raise AssertionError("no open cell")
