"""Files from the web, resumable and verified."""

from __future__ import annotations

from collections.abc import Iterator
from http.client import HTTPException, HTTPMessage
from pathlib import Path
from typing import IO, Any
from urllib import request
from urllib.error import HTTPError
from urllib.parse import urljoin, urlsplit

from mlrpl_cli.core.io.errors import DataError, in_words, one_line
from mlrpl_cli.core.io.files import free_bytes, hash_of_file, held, make_folder, writing
from mlrpl_cli.core.io.progress import Progress, Silent

BLOCK = 1 << 20
TIMEOUT = 60
"""Seconds without a byte after which a connection counts as dead."""


def fetch(url: str, destination: Path, algorithm: str, digest: str, progress: Progress | None = None) -> Path:
    """Download `url` to `destination`, verify it and return `destination`; a file already there is only verified.

    `digest` is its hexadecimal hash by one of hashlib's algorithms. What has arrived waits in `<name>.part` until it
    is whole, and a later call goes on from there. Raises DataError for an address that is not http(s), a server out
    of reach, a broken connection, another hash and a folder that cannot be written to.
    """
    _check_scheme(url, f"{url} is no web address")
    if destination.is_file():
        if wrong := _other_hash(destination, algorithm, digest):
            raise DataError(f"{destination} is not what {url} should give: {wrong}; remove it to download it again")
        return destination
    make_folder(destination.parent)
    part, lock = (destination.with_name(destination.name + suffix) for suffix in (".part", ".lock"))
    progress = progress or Silent()
    with held(lock, lambda: progress.note(f"waiting for another process that downloads {destination}")):
        if not destination.is_file():
            _receive(url, part, progress)
            if wrong := _other_hash(part, algorithm, digest):
                part.unlink()
                raise DataError(f"{url} gave another file than expected: {wrong}; what arrived is removed; try again")
            part.replace(destination)
    return destination


class _WebRedirects(request.HTTPRedirectHandler):
    """Follows redirects to http and https only: a server must not point the client at a file of this machine."""

    def http_error_302(self, req: request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage) -> Any:
        address = urljoin(req.full_url, headers.get("Location") or headers.get("URI", ""))  # urllib reads both
        _check_scheme(address, f"{req.full_url} redirects to {address}")
        return super().http_error_302(req, fp, code, msg, headers)

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302


def _check_scheme(address: str, what: str) -> None:
    if urlsplit(address).scheme not in ("http", "https"):
        raise DataError(f"{what}; only http and https are followed")


def _receive(url: str, part: Path, progress: Progress) -> None:
    """Bring `part` to its full length. Whether what it began as and the rest are one file is for its hash to say."""
    have = part.stat().st_size if part.exists() else 0
    response = _ask(url, part, have)
    span = response.headers.get("Content-Range", "")
    if have and response.status == 416 and span.endswith(f"/{have}"):
        response.close()
        return
    if have and not (response.status == 206 and span.startswith(f"bytes {have}-")):
        if response.status != 200:  # another part than was asked for
            response.close()
            response = _ask(url, part, 0)
        have = 0
        part.unlink()
    with response:
        length = response.length or 0
        if length > (free := free_bytes(part)):
            needed, room = in_words(length), in_words(free)
            raise DataError(f"{url} needs {needed}, the disk of {part.parent} has {room} free; choose another place")
        total = have + length if length else 0
        with progress.task(f"downloading {part.stem}", total, "bytes") as task, writing(part):
            task.advance(have)
            with part.open("ab") as stream:
                for block in _blocks(response, url, have):
                    have += stream.write(block)
                    task.advance(len(block))
    if total and have != total:
        raise DataError(f"{url} broke off after {have} of {total} bytes; run the same command again to go on")


def _ask(url: str, part: Path, have: int) -> Any:
    """The server's answer to a request for the bytes from `have` on: 200 for all, 206 for a part, 416 for none."""
    headers = {"User-Agent": "mlrpl", "Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    by_hand = f"without a network, put the file at {part.with_suffix('')} by hand and run the same command again"
    try:
        return request.build_opener(_WebRedirects).open(request.Request(url, headers=headers), timeout=TIMEOUT)
    except HTTPError as error:
        if error.code == 416 and have:
            return error
        answer = f"{error.code} {one_line(error.reason)}"
        raise DataError(f"{url}: the server answered {answer}; {by_hand}") from error
    except (HTTPException, OSError, ValueError) as error:
        reason = one_line(getattr(error, "reason", None) or error)
        raise DataError(f"cannot fetch {url}: {reason}; {by_hand}") from error


def _blocks(response: Any, url: str, have: int) -> Iterator[bytes]:
    """What arrives, of a file of which `have` bytes are there."""
    try:
        while block := response.read(BLOCK):
            have += len(block)
            yield block
    except (HTTPException, OSError) as error:
        reason = str(error) or type(error).__name__
        raise DataError(f"{url} broke off after {have} bytes: {reason}; run the same command again to go on") from error


def _other_hash(path: Path, algorithm: str, digest: str) -> str | None:
    """How the hash of a file differs from the expected one; None where it does not."""
    found = hash_of_file(path, algorithm)
    return None if found == digest.lower() else f"its {algorithm} is {found}, expected {digest}"
