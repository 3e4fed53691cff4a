import errno
import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from filelock import FileLock

from mlrpl_cli.core.io import files
from mlrpl_cli.core.io.errors import DataError
from mlrpl_cli.core.io.files import LOCK, TEMPORARY_PREFIX, atomic_file, atomic_folder, held, sole_writer, write_text

HOLD = """
import os, signal, sys
from pathlib import Path
from mlrpl_cli.core.io.files import atomic_file, sole_writer
folder = Path(sys.argv[1])
with sole_writer(folder, "wait"), atomic_file(folder / "half.txt") as half:
    half.write_text("half")
    forked = sys.argv[2] == "fork" and os.fork() == 0
    if forked or sys.argv[2] != "fork":
        print("ready", flush=True)
    if forked:
        signal.pause()
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
    assert not (tmp_path / LOCK).exists()


def test_what_a_living_process_writes_stays_and_what_a_killed_one_left_goes(holder, tmp_path):
    (half,) = temporary_files(tmp_path)
    write_text(tmp_path / "other.txt", "whole")
    assert temporary_files(tmp_path) == [half]
    holder.kill()
    holder.wait()
    with sole_writer(tmp_path, "choose another"):
        write_text(tmp_path / "other.txt", "again")
    assert [path.name for path in tmp_path.iterdir()] == ["other.txt"]


def test_a_folder_that_a_killed_process_left_half_filled_goes(tmp_path):
    left = tmp_path / f"{TEMPORARY_PREFIX}abc"
    write_text(left / "data" / "deep" / "a.txt", "half")
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
        with atomic_file(tmp_path / "other") as other, atomic_folder(tmp_path / "another"):
            other.touch()
        with pytest.raises(ZeroDivisionError), atomic_folder(tmp_path / "data"):
            raise ZeroDivisionError  # whoever writes there next finds what was there, and leaves it
        seen.add((tmp_path / "data" / "name.txt").read_text())
    assert seen == ({"new"} if at_once else {"old", "new"})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["another", "data", "other"]


def test_waiting_for_a_lock_is_told(tmp_path):
    """The other process ends when somebody is said to wait."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path), "alone"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    told = []
    with held(tmp_path / LOCK, lambda: told.append(process.stdin.close())) as mine:
        assert mine
        assert process.wait() == 0
    assert told == [None]


def test_two_processes_fill_two_folders_beside_each_other(tmp_path):
    """The second neither waits for the first nor takes its work for abandoned."""
    with atomic_folder(tmp_path / "a") as first:
        code = "import sys; from tests.core.io.test_locks import *; fill(Path(sys.argv[1]))"
        subprocess.run([sys.executable, "-c", code, str(tmp_path / "b")], check=True)
        fill(tmp_path / "c")
        (first / "a.txt").write_text("whole")
    found = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*"))
    assert found == ["a", "a/a.txt", "b", "b/a.txt", "c", "c/a.txt"]


def fill(folder: Path) -> None:
    with atomic_folder(folder) as temporary:
        (temporary / "a.txt").write_text("whole")


def test_what_is_taken_for_abandoned_before_it_is_locked_is_made_again(tmp_path, monkeypatch):
    made = files.tempfile.mkdtemp

    def removed_once(**options):
        monkeypatch.setattr(files.tempfile, "mkdtemp", made)
        place = made(**options)
        files.remove_abandoned(tmp_path)
        return place

    monkeypatch.setattr(files.tempfile, "mkdtemp", removed_once)
    write_text(tmp_path / "a.txt", "whole")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a.txt", "whole")]


def test_a_folder_that_is_removed_while_its_lock_is_taken_is_made_again(tmp_path, monkeypatch):
    """The lock's library makes the folder where it has gone, and fails when it goes just after it was seen."""
    is_dir, acquire = Path.is_dir, FileLock.acquire

    def removed_once(path):
        if path.name.startswith(TEMPORARY_PREFIX):
            monkeypatch.setattr(Path, "is_dir", is_dir)
            shutil.rmtree(path)
        return is_dir(path)

    def acquire_once(lock, **options):
        monkeypatch.setattr(FileLock, "acquire", acquire)
        monkeypatch.setattr(Path, "is_dir", removed_once)
        return acquire(lock, **options)

    monkeypatch.setattr(FileLock, "acquire", acquire_once)
    write_text(tmp_path / "a.txt", "whole")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a.txt", "whole")]


def test_a_file_system_without_locks_is_written_to_all_the_same(tmp_path, monkeypatch):
    def refuse(lock, **options):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("filelock.FileLock.acquire", refuse)
    (tmp_path / f"{TEMPORARY_PREFIX}abc").mkdir()
    with sole_writer(tmp_path, "wait"):
        write_text(tmp_path / "a.txt", "whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{TEMPORARY_PREFIX}abc", "a.txt"]


def test_a_folder_in_which_no_lock_can_be_made_is_told_in_one_line(tmp_path):
    """Here, because a folder has the lock's name; else, because the disk is full or may only be read."""
    (tmp_path / LOCK).mkdir()
    refused = pytest.raises(DataError, match=r"^cannot write .*: Is a directory; choose another place")
    with refused, sole_writer(tmp_path, "wait"):
        pass
