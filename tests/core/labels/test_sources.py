"""Downloading a data set from a stand-in for the publisher: fetched once, unpacked once, gone on with after a kill."""

from __future__ import annotations

import hashlib
import io
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from mlrpl_cli.core.io.errors import ConfigError, DataError
from mlrpl_cli.core.labels.sources import ARCHIVES, SOURCES, Archive, download, unfinished


def _zip(members: dict[str, bytes]) -> bytes:
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return memory.getvalue()


FILES = {"labels.zip": _zip({"kit/labels/1.txt": b"1"}), "images.zip": _zip({"kit/images/1.jpg": b"jpg"})}


@pytest.fixture
def publisher(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A data set named "small" whose source is this machine; the names that were asked for."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.lstrip("/")
            asked.append(name)
            self.send_response(200)
            self.send_header("Content-Length", str(len(FILES[name])))
            self.end_headers()
            self.wfile.write(FILES[name])

        def log_message(self, format: str, *args: object) -> None:
            return None

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    base = f"http://127.0.0.1:{server.server_port}"
    md5 = {name: hashlib.md5(data).hexdigest() for name, data in FILES.items()}
    archives = [Archive(f"{base}/{name}", md5[name], (f"kit/{name.removesuffix('.zip')}",)) for name in FILES]
    monkeypatch.setitem(SOURCES, "small", tuple(archives))
    yield asked
    server.shutdown()
    server.server_close()
    thread.join()


def test_archives_are_fetched_and_merged_below_the_root(publisher: list[str], tmp_path: Path) -> None:
    download("small", tmp_path)
    assert (tmp_path / "kit" / "labels" / "1.txt").read_bytes() == b"1"
    assert (tmp_path / "kit" / "images" / "1.jpg").read_bytes() == b"jpg"
    assert publisher == ["labels.zip", "images.zip"]


def test_unpacked_data_set_is_not_fetched_again_even_without_its_archives(publisher: list[str], tmp_path: Path) -> None:
    download("small", tmp_path)
    for name in FILES:
        (tmp_path / ARCHIVES / name).unlink()
    publisher.clear()
    download("small", tmp_path)
    assert publisher == []


def test_unpacking_that_was_killed_half_way_is_done_again(publisher: list[str], tmp_path: Path) -> None:
    download("small", tmp_path)
    (tmp_path / "kit" / "images" / "1.jpg").unlink()
    unfinished(tmp_path / ARCHIVES / "images.zip", tmp_path).mkdir()
    publisher.clear()
    download("small", tmp_path)
    assert (tmp_path / "kit" / "images" / "1.jpg").read_bytes() == b"jpg"
    assert publisher == []


def test_wrong_hash_stops_before_anything_is_unpacked(
    publisher: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SOURCES, "small", tuple(archive._replace(md5="0" * 32) for archive in SOURCES["small"]))
    with pytest.raises(DataError, match="its md5 is"):
        download("small", tmp_path)
    assert not (tmp_path / "kit").exists()


def test_data_set_that_cannot_be_downloaded_lists_those_that_can(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'coko' cannot be downloaded; did you mean 'coco'"):
        download("coko", tmp_path)


def test_published_sources_have_one_hash_and_one_name_each() -> None:
    archives = [archive for group in SOURCES.values() for archive in group]
    hashes = [archive.md5 for archive in archives]
    assert all(len(md5) == 32 and int(md5, 16) for md5 in hashes)
    assert len(set(hashes)) == len({archive.url for archive in archives}) == len(archives)
