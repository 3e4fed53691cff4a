"""Downloads against a server of this machine."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from mlrpl_cli.core.io.download import fetch
from mlrpl_cli.core.io.errors import DataError
from mlrpl_cli.core.io.progress import Task

BODY = bytes(range(256)) * 1000
SHA256 = hashlib.sha256(BODY).hexdigest()
MD5 = hashlib.md5(BODY).hexdigest()


@dataclass
class Site:
    """What the server does, and the Range header and status of every answer."""

    url: str = ""
    body: bytes = BODY
    ranges: bool = True
    cut_at: int | None = None
    redirect: str | None = None
    redirected_by: str = "Location"
    always_partial: bool = False
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
    """A small web server: redirects, 404, 416, 206 and 200."""
    asked = handler.headers.get("Range")
    body, status, extra = site.body, 200, {}
    if site.redirect is not None:
        body, status, extra = b"", 302, {site.redirected_by: site.redirect}
    elif handler.path != "/file.bin":
        body, status = b"", 404
    elif site.always_partial:
        status = 206
    elif asked and site.ranges:
        start = int(asked.removeprefix("bytes=").rstrip("-"))
        if start >= len(body):
            extra, status, body = {"Content-Range": f"bytes */{len(body)}"}, 416, b""
        else:
            extra = {"Content-Range": f"bytes {start}-{len(body) - 1}/{len(body)}"}
            status, body = 206, body[start:]
    site.answers.append((asked, status))
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(body)))
    for name, value in extra.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body[: site.cut_at])


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_file_arrives_whole_and_alone(site: Site, tmp_path: Path) -> None:
    path = fetch(site.url, tmp_path / "deep" / "file.bin", "sha256", SHA256)
    assert path.read_bytes() == BODY
    assert _names(path.parent) == ["file.bin"]


def test_complete_file_is_reused_without_asking_the_server(site: Site, tmp_path: Path) -> None:
    (tmp_path / "file.bin").write_bytes(BODY)
    fetch(site.url, tmp_path / "file.bin", "sha256", SHA256.upper())
    assert site.answers == []


def test_present_file_of_another_hash_is_kept_and_named(site: Site, tmp_path: Path) -> None:
    (tmp_path / "file.bin").write_bytes(b"mine")
    with pytest.raises(DataError, match="remove it to download it again"):
        fetch(site.url, tmp_path / "file.bin", "sha256", SHA256)
    assert (tmp_path / "file.bin").read_bytes() == b"mine"
    assert site.answers == []


def test_cut_connection_keeps_the_part_and_the_next_call_asks_for_the_rest_only(site: Site, tmp_path: Path) -> None:
    site.cut_at = 1000
    with pytest.raises(DataError, match=f"broke off after 1000 of {len(BODY)} bytes; run the same command again"):
        fetch(site.url, tmp_path / "file.bin", "md5", MD5)
    assert not (tmp_path / "file.bin").exists()
    site.cut_at = None
    assert fetch(site.url, tmp_path / "file.bin", "md5", MD5).read_bytes() == BODY
    assert site.answers == [(None, 200), ("bytes=1000-", 206)]
    assert _names(tmp_path) == ["file.bin"]


def test_rest_of_another_file_is_refused_and_the_next_call_begins_anew(site: Site, tmp_path: Path) -> None:
    (tmp_path / "file.bin.part").write_bytes(b"x" * 500)
    with pytest.raises(DataError, match=r"gave another file than expected: its md5 is .*; what arrived is removed"):
        fetch(site.url, tmp_path / "file.bin", "md5", MD5)
    assert fetch(site.url, tmp_path / "file.bin", "md5", MD5).read_bytes() == BODY
    assert site.answers == [("bytes=500-", 206), (None, 200)]


def test_server_without_ranges_sends_everything_again(site: Site, tmp_path: Path) -> None:
    site.ranges = False
    (tmp_path / "file.bin.part").write_bytes(b"x" * 500)
    assert fetch(site.url, tmp_path / "file.bin", "md5", MD5).read_bytes() == BODY
    assert site.answers == [("bytes=500-", 200)]


def test_server_that_calls_everything_a_part_is_believed(site: Site, tmp_path: Path) -> None:
    """Such an answer to a request for the rest is asked again without it, and once."""
    site.always_partial = True
    (tmp_path / "file.bin.part").write_bytes(b"x" * 500)
    assert fetch(site.url, tmp_path / "file.bin", "md5", MD5).read_bytes() == BODY
    assert [asked for asked, _ in site.answers] == ["bytes=500-", None]


def test_part_that_is_already_whole_is_accepted_on_416(site: Site, tmp_path: Path) -> None:
    (tmp_path / "file.bin.part").write_bytes(BODY)
    assert fetch(site.url, tmp_path / "file.bin", "md5", MD5).read_bytes() == BODY
    assert [status for _, status in site.answers] == [416]


def test_part_that_is_too_long_is_fetched_anew(site: Site, tmp_path: Path) -> None:
    (tmp_path / "file.bin.part").write_bytes(BODY + b"more")
    assert fetch(site.url, tmp_path / "file.bin", "md5", MD5).read_bytes() == BODY
    assert [status for _, status in site.answers] == [416, 200]


def test_wrong_hash_leaves_nothing_behind(site: Site, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"its sha256 is {SHA256}, expected {'0' * 64}"):
        fetch(site.url, tmp_path / "file.bin", "sha256", "0" * 64)
    assert _names(tmp_path) == []


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/x", "data:,x"])
@pytest.mark.parametrize("header", ["Location", "URI"])
def test_redirect_off_the_web_is_refused(site: Site, tmp_path: Path, target: str, header: str) -> None:
    site.redirect, site.redirected_by = target, header
    with pytest.raises(DataError, match=f"redirects to {target}; only http and https are followed"):
        fetch(site.url, tmp_path / "file.bin", "md5", MD5)
    assert _names(tmp_path) == []


def test_address_off_the_web_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    with pytest.raises(DataError, match="is no web address"):
        fetch((tmp_path / "secret").as_uri(), tmp_path / "file.bin", "md5", MD5)


def test_endless_redirect_is_one_line(site: Site, tmp_path: Path) -> None:
    site.redirect = "/file.bin"
    with pytest.raises(DataError) as caught:
        fetch(site.url, tmp_path / "file.bin", "md5", MD5)
    assert "\n" not in str(caught.value)


def test_missing_address_names_the_answer_and_the_way_out(site: Site, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"the server answered 404 .*put the file at .*file\.bin by hand"):
        fetch(site.url + ".old", tmp_path / "file.bin", "md5", MD5)


def test_no_server_names_the_address_and_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    # Port 9 is "discard": nothing listens there.
    with pytest.raises(DataError, match=r"cannot fetch http://127\.0\.0\.1:9/a: .*put the file at .* by hand"):
        fetch("http://127.0.0.1:9/a", tmp_path / "file.bin", "md5", MD5)


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

        warn = note

    (tmp_path / "file.bin.part").write_bytes(BODY[:700])
    fetch(site.url, tmp_path / "file.bin", "md5", MD5, Counting())
    assert steps[0] == 700
    assert sum(steps) == len(BODY)
