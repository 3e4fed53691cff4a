"""Files from the web, resumable and verified."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException, HTTPMessage
from pathlib import Path
from typing import IO, Any
from urllib import request
from urllib.error import HTTPError
from urllib.parse import urljoin, urlsplit

from mlrpl_cli.core.io.errors import DataError, in_words, one_line
from mlrpl_cli.core.io.files import free_bytes, hash_of_file, make_folder, writing
from mlrpl_cli.core.io.locks import held
from mlrpl_cli.core.io.progress import Progress, Silent, Task

BLOCK = 1 << 20
TIMEOUT = 60
"""Seconds without a byte after which a connection counts as dead."""


def fetch(url: str, destination: Path, algorithm: str, digest: str, progress: Progress | None = None) -> Path:
    """Download `url` to `destination`, verify it and return `destination`; a file already there is only verified.

    `digest` is its hexadecimal hash by one of hashlib's algorithms. What has arrived waits in `<name>.part` until it
    is whole, and a later call goes on from there. Raises DataError for an address that is not http(s), a server out
    of reach, a broken connection, another hash and a folder that cannot be written to.
    """
    _check_scheme(url, url)
    if destination.is_file():
        what, advice = f"{destination} is not what {url} should give", "remove it to download it again"
        _verify(destination, algorithm, digest, what, advice)
        return destination
    make_folder(destination.parent)
    part, lock = (destination.with_name(destination.name + suffix) for suffix in (".part", ".lock"))
    progress = progress or Silent()
    with held(lock, lambda: progress.note(f"waiting for another process that downloads {destination}")):
        if not destination.is_file():
            with _unreachable(url, destination):
                _receive(url, part, progress)
            try:
                what, advice = f"{url} gave another file than expected", "what arrived is removed; try again"
                _verify(part, algorithm, digest, what, advice)
            except DataError:
                part.unlink()
                raise
            part.replace(destination)
    return destination


class _WebRedirects(request.HTTPRedirectHandler):
    """Follows redirects to http and https only: a server must not point the client at a file of this machine."""

    def http_error_302(self, req: request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage) -> Any:
        leads_to = headers.get("Location") or headers.get("URI", "")  # urllib reads both
        _check_scheme(urljoin(req.full_url, leads_to), req.full_url)
        return super().http_error_302(req, fp, code, msg, headers)

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302


def _check_scheme(address: str, url: str) -> None:
    scheme = urlsplit(address).scheme
    if scheme not in ("http", "https"):
        leads = "is no web address" if address == url else f"redirects to {address}"
        raise DataError(f"{url} {leads}; only http and https are followed")


def _receive(url: str, part: Path, progress: Progress) -> None:
    """Bring `part` to its full length. Whether what it began as and the rest are one file is for its hash to say."""
    have = part.stat().st_size if part.exists() else 0
    response = _connect(url, have)
    if response is None:
        return
    with response:
        if not _continues(response, have):
            have = 0
            part.unlink(missing_ok=True)
        length = int(response.headers.get("Content-Length", 0))
        if length > (free := free_bytes(part)):
            needed, room = in_words(length), in_words(free)
            raise DataError(f"{url} needs {needed}, the disk of {part.parent} has {room} free; choose another place")
        total = have + length if length else 0
        with progress.task(f"downloading {part.stem}", total, "bytes") as task:
            task.advance(have)
            have = _copy(response, part, have, url, task)
    if total and have != total:
        raise DataError(f"{url} broke off after {have} of {total} bytes; run the same command again to go on")


def _connect(url: str, have: int) -> Any:
    """The response that gives the bytes from `have` on, or all of them; None when `have` is already everything."""
    headers = {"User-Agent": "mlrpl", "Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    try:
        opener = request.build_opener(_WebRedirects)
        response = opener.open(request.Request(url, headers=headers), timeout=TIMEOUT)
    except HTTPError as error:
        if error.code != 416 or not have:
            raise
        error.close()
        if error.headers.get("Content-Range", "").endswith(f"/{have}"):
            return None
    else:
        if not have or response.status != 206 or _continues(response, have):
            return response
        response.close()
    return _connect(url, 0)


def _continues(response: Any, have: int) -> bool:
    begins = response.headers.get("Content-Range", "")
    return have > 0 and response.status == 206 and begins.startswith(f"bytes {have}-")


def _copy(response: Any, part: Path, have: int, url: str, task: Task) -> int:
    """Append the body to `part`, of which `have` bytes are there, and return how many bytes it then has."""
    with writing(part):
        part.touch()
    try:
        while block := response.read(BLOCK):
            with writing(part), part.open("ab") as stream:
                stream.write(block)
            have += len(block)
            task.advance(len(block))
    except (HTTPException, OSError) as error:
        reason = str(error) or type(error).__name__
        raise DataError(f"{url} broke off after {have} bytes: {reason}; run the same command again to go on") from error
    return have


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


def _verify(path: Path, algorithm: str, digest: str, what: str, advice: str) -> None:
    if (found := hash_of_file(path, algorithm)) != digest.lower():
        raise DataError(f"{what}: its {algorithm} is {found}, expected {digest}; {advice}")
