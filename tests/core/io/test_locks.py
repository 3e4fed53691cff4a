import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from mlrpl_cli.core.io import files
from mlrpl_cli.core.io.errors import DataError
from mlrpl_cli.core.io.files import TEMPORARY_PREFIX, atomic_file, atomic_folder, write_text
from mlrpl_cli.core.io.locks import locked, sole_writer

HOLD = """
import os, sys
from pathlib import Path
from mlrpl_cli.core.io.files import atomic_file
from mlrpl_cli.core.io.locks import sole_writer
folder = Path(sys.argv[1])
with sole_writer(folder, "wait"), atomic_file(folder / "half.txt"):
    forked = sys.argv[2] == "fork" and os.fork() == 0
    if forked or sys.argv[2] != "fork":
        print("ready", flush=True)
    if forked:
        os.execvp("sleep", ["sleep", "60"])
    sys.stdin.read()
"""


@pytest.fixture(params=["alone", "fork"])
def holder(request, tmp_path):
    """A process that holds the folder and writes a file in it, alone or beside one that it forked."""
    command = [sys.executable, "-c", HOLD, str(tmp_path), request.param]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    process = subprocess.Popen(command, **pipes, text=True, start_new_session=True)
    assert process.stdout.readline() == "ready\n"
    yield process
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def temporary_files(folder: Path) -> list[Path]:
    return list(folder.glob(f"{TEMPORARY_PREFIX}*"))


def test_a_folder_has_one_writer_until_that_process_ends_however_it_ends(holder, tmp_path):
    refused = pytest.raises(DataError, match=r"another process is writing to .*; wait until it ends, or choose")
    with refused, sole_writer(tmp_path, "choose another"):
        pass
    holder.kill()
    holder.wait()
    with sole_writer(tmp_path, "choose another"):
        pass


def test_what_a_living_process_writes_stays_and_what_a_killed_one_left_goes(holder, tmp_path):
    (half,) = temporary_files(tmp_path)
    write_text(tmp_path / "other.txt", "whole")
    assert temporary_files(tmp_path) == [half]
    holder.kill()
    holder.wait()
    write_text(tmp_path / "other.txt", "again")
    assert [path.name for path in tmp_path.iterdir()] == ["other.txt"]


def test_a_folder_that_a_killed_process_left_half_filled_goes(tmp_path):
    left = tmp_path / f"{TEMPORARY_PREFIX}abc"
    (left / "deep").mkdir(parents=True)
    write_text(left / "deep" / "a.txt", "half")
    with atomic_folder(tmp_path / "data") as temporary:
        write_text(temporary / "a.txt", "whole")
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


@pytest.mark.parametrize("at_once", [True, False])
def test_an_exchange_that_is_cut_short_leaves_the_old_folder_or_the_new_one(tmp_path, monkeypatch, at_once):
    """Cut at each of its steps, where the system exchanges two folders at once and where it cannot."""
    if not at_once:
        monkeypatch.setattr(files, "_exchanged_at_once", lambda new, path: False)
    steps = 0

    class CutError(BaseException):
        pass

    def cut(operation):
        def counted(*arguments, **options):
            nonlocal steps
            steps -= 1
            if steps == 0:
                raise CutError
            return operation(*arguments, **options)

        return counted

    monkeypatch.setattr(Path, "replace", cut(Path.replace))
    monkeypatch.setattr(files.shutil, "rmtree", cut(files.shutil.rmtree))
    seen = set()
    for at in range(1, 6):
        for name in ("old", "new"):
            steps = at if name == "new" else 0
            try:
                with atomic_folder(tmp_path / "data") as temporary:
                    (temporary / "name.txt").write_text(name)
            except CutError:
                pass
        steps = 0
        with atomic_file(tmp_path / "other"), files.atomic_folder(tmp_path / "another"):
            pass
        with pytest.raises(ZeroDivisionError), atomic_folder(tmp_path / "data"):
            raise ZeroDivisionError  # whoever writes there next finds what was there, and leaves it
        seen.add((tmp_path / "data" / "name.txt").read_text())
    assert seen == ({"new"} if at_once else {"old", "new"})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["another", "data", "other"]


def test_waiting_for_a_file_is_told(tmp_path):
    """The other process ends when somebody is said to wait."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path), "alone"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    told = []
    with locked(tmp_path, lambda: told.append(process.stdin.close())):
        assert process.wait() == 0
    assert told == [None]
