"""Files from the web, resumable and verified, and archives unpacked so that nothing lands outside their folder."""

from __future__ import annotations

import hashlib
import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from functools import partial
from http.client import HTTPException, HTTPMessage
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, Any
from urllib import request
from urllib.error import HTTPError
from urllib.parse import urljoin, urlsplit

from mlrpl_cli.core.errors import DataError, Problems
from mlrpl_cli.core.files import TEMPORARY_PREFIX, make_folder
from mlrpl_cli.core.progress import Progress, Silent

BLOCK = 1 << 20
TIMEOUT = 60
"""Seconds without a byte after which a connection counts as dead."""


def fetch(
    url: str,
    destination: Path,
    *,
    sha256: str | None = None,
    md5: str | None = None,
    progress: Progress | None = None,
) -> Path:
    """Download `url` to `destination`, verify it and return `destination`; a file already there is only verified.

    What has arrived waits in `<name>.part` until it is whole, and a later call goes on from there. Raises DataError
    for an address that is not http(s), a server out of reach, a broken connection, a wrong hash (hexadecimal) and
    a folder that cannot be written to.
    """
    hashes = {name: value.lower() for name, value in (("sha256", sha256), ("md5", md5)) if value is not None}
    _check_scheme(url, url)
    if destination.is_file():
        _verify(
            destination,
            hashes,
            f"{destination} is not what {url} should give",
            "remove it to download it again",
        )
        return destination
    make_folder(destination.parent)
    part = destination.with_name(destination.name + ".part")
    with _unreachable(url, destination):
        _receive(url, part, resumable=bool(hashes), progress=progress or Silent())
    try:
        _verify(part, hashes, f"{url} gave another file than expected", "what arrived is removed; try again")
    except DataError:
        _discard(part)
        raise
    part.replace(destination)
    _version_file(part).unlink(missing_ok=True)
    return destination


def extract(archive: Path, folder: Path, progress: Progress | None = None) -> None:
    """Unpack a tar (plain or compressed) or zip into `folder`, adding to what is there.

    Everything is unpacked aside first, so a broken archive leaves `folder` as it was. Raises DataError for an archive
    that is damaged, too large for the disk, or holds links, devices or names that lead outside.
    """
    aside = unfinished(archive, folder)
    shutil.rmtree(aside, ignore_errors=True)
    make_folder(aside)
    with _unpacking(archive):
        try:
            with _members(archive) as members:
                _check_members(archive, members, aside)
                _unpack(archive, members, aside, progress or Silent())
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
        _move_into(aside, folder)
        aside.rmdir()


def unfinished(archive: Path, folder: Path) -> Path:
    """The folder that exists exactly while, or after, an extraction of `archive` into `folder` was cut short."""
    return folder / f"{TEMPORARY_PREFIX}{archive.name}"


def leads_outside(name: str) -> bool:
    """Whether a relative path taken from a file would leave the folder that it is meant for, on any system."""
    windows = PureWindowsPath(name)
    return bool(windows.drive or windows.root) or ".." in windows.parts


# Downloading


class _WebRedirects(request.HTTPRedirectHandler):
    """Follows redirects to http and https only: a server must not point the client at a file of this machine."""

    def http_error_302(self, req: request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage) -> Any:
        _check_scheme(urljoin(req.full_url, headers.get("Location", "")), req.full_url)
        return super().http_error_302(req, fp, code, msg, headers)

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302


def _check_scheme(address: str, url: str) -> None:
    scheme = urlsplit(address).scheme
    if scheme not in ("http", "https"):
        leads = "is no web address" if address == url else f"redirects to {address}"
        raise DataError(f"{url} {leads}; only http and https are followed")


def _receive(url: str, part: Path, resumable: bool, progress: Progress) -> None:
    """Bring `part` to its full length; `resumable` says that a hash will catch a file that changed in between."""
    version = _read_version(part)
    have = part.stat().st_size if part.exists() and (version or resumable) else 0
    response = _connect(url, have, version)
    if response is None:
        return
    with response:
        if response.status != 206:
            have = 0
            _version_file(part).unlink(missing_ok=True)
            if found := _version(response.headers):
                _write(_version_file(part), found.encode(), "wb")
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else 0
        with progress.task(f"downloading {part.stem}", total, "bytes") as task:
            task.advance(have)
            got = _copy(response, part, have, url, task.advance)
    if total and got != total:
        raise DataError(f"{url} broke off after {got} of {total} bytes; run the same command again to go on")


def _connect(url: str, have: int, version: str | None) -> Any:
    """The response that gives the bytes from `have` on, or all of them; None when `have` is already everything."""
    headers = {"User-Agent": "mlrpl", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
        if version:
            headers["If-Range"] = version
    try:
        response = _opener().open(request.Request(url, headers=headers), timeout=TIMEOUT)
    except HTTPError as error:
        if error.code != 416 or not have:
            raise
        error.close()
        whole = error.headers.get("Content-Range", "").rpartition("/")[2] == str(have)
        return None if whole else _connect(url, 0, None)
    if response.status == 206 and not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
        response.close()
        return _connect(url, 0, None)
    return response


def _opener() -> request.OpenerDirector:
    """An opener without the file:, ftp: and data: handlers that urllib brings by default."""
    opener = request.OpenerDirector()
    for handler in (
        request.ProxyHandler,
        request.HTTPHandler,
        request.HTTPSHandler,
        request.HTTPDefaultErrorHandler,
        request.HTTPErrorProcessor,
        request.UnknownHandler,
        _WebRedirects,
    ):
        opener.add_handler(handler())
    return opener


def _copy(response: Any, part: Path, have: int, url: str, advance: Callable[[int], None]) -> int:
    """Append the body to `part`, of which `have` bytes are kept, and return how many bytes it then has."""
    _write(part, b"", "ab" if have else "wb")
    try:
        while block := response.read(BLOCK):
            _write(part, block, "ab")
            have += len(block)
            advance(len(block))
    except (HTTPException, OSError) as error:
        reason = str(error) or type(error).__name__
        raise DataError(f"{url} broke off after {have} bytes: {reason}; run the same command again to go on") from error
    return have


def _write(path: Path, data: bytes, mode: str) -> None:
    try:
        with path.open(mode) as stream:
            stream.write(data)
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror}; free space there or choose another place") from error


@contextmanager
def _unreachable(url: str, destination: Path) -> Iterator[None]:
    by_hand = f"without a network, put the file at {destination} by hand and run the same command again"
    try:
        yield
    except HTTPError as error:
        answer = f"{error.code} {_one_line(error.reason)}"
        raise DataError(f"{url}: the server answered {answer}; {by_hand}") from error
    except (HTTPException, OSError, ValueError) as error:
        reason = _one_line(getattr(error, "reason", None) or error)
        raise DataError(f"cannot fetch {url}: {reason}; {by_hand}") from error


def _one_line(reason: object) -> str:
    return " ".join(str(reason).split())


def _verify(path: Path, hashes: Mapping[str, str], what: str, advice: str) -> None:
    for name, expected in hashes.items():
        digest = hashlib.new(name, usedforsecurity=False)
        with path.open("rb") as stream:
            for block in iter(lambda: stream.read(BLOCK), b""):
                digest.update(block)
        if digest.hexdigest() != expected:
            raise DataError(f"{what}: its {name} is {digest.hexdigest()}, expected {expected}; {advice}")


def _version_file(part: Path) -> Path:
    """Where the server's name for the version that `part` belongs to is kept."""
    return part.with_name(part.name + "-version")


def _version(headers: Message) -> str | None:
    """What names the bytes a server has at an address: its ETag, unless weak, or the date of the last change."""
    tag = headers.get("ETag")
    # A weak ETag may stay the same when the bytes change.
    return tag if tag and not tag.startswith("W/") else headers.get("Last-Modified")


def _read_version(part: Path) -> str | None:
    file = _version_file(part)
    return file.read_text(encoding="latin-1") if file.is_file() else None


def _discard(part: Path) -> None:
    part.unlink(missing_ok=True)
    _version_file(part).unlink(missing_ok=True)


# Unpacking


@dataclass(frozen=True)
class _Member:
    name: str
    size: int
    is_folder: bool
    is_plain: bool
    """Neither a link nor a device."""
    open: Callable[[], Any]


@contextmanager
def _members(archive: Path) -> Iterator[list[_Member]]:
    with archive.open("rb") as stream:
        is_zip = stream.read(2) == b"PK"
    if is_zip:
        with zipfile.ZipFile(archive) as opened:
            yield [_zip_member(opened, info) for info in opened.infolist()]
    else:
        with tarfile.open(archive) as opened_tar:
            yield [_tar_member(opened_tar, info) for info in opened_tar.getmembers()]


def _zip_member(opened: zipfile.ZipFile, info: zipfile.ZipInfo) -> _Member:
    kind = stat.S_IFMT(info.external_attr >> 16)
    plain = kind in (0, stat.S_IFREG, stat.S_IFDIR)
    return _Member(info.filename, info.file_size, info.is_dir(), plain, partial(opened.open, info))


def _tar_member(opened: tarfile.TarFile, info: tarfile.TarInfo) -> _Member:
    return _Member(info.name, info.size, info.isdir(), info.isreg() or info.isdir(), partial(opened.extractfile, info))


def _check_members(archive: Path, members: Sequence[_Member], folder: Path) -> None:
    problems = Problems()
    problems.extend("names lead outside the folder", (m.name for m in members if leads_outside(m.name)))
    problems.extend("members are links or devices", (m.name for m in members if not m.is_plain))
    problems.raise_if_any(f"{archive} is not unpacked", "fetch it from a source that you trust")
    need, free = sum(member.size for member in members), shutil.disk_usage(folder).free
    if need > free:
        raise DataError(f"{archive} needs {need} bytes unpacked, {folder.parent} has {free} free; choose another place")


def _unpack(archive: Path, members: Sequence[_Member], folder: Path, progress: Progress) -> None:
    """Write plain files and folders only, each opened by us: no permission, owner or link comes from the archive."""
    with progress.task(f"unpacking {archive.name}", len(members), "files") as task:
        for member in members:
            path = folder / PurePosixPath(member.name)
            if member.is_folder:
                path.mkdir(parents=True, exist_ok=True)
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                with member.open() as source, path.open("wb") as target:
                    shutil.copyfileobj(source, target, BLOCK)
            task.advance()


def _move_into(source: Path, target: Path) -> None:
    """Move everything in `source` into `target`; folders that are in both are merged, files replaced."""
    for item in sorted(source.iterdir()):
        place = target / item.name
        if item.is_dir() and place.is_dir():
            _move_into(item, place)
            item.rmdir()
        else:
            item.replace(place)


@contextmanager
def _unpacking(archive: Path) -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError) as error:
        reason = _one_line(error)
        raise DataError(f"{archive} is damaged or no tar or zip: {reason}; remove it and fetch it again") from error
    except (OSError, RuntimeError, ValueError) as error:
        raise DataError(f"cannot unpack {archive}: {_one_line(error)}; free space, or choose another place") from error
