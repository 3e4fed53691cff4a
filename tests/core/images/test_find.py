"""Which files the command line's arguments mean, and which of a data set's are not there."""

from __future__ import annotations

import io
import os
import re
import subprocess
from pathlib import Path

import pytest

from mlrpl_cli.core.images.find import check_images, find_images
from mlrpl_cli.core.io.errors import DataError, Problems
from mlrpl_cli.core.io.progress import Silent


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


def test_dash_drops_the_mark_before_the_first_name_and_keeps_bytes_that_are_no_text(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever encoding Python chose for standard input."""
    for encoding in ("utf-8", "ascii", "cp1252"):
        stdin = io.TextIOWrapper(io.BytesIO(b"\xef\xbb\xbfa.jpg\r\n\xe9.jpg\n"), encoding)
        monkeypatch.setattr("sys.stdin", stdin)
        assert [os.fsencode(path) for path in find_images(["-"])] == [b"a.jpg", b"\xe9.jpg"]


STARTS = {
    "jpeg": b"\xff\xd8\xff\xe0",
    "png": b"\x89PNG\r\n\x1a\n",
    "webp": b"RIFF\x10\0\0\0WEBPVP8 ",
    "jpeg2000": b"\0\0\0\x0cjP  \r\n\x87\n",
    "avif": b"\0\0\0\x1cftypmif1\0\0\0\0mif1avif",
    "heic": b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic",
}


def test_files_without_a_suffix_are_known_by_their_first_bytes(photos: Path) -> None:
    for name, start in {**STARTS, "page": b"<html>", "notes": b"P1 is a person", "nothing": b""}.items():
        (photos / "b" / name).write_bytes(start + bytes(64))
    (photos / "b" / ".secret").write_bytes(STARTS["jpeg"])
    os.mkfifo(photos / "b" / "pipe")
    assert {Path(name).name for name in _found("b")} == {"1.JPG", "2.png", "3.webp", *STARTS}


def test_every_suffix_that_is_decoded_is_listed(photos: Path) -> None:
    names = [f"b/x{suffix}" for suffix in (".jp2", ".j2k", ".avif", ".mpo", ".jpe", ".jfif", ".heic", ".HEIF")]
    for name in names:
        (photos / name).touch()
    assert set(names) <= set(_found("b"))


def test_what_a_folder_leaves_out_is_counted_by_kind_but_for_hidden_files(photos: Path) -> None:
    for name in ("b/more.TXT", "b/deep/labels.json", "b/README", ".env"):
        (photos / name).touch()
    said = []

    class Listener(Silent):
        def note(self, message: str) -> None:
            said.append(message)

        warn = note

    find_images(["b", "b/*"], progress=Listener())
    assert said == ["4 files without an image are left out: 2 .txt, 1 .json, 1 without a suffix"]
    said.clear()
    find_images(["b/notes.txt", "b/more.TXT", "a.jpg"], progress=Listener())
    assert said == []


def test_linked_folder_is_followed_and_a_loop_ends(photos: Path) -> None:
    os.symlink(photos / "b", photos / "b" / "deep" / "loop")
    (photos / "linked").mkdir()
    os.symlink(photos / "b" / "deep", photos / "linked" / "there")
    assert _found("b") == ["b/1.JPG", "b/2.png", "b/deep/3.webp"]
    assert _found("linked")[0] == "linked/there/3.webp"


def test_arguments_that_name_nothing_are_reported_together(photos: Path) -> None:
    (photos / "empty").mkdir()
    sentence = "the folder empty holds no image, no image matches no*.jpg, there is no file or folder gone.jpg"
    with pytest.raises(DataError, match=rf"^{re.escape(sentence)}; give files, folders or patterns of "):
        find_images(["a.jpg", "empty", "no*.jpg", "gone.jpg"])
    with pytest.raises(DataError, match=r"^standard input names no image; give files"):
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


def test_link_that_leads_nowhere_or_in_a_circle_stays_in_the_list(photos: Path) -> None:
    for name, target in (("self.jpg", "self.jpg"), ("to.jpg", "fro.jpg"), ("fro.jpg", "to.jpg"), ("gone.jpg", "no")):
        (photos / "b" / name).symlink_to(target)
    (photos / "b" / "loop").symlink_to("loop")
    assert set(_found("b")) - {"b/1.JPG", "b/2.png", "b/deep/3.webp"} == {
        "b/self.jpg",
        "b/to.jpg",
        "b/fro.jpg",
        "b/gone.jpg",
    }
    assert _found("b/gone.jpg") == ["b/gone.jpg"]


def test_folder_inside_that_cannot_be_listed_stands_for_itself(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may list everything, so the refusal is made here. The folder that was given itself is an error."""
    scandir = os.scandir

    def refusing(folder: Path) -> object:
        if Path(folder).name == "deep":
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refusing)
    assert _found("b") == ["b/1.JPG", "b/2.png", "b/deep"]
    with pytest.raises(DataError, match="cannot list b/deep: Permission denied"):
        find_images(["b/deep"])


def test_name_that_is_too_long_stays_in_the_lines_and_names_nothing_as_an_argument(photos: Path) -> None:
    name = "n" * 300 + ".jpg"
    assert _found("-", names=[name]) == [name]
    with pytest.raises(DataError, match="there is no file or folder nnn"):
        find_images([name])


def test_folders_may_be_nested_deeper_than_functions(photos: Path) -> None:
    parts = ["d"] * 1100
    for _ in parts:
        os.mkdir("d")
        os.chdir("d")
    Path("a.jpg").touch()
    os.chdir(photos)
    found = _found("d")
    # pytest, which removes old folders function by function, could not.
    subprocess.run(["rm", "-r", "d"], check=True)
    assert found == ["/".join([*parts, "a.jpg"])]


def test_check_images_takes_pipes_and_circles_for_missing(photos: Path) -> None:
    (photos / "b" / "self.jpg").symlink_to("self.jpg")
    os.mkfifo(photos / "b" / "pipe.jpg")
    problems = Problems()
    check_images(photos, ["b/2.png", "b/self.jpg", "b/pipe.jpg", "n" * 300 + "/1.jpg"], problems)
    assert problems.summary().startswith("3 images are missing (b/self.jpg, b/pipe.jpg, nnn")
