"""Which files the command line's arguments mean, and which of a data set's are not there."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from mlrpl_cli.core.data.image_files import check_images, find_images
from mlrpl_cli.core.errors import DataError, Problems


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in (
        "b/2.png",
        "b/1.JPG",
        "b/deep/3.webp",
        "b/notes.txt",
        "b/.hidden.jpg",
        "b/.git/4.jpg",
        "a.jpg",
        "x[1].jpg",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def _found(*arguments: str, names: list[str] | None = None) -> list[str]:
    return [path.as_posix() for path in find_images(arguments, names or [])]


def test_folder_means_its_images_sorted_at_any_depth_without_hidden_ones(photos: Path) -> None:
    assert _found("b") == ["b/1.JPG", "b/2.png", "b/deep/3.webp"]


def test_order_is_kept_and_each_file_comes_once(photos: Path) -> None:
    assert _found("b/2.png", "a.jpg", "b", str(photos / "a.jpg"), "./b/../a.jpg") == [
        "b/2.png",
        "a.jpg",
        "b/1.JPG",
        "b/deep/3.webp",
    ]


def test_pattern_means_the_images_that_match(photos: Path) -> None:
    assert _found("b/*.[pJ]*") == ["b/1.JPG", "b/2.png"]
    assert _found("b/*") == ["b/1.JPG", "b/2.png", "b/deep/3.webp"]


def test_file_named_itself_may_look_like_a_pattern_or_have_any_suffix(photos: Path) -> None:
    assert _found("x[1].jpg", "b/notes.txt") == ["x[1].jpg", "b/notes.txt"]


def test_dash_means_the_given_lines_and_keeps_names_that_are_not_there(photos: Path) -> None:
    lines = ["a.jpg\n", "\n", "gone.jpg\r\n", "b/deep\n"]
    assert _found("-", names=lines) == ["a.jpg", "gone.jpg", "b/deep/3.webp"]


def test_dash_reads_standard_input_by_default(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("a.jpg\n"))
    assert find_images(["-"]) == [Path("a.jpg")]


def test_linked_folder_is_followed_and_a_loop_ends(photos: Path) -> None:
    os.symlink(photos / "b", photos / "b" / "deep" / "loop")
    (photos / "linked").mkdir()
    os.symlink(photos / "b" / "deep", photos / "linked" / "there")
    assert _found("b") == ["b/1.JPG", "b/2.png", "b/deep/3.webp"]
    assert _found("linked")[0] == "linked/there/3.webp"


def test_arguments_that_name_nothing_are_reported_together(photos: Path) -> None:
    (photos / "empty").mkdir()
    with pytest.raises(DataError, match=r"3 arguments name no image \(empty, no\*\.jpg, gone\.jpg\)"):
        find_images(["a.jpg", "empty", "no*.jpg", "gone.jpg"])
    with pytest.raises(DataError, match="1 arguments name no image"):
        find_images(["-"], [])
    with pytest.raises(DataError, match="no image was given"):
        find_images([])


def test_check_images_names_what_is_missing_and_what_leads_outside(photos: Path) -> None:
    problems = Problems()
    names = ["b/2.png", "b/gone.png", "nowhere/1.jpg", "../a.jpg", "/etc/passwd", "b/deep", "a.jpg"]
    check_images(photos, names, problems)
    assert problems.summary() == (
        "2 image names lead outside the image folder (../a.jpg, /etc/passwd); "
        "3 images are missing (b/gone.png, nowhere/1.jpg, b/deep)"
    )
