"""Files from the web, resumable and verified."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from email.message import Message
from http.client import HTTPException, HTTPMessage
from pathlib import Path
from typing import IO, Any
from urllib import request
from urllib.error import HTTPError
from urllib.parse import urljoin, urlsplit

from mlrpl_cli.core.io.errors import DataError, in_words, one_line
from mlrpl_cli.core.io.files import free_bytes, hash_of_file, make_folder
from mlrpl_cli.core.io.locks import held
from mlrpl_cli.core.io.progress import Progress, Silent

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
    progress = progress or Silent()
    lock = destination.with_name(destination.name + ".lock")
    with held(lock, lambda: progress.note(f"waiting for another process that downloads {destination}")):
        if not destination.is_file():
            _fetch(url, destination, part, hashes, progress)
    return destination


def _fetch(url: str, destination: Path, part: Path, hashes: Mapping[str, str], progress: Progress) -> None:
    with _unreachable(url, destination):
        _receive(url, part, resumable=bool(hashes), progress=progress)
    try:
        _verify(part, hashes, f"{url} gave another file than expected", "what arrived is removed; try again")
    except DataError:
        _discard(part)
        raise
    part.replace(destination)
    _version_file(part).unlink(missing_ok=True)


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
        if total - have > (free := free_bytes(part)):
            needed, room = in_words(total - have), in_words(free)
            raise DataError(f"{url} needs {needed}, the disk of {part.parent} has {room} free; choose another place")
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
        answer = f"{error.code} {one_line(error.reason)}"
        raise DataError(f"{url}: the server answered {answer}; {by_hand}") from error
    except (HTTPException, OSError, ValueError) as error:
        reason = one_line(getattr(error, "reason", None) or error)
        raise DataError(f"cannot fetch {url}: {reason}; {by_hand}") from error


def _verify(path: Path, hashes: Mapping[str, str], what: str, advice: str) -> None:
    for name, expected in hashes.items():
        if (found := hash_of_file(path, name)) != expected:
            raise DataError(f"{what}: its {name} is {found}, expected {expected}; {advice}")


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
