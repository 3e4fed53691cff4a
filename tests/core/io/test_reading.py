"""Reading what others made: what is no plain file, too large, or no name."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mlrpl_cli.core.io.errors import DataError
from mlrpl_cli.core.io.reading import is_file_name, is_name, leads_outside, open_file, read_text, short, shown


def test_pipes_devices_and_folders_are_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, Path("/dev/zero")):
        with pytest.raises(DataError, match="is a folder, a pipe or a device; name a file"):
            open_file(path)


def test_a_file_of_the_limit_is_read_and_a_larger_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert read_text(path, 5) == "12345"
    with pytest.raises(DataError) as error:
        read_text(path, 4)
    assert str(error.value) == f"{path} has 5 bytes, expected at most 4; check that it is the right file"


def test_no_descriptor_stays_open_after_a_refusal(tmp_path: Path) -> None:
    before = os.listdir("/dev/fd")
    for _ in range(5):
        with pytest.raises(DataError):
            open_file(tmp_path)
    assert os.listdir("/dev/fd") == before


def test_missing_files_and_impossible_names(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        open_file(tmp_path / "none")
    with pytest.raises(DataError, match="cannot be the name of a file"):
        open_file(tmp_path / "a\0b")


def test_line_ends_of_every_system_become_newlines(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(b"\xef\xbb\xbfa\r\nb\rc\n")
    assert read_text(tmp_path / "text", 100, "utf-8-sig") == "a\nb\nc\n"


@pytest.mark.parametrize("value", ["dog", "stop sign", "dög", "a\nb", "x" * 1000])
def test_names_of_classes(value: object) -> None:
    assert is_name(value)


@pytest.mark.parametrize("value", [None, 1, True, ["dog"], "", " \t", "do\0g", "\ud800", "x" * 1001])
def test_what_cannot_name_a_class(value: object) -> None:
    assert not is_name(value)


@pytest.mark.parametrize("value", ["a.jpg", "a/b.jpg", "a\nb", os.fsdecode(b"\xff.jpg"), "x" * 255])
def test_names_of_files(value: object) -> None:
    assert is_file_name(value)


@pytest.mark.parametrize("value", [None, 1, "", "a\0", "\ud800", "x" * 256, "ä" * 128, "/".join(["x" * 200] * 6)])
def test_what_cannot_name_a_file(value: object) -> None:
    assert not is_file_name(value)


def test_values_are_shown_short_however_large_or_deep() -> None:
    deep: list[object] = []
    deep.append(deep)
    for value in ("x" * 10_000, list(range(10_000)), deep, 1 << 100_000, {"a": {"b": {"c": "d" * 999}}}):
        assert len(shown(value)) < 200
    assert (shown("dog"), shown(1.5), shown(None)) == ("'dog'", "1.5", "None")
    assert (short("a\n b"), len(short("x" * 10_000)), short("x" * 60)) == ("a b", 60, "x" * 60)


@pytest.mark.parametrize(
    ("name", "outside"),
    [
        ("a/b.jpg", False),
        ("./a", False),
        ("a..b", False),
        ("a/../b", True),
        ("/a", True),
        ("\\a", True),
        ("c:a", True),
    ],
)
def test_leads_outside(name: str, outside: bool) -> None:
    assert leads_outside(name) is outside
