import hashlib
import os

import pytest

from mlrpl_cli.core.features.file_index import FileIndex
from mlrpl_cli.core.io.files import sha256_of_file


@pytest.fixture
def file(tmp_path):
    """A file that has not changed for long."""
    path = tmp_path / "file"
    path.write_bytes(b"before")
    os.utime(path, ns=(0, 1))
    return path


def digest(folder, file) -> str:
    """What a command finds that remembers in `folder`."""
    index = FileIndex(folder / "index.json")
    found = index.find(file, "sha256", sha256_of_file)
    index.save()
    return found


def fail(path):
    raise AssertionError(f"{path} is looked into again")


def test_what_was_found_out_is_not_found_out_again(tmp_path, file):
    found = digest(tmp_path, file)
    assert found == hashlib.sha256(b"before").hexdigest()
    assert FileIndex(tmp_path / "index.json").find(file, "sha256", fail) == found


@pytest.mark.parametrize(("content", "time"), [(b"after!", 2), (b"longer than before", 1)])
def test_a_file_of_another_size_or_time_is_looked_into_again(tmp_path, file, content, time):
    digest(tmp_path, file)
    file.write_bytes(content)
    os.utime(file, ns=(0, time))
    assert digest(tmp_path, file) == hashlib.sha256(content).hexdigest()


def test_a_file_that_changed_just_now_is_not_remembered(tmp_path, file):
    """Its next change may come within the same tick of the file system's clock."""
    os.utime(file)
    digest(tmp_path, file)
    time = file.stat().st_mtime_ns
    file.write_bytes(b"after!")
    os.utime(file, ns=(0, time))
    assert digest(tmp_path, file) == hashlib.sha256(b"after!").hexdigest()


@pytest.mark.parametrize("damage", ["one bit", "half", "empty", "no text", "a list"])
def test_a_damaged_index_is_no_index(tmp_path, file, damage):
    found = digest(tmp_path, file)
    index = tmp_path / "index.json"
    flipped = bytearray(before := index.read_bytes())
    flipped[before.index(found.encode())] ^= 1  # still JSON, and another digest
    wrong = {
        "one bit": flipped,
        "half": before[: len(before) // 2],
        "empty": b"",
        "no text": b"\xff",
        "a list": b"[]",
    }
    index.write_bytes(wrong[damage])
    assert digest(tmp_path, file) == found
    assert index.read_bytes() == before


def test_two_commands_remember_what_either_found(tmp_path, file):
    other = tmp_path / "other"
    other.write_bytes(b"other")
    os.utime(other, ns=(0, 1))
    indices = [FileIndex(tmp_path / "index.json") for _ in range(2)]
    for index, path in zip(indices, (file, other), strict=True):
        index.find(path, "sha256", sha256_of_file)
        index.save()
    again = FileIndex(tmp_path / "index.json")
    assert [again.find(path, "sha256", fail) for path in (file, other)] == [sha256_of_file(p) for p in (file, other)]


def test_where_nothing_can_be_written_nothing_is_remembered(tmp_path, file):
    """`file` is no folder."""
    assert digest(file, file) == hashlib.sha256(b"before").hexdigest()
