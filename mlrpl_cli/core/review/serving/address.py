"""Where the page is: a port and a secret, the same as those of the last server, so that open pages go on.

Of other data it is another secret: an open page speaks of images by their numbers, which may be those of other images.
They lie beside the answers in a file that, but on Windows, its owner alone may read, and stay there when the server
ends: pages that are open have answers that it has not saved, and send them to the next one.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from mlrpl_cli.core.io.errors import ConfigError

SUFFIX = ".address"
_SECRET = re.compile(r"[\w-]{32,64}", re.ASCII)
_MOST_BYTES = 1024


@dataclass(frozen=True)
class Address:
    """Where one server listens."""

    bound: socket.socket
    secret: str

    @property
    def port(self) -> int:
        """Of 127.0.0.1."""
        return int(self.bound.getsockname()[1])

    @property
    def url(self) -> str:
        """Of the page."""
        return f"http://127.0.0.1:{self.port}/{self.secret}/"


@contextmanager
def address(answers: Path, port: int | None, data: str) -> Iterator[Address]:
    """A bound socket and a secret; `port` None is the last one, else any. Raises ConfigError for one in use.

    `data` is the checksum of what is asked about.
    """
    path = answers.with_name(answers.name + SUFFIX)
    before = _read(path, data)
    secret = before[1] if before else secrets.token_urlsafe(32)
    with _bound(port, before[0] if before else 0) as bound:
        found = Address(bound, secret)
        _write(path, found, data)
        yield found


def _bound(port: int | None, before: int) -> socket.socket:
    refusal = None
    for wanted in (before, 0) if port is None else (port,):
        listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if os.name == "posix":  # elsewhere it would let two programs have one port
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind(("127.0.0.1", wanted))
            listening.listen()
        except OSError as error:
            listening.close()
            told = (
                f"port {wanted} of 127.0.0.1 cannot be had ({error.strerror}); name another with --port, or 0 for any"
            )
            refusal = ConfigError(told)
        else:
            return listening
    raise refusal or ConfigError("no port of 127.0.0.1 can be had")


def _read(path: Path, data: str) -> tuple[int, str] | None:
    """The port and secret of the last server of these data, from a file that nobody else could have written."""
    with suppress(OSError, ValueError, TypeError, KeyError):
        with path.open("rb") as stream:
            about = os.fstat(stream.fileno())
            if os.name == "posix" and (about.st_uid != os.getuid() or about.st_mode & 0o077):
                return None
            told = json.loads(stream.read(_MOST_BYTES))
        if (
            told["data"] == data
            and isinstance(told["port"], int)
            and 0 < told["port"] < 65536
            and _SECRET.fullmatch(told["secret"])
        ):
            return told["port"], told["secret"]
    return None


def _write(path: Path, found: Address, data: str) -> None:
    """For its owner alone. Without it the next server has another address, which is no error."""
    with suppress(OSError):
        path.unlink(missing_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        with os.fdopen(os.open(path, flags, 0o600), "w", encoding="utf-8") as stream:
            json.dump({"port": found.port, "secret": found.secret, "data": data}, stream)
