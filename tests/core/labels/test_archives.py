"""Archives, some of them made to break out of their folder."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import tarfile
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from mlrpl_cli.core.io.errors import DataError
from mlrpl_cli.core.labels.sources import extract, unfinished


def _tar(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def _zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


MAKERS = [(_tar, "a.tar"), (_tar, "a.tar.gz"), (_zip, "a.zip")]


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize(("make", "name"), MAKERS)
def test_archive_is_added_to_what_is_there(make, name: str, tmp_path: Path) -> None:
    archive = make(tmp_path / name, {"kit/a/1.txt": b"one", "kit/b.txt": b"new"})
    folder = tmp_path / "out"
    (folder / "kit" / "a").mkdir(parents=True)
    (folder / "kit" / "a" / "0.txt").write_bytes(b"zero")
    (folder / "kit" / "b.txt").write_bytes(b"old")
    extract(archive, folder)
    assert _contents(folder) == {"kit/a/0.txt": b"zero", "kit/a/1.txt": b"one", "kit/b.txt": b"new"}
    assert not unfinished(archive, folder).exists()


@pytest.mark.parametrize("bad", ["../evil.txt", "/tmp/evil.txt", "a/../../evil.txt", "..\\evil.txt", "C:\\evil.txt"])
@pytest.mark.parametrize(("make", "name"), MAKERS)
def test_name_that_leads_outside_is_refused_and_nothing_is_unpacked(make, name, bad: str, tmp_path: Path) -> None:
    archive = make(tmp_path / name, {"good.txt": b"good", bad: b"evil"})
    with pytest.raises(DataError, match="1 name leads outside the folder"):
        extract(archive, tmp_path / "out")
    assert _contents(tmp_path / "out") == {}


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_in_a_tar_are_refused(kind: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as archive:
        info = tarfile.TarInfo("link")
        info.type, info.linkname = kind, "/etc/passwd"
        archive.addfile(info)
    with pytest.raises(DataError, match=r"1 member is of another kind than files and folders \(link\)"):
        extract(path, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_link_in_a_zip_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        info = zipfile.ZipInfo("link")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(DataError, match="another kind than files and folders"):
        extract(path, tmp_path / "out")


@pytest.mark.parametrize(("make", "name"), MAKERS)
def test_truncated_archive_leaves_nothing(make, name: str, tmp_path: Path) -> None:
    archive = make(tmp_path / name, {f"{i}.bin": hashlib.sha256(bytes([i])).digest() * 500 for i in range(20)})
    archive.write_bytes(archive.read_bytes()[: archive.stat().st_size // 2])
    with pytest.raises(DataError, match="damaged"):
        extract(archive, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_zip_with_a_flipped_byte_leaves_nothing(tmp_path: Path) -> None:
    archive = _zip(tmp_path / "a.zip", {"1.txt": b"one", "2.txt": b"a line of two"})
    archive.write_bytes(archive.read_bytes().replace(b"a line", b"A line"))
    with pytest.raises(DataError, match="damaged"):
        extract(archive, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_archive_larger_than_the_free_space_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = _zip(tmp_path / "a.zip", {"1.txt": b"x" * 60, "2.txt": b"x" * 50})
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=109))
    with pytest.raises(DataError, match=r"needs 110 bytes unpacked, .* has 109 bytes free"):
        extract(archive, tmp_path / "out")


def test_text_file_named_tar_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_text("<html>not found</html>")
    with pytest.raises(DataError, match="is damaged or no tar or zip") as caught:
        extract(tmp_path / "a.tar", tmp_path / "out")
    assert "\n" not in str(caught.value)


def test_tar_that_ends_with_a_zip_is_read_as_a_tar(tmp_path: Path) -> None:
    inner = _zip(tmp_path / "inner.zip", {"x": b"x"}).read_bytes()
    extract(_tar(tmp_path / "a.tar", {"inner.zip": inner}), tmp_path / "out")
    assert _contents(tmp_path / "out") == {"inner.zip": inner}


def _refused(archive: Path, folder: Path) -> str:
    with pytest.raises(DataError) as caught:
        extract(archive, folder)
    assert list(folder.iterdir()) == []
    return str(caught.value)


def test_a_size_below_nothing_is_refused(tmp_path: Path) -> None:
    """tarfile would read the same header again and again."""
    info = tarfile.TarInfo("a")
    info.size = -512
    (tmp_path / "a.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    assert "is damaged" in _refused(tmp_path / "a.tar", tmp_path / "out")


def test_a_zip_member_larger_than_it_says_is_refused(tmp_path: Path) -> None:
    """Its size is the 4 bytes at 24 of its entry in the index and at 22 of its own header."""
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(1 << 20))
    data = bytearray((tmp_path / "a.zip").read_bytes())
    for place in (data.index(b"PK\x01\x02") + 24, 22):
        data[place : place + 4] = (10).to_bytes(4, "little")
    (tmp_path / "a.zip").write_bytes(data)
    assert "is damaged" in _refused(tmp_path / "a.zip", tmp_path / "out")


@pytest.mark.parametrize(("make", "name"), MAKERS)
def test_names_of_many_folders_or_none_are_refused(make, name: str, tmp_path: Path) -> None:
    archive = make(tmp_path / name, {"a/" * 100 + "b": b"deep"})
    assert "1 name is more than 100 folders deep" in _refused(archive, tmp_path / "out")
    assert "cannot unpack" in _refused(make(tmp_path / name, {".": b"nothing"}), tmp_path / "out")


def test_a_pipe_is_no_archive(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "is a folder, a pipe or a device" in _refused(tmp_path / "pipe", tmp_path / "out")
