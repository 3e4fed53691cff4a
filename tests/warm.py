"""Commands in processes of their own that start at once: forked from a process that has imported what they import.

Python, PyTorch and its compiler take seconds to start, most commands of the tests less than one. What is forked
runs, is killed and ends like a process that began anew; how a process begins is for other tests.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

COMMAND_LINE = "from mlrpl_cli.__main__ import main; main()"
LONGEST = 300
"""Seconds that a command may take."""

# A request is a line: what to run, answered with the number of its process, or a process to wait for, answered with its
# exit code. The forked process leaves the loop and ends as any program does.
SERVER = """
import gc, json, os, sys
from mlrpl_cli.core.io.own_process import own_process
own_process()  # as the command line does before Pillow is imported
import torch._dynamo  # by the first optimizer
import mlrpl_cli.core.labels.formats.scenes, mlrpl_cli.core.prediction.predictor, mlrpl_cli.core.reports.figures
import mlrpl_cli.core.scenes.rendering, mlrpl_cli.core.sweep.runner, mlrpl_cli.core.training.train
for collect in (gc.collect, gc.freeze, gc.collect):  # or each collection of a forked process looks at all of it
    collect()
with open(0, closefd=False) as requests:
    for line in requests:
        asked = json.loads(line)
        waited = "process" in asked
        answer = os.waitstatus_to_exitcode(os.waitpid(asked["process"], 0)[1]) if waited else os.fork()
        if not waited and answer == 0:
            break
        os.write(1, b"%d\\n" % answer)
    else:
        os._exit(0)
os.setsid()
os.chdir(asked["folder"])
for number, (path, flags) in enumerate(asked["streams"]):
    os.dup2(os.open(path, flags, 0o600), number)
os.environ.update(asked["environment"])
sys.argv[:] = asked["arguments"]
exec(asked["code"], {"__name__": "__main__"})
"""


@dataclass(frozen=True)
class Outcome:
    """What a user sees of one command."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Process:
    """A forked process, the first of a session of its own."""

    pid: int

    def wait(self, timeout: float = LONGEST) -> int:
        """Its exit code; below zero, the signal that ended it. To be called once."""
        return _ask({"process": self.pid}, timeout)


def start(
    arguments: Sequence[object],
    *,
    code: str = COMMAND_LINE,
    folder: Path | str = ".",
    stdin: Path | str = os.devnull,
    stdout: Path | str = os.devnull,
    stderr: Path | str = os.devnull,
    **environment: str,
) -> Process:
    """Run `code`, by default mlrpl's command line, with these arguments; what it prints is appended to files."""
    writing = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    asked = {
        "arguments": ["mlrpl", *map(str, arguments)],
        "code": code,
        "folder": os.path.abspath(folder),
        "streams": [(os.path.abspath(stdin), os.O_RDONLY), *((os.path.abspath(p), writing) for p in (stdout, stderr))],
        "environment": environment,
    }
    return Process(_ask(asked, LONGEST))


def run(
    arguments: Sequence[object],
    *,
    said: str = "",
    stdout: Path | str | None = None,
    timeout: float = LONGEST,
    **options: str,
) -> Outcome:
    """Run one command with `said` on its standard input and wait for it; `options` are those of `start`."""
    with tempfile.TemporaryDirectory() as name:
        given, out, err = (Path(name) / stream for stream in ("in", "out", "err"))
        given.write_text(said)
        code = start(arguments, stdin=given, stdout=stdout or out, stderr=err, **options).wait(timeout)
        return Outcome(code, "" if stdout else out.read_text(), err.read_text())


@cache
def _server() -> subprocess.Popen[bytes]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUTF8": "1"}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    server = subprocess.Popen([sys.executable, "-c", SERVER], bufsize=0, env=environment, **pipes)
    atexit.register(server.communicate)
    return server


def _ask(request: dict[str, object], timeout: float) -> int:
    server = _server()
    assert server.stdin is not None
    assert server.stdout is not None
    server.stdin.write(json.dumps(request).encode() + b"\n")
    if not select.select([server.stdout], [], [], timeout)[0]:
        raise TimeoutError(f"no answer within {timeout} seconds")
    return int(server.stdout.readline())
