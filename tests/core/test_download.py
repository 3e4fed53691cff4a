"""Downloads against a server of this machine, and archives made to break out of their folder."""

from __future__ import annotations

import hashlib
import io
import stat
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

from mlrpl_cli.core.download import extract, fetch, leads_outside, unfinished
from mlrpl_cli.core.errors import DataError
from mlrpl_cli.core.progress import Task

BODY = bytes(range(256)) * 1000
SHA256 = hashlib.sha256(BODY).hexdigest()
MD5 = hashlib.md5(BODY).hexdigest()


@dataclass
class Site:
    """What the server does, and the Range header and status of every answer."""

    url: str = ""
    body: bytes = BODY
    etag: str | None = '"one"'
    ranges: bool = True
    cut_at: int | None = None
    redirect: str | None = None
    answers: list[tuple[str | None, int]] = field(default_factory=list)


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    site = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            _answer(self, site)

        def log_message(self, format: str, *args: object) -> None:
            return None

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    site.url = f"http://127.0.0.1:{server.server_port}/file.bin"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield site
    server.shutdown()
    server.server_close()
    thread.join()


def _answer(handler: BaseHTTPRequestHandler, site: Site) -> None:
    """A small web server: redirects, 404, If-Range, 416, 206 and 200."""
    asked = handler.headers.get("Range")
    body, status, extra = site.body, 200, {}
    if site.redirect is not None:
        body, status, extra = b"", 302, {"Location": site.redirect}
    elif handler.path != "/file.bin":
        body, status = b"", 404
    elif asked and site.ranges and handler.headers.get("If-Range") in (None, site.etag):
        start = int(asked.removeprefix("bytes=").rstrip("-"))
        if start >= len(body):
            extra, status, body = {"Content-Range": f"bytes */{len(body)}"}, 416, b""
        else:
            extra = {"Content-Range": f"bytes {start}-{len(body) - 1}/{len(body)}"}
            status, body = 206, body[start:]
    site.answers.append((asked, status))
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(body)))
    if site.etag:
        handler.send_header("ETag", site.etag)
    for name, value in extra.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body[: site.cut_at])


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_file_arrives_whole_and_alone(site: Site, tmp_path: Path) -> None:
    path = fetch(site.url, tmp_path / "deep" / "file.bin", sha256=SHA256, md5=MD5)
    assert path.read_bytes() == BODY
    assert _names(path.parent) == ["file.bin"]


def test_complete_file_is_reused_without_asking_the_server(site: Site, tmp_path: Path) -> None:
    (tmp_path / "file.bin").write_bytes(BODY)
    fetch(site.url, tmp_path / "file.bin", sha256=SHA256.upper())
    assert site.answers == []


def test_present_file_of_another_hash_is_kept_and_named(site: Site, tmp_path: Path) -> None:
    (tmp_path / "file.bin").write_bytes(b"mine")
    with pytest.raises(DataError, match="remove it to download it again"):
        fetch(site.url, tmp_path / "file.bin", sha256=SHA256)
    assert (tmp_path / "file.bin").read_bytes() == b"mine"
    assert site.answers == []


def test_cut_connection_keeps_the_part_and_the_next_call_asks_for_the_rest_only(site: Site, tmp_path: Path) -> None:
    site.cut_at = 1000
    with pytest.raises(DataError, match=f"broke off after 1000 of {len(BODY)} bytes; run the same command again"):
        fetch(site.url, tmp_path / "file.bin")
    assert not (tmp_path / "file.bin").exists()
    site.cut_at = None
    assert fetch(site.url, tmp_path / "file.bin").read_bytes() == BODY
    assert site.answers == [(None, 200), ("bytes=1000-", 206)]
    assert _names(tmp_path) == ["file.bin"]


def test_file_that_changed_in_between_is_fetched_from_its_start(site: Site, tmp_path: Path) -> None:
    site.cut_at = 1000
    with pytest.raises(DataError):
        fetch(site.url, tmp_path / "file.bin")
    site.cut_at, site.etag, site.body = None, '"two"', BODY[::-1]
    assert fetch(site.url, tmp_path / "file.bin").read_bytes() == BODY[::-1]
    assert site.answers[-1] == ("bytes=1000-", 200)


def test_part_of_unknown_version_is_resumed_only_when_a_hash_will_judge(site: Site, tmp_path: Path) -> None:
    site.etag = None
    for name, sha256, asked in (("a", None, None), ("b", SHA256, "bytes=500-")):
        (tmp_path / f"{name}.part").write_bytes(BODY[:500])
        assert fetch(site.url, tmp_path / name, sha256=sha256).read_bytes() == BODY
        assert site.answers[-1][0] == asked


def test_server_without_ranges_sends_everything_again(site: Site, tmp_path: Path) -> None:
    site.ranges = False
    (tmp_path / "file.bin.part").write_bytes(b"x" * 500)
    assert fetch(site.url, tmp_path / "file.bin", md5=MD5).read_bytes() == BODY
    assert site.answers == [("bytes=500-", 200)]


def test_part_that_is_already_whole_is_accepted_on_416(site: Site, tmp_path: Path) -> None:
    (tmp_path / "file.bin.part").write_bytes(BODY)
    assert fetch(site.url, tmp_path / "file.bin", md5=MD5).read_bytes() == BODY
    assert [status for _, status in site.answers] == [416]


def test_part_that_is_too_long_is_fetched_anew(site: Site, tmp_path: Path) -> None:
    (tmp_path / "file.bin.part").write_bytes(BODY + b"more")
    assert fetch(site.url, tmp_path / "file.bin", md5=MD5).read_bytes() == BODY
    assert [status for _, status in site.answers] == [416, 200]


def test_wrong_hash_leaves_nothing_behind(site: Site, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"its sha256 is {SHA256}, expected {'0' * 64}"):
        fetch(site.url, tmp_path / "file.bin", sha256="0" * 64)
    assert _names(tmp_path) == []


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/x", "data:,x"])
def test_redirect_off_the_web_is_refused(site: Site, tmp_path: Path, target: str) -> None:
    site.redirect = target
    with pytest.raises(DataError, match=f"redirects to {target}; only http and https are followed"):
        fetch(site.url, tmp_path / "file.bin")
    assert _names(tmp_path) == []


def test_address_off_the_web_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    with pytest.raises(DataError, match="is no web address"):
        fetch((tmp_path / "secret").as_uri(), tmp_path / "file.bin")


def test_endless_redirect_is_one_line(site: Site, tmp_path: Path) -> None:
    site.redirect = "/file.bin"
    with pytest.raises(DataError) as caught:
        fetch(site.url, tmp_path / "file.bin")
    assert "\n" not in str(caught.value)


def test_missing_address_names_the_answer_and_the_way_out(site: Site, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"the server answered 404 .*put the file at .*file\.bin by hand"):
        fetch(site.url + ".old", tmp_path / "file.bin")


def test_no_server_names_the_address_and_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    # Port 9 is "discard": nothing listens there.
    with pytest.raises(DataError, match=r"cannot fetch http://127\.0\.0\.1:9/a: .*put the file at .* by hand"):
        fetch("http://127.0.0.1:9/a", tmp_path / "file.bin")


def test_progress_counts_every_byte_once_across_a_resumed_download(site: Site, tmp_path: Path) -> None:
    """The task's steps add up to the length of the file, those of the kept part included."""
    steps: list[int] = []

    class Count:
        def advance(self, step: int = 1, **figures: float) -> None:
            steps.append(step)

    class Counting:
        def task(self, description: str, total: int, unit: str = "images") -> AbstractContextManager[Task]:
            assert (total, unit) == (len(BODY), "bytes")
            return nullcontext(Count())

        def note(self, message: str) -> None:
            return None

    (tmp_path / "file.bin.part").write_bytes(BODY[:700])
    fetch(site.url, tmp_path / "file.bin", md5=MD5, progress=Counting())
    assert steps[0] == 700
    assert sum(steps) == len(BODY)


# Archives


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
    with pytest.raises(DataError, match="1 names lead outside the folder"):
        extract(archive, tmp_path / "out")
    assert _contents(tmp_path / "out") == {}


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_in_a_tar_are_refused(kind: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as archive:
        info = tarfile.TarInfo("link")
        info.type, info.linkname = kind, "/etc/passwd"
        archive.addfile(info)
    with pytest.raises(DataError, match=r"1 members are links or devices \(link\)"):
        extract(path, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_link_in_a_zip_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        info = zipfile.ZipInfo("link")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(DataError, match="links or devices"):
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
    with pytest.raises(DataError, match=r"needs 110 bytes unpacked, .* has 109 free"):
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
