"""What was found out about files, remembered between commands: above all what took reading all of them."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from mlrpl_cli.core.io.errors import DataError
from mlrpl_cli.core.io.files import write_text
from mlrpl_cli.core.io.reading import GIB, read_text

T = TypeVar("T")

_LIMIT = 4 * GIB  # 200 bytes for an image, 5 KiB for a shard
_SETTLED = 2_000_000_000  # nanoseconds; two changes within a file system's tick show the same time


class FileIndex:
    """Findings about files, believed as long as a file keeps its size and its time of change.

    They lie in one file, a checksum and a line of JSON. What it lacks, and all where it is damaged, is found out again.
    """

    def __init__(self, path: Path) -> None:
        self.path, self._changed = path, False
        self._findings = self._read()

    def find(self, file: Path, what: str, find_out: Callable[[Path], T]) -> T:
        """`what` there is to know about `file`, a JSON value, remembered or as `find_out` says.

        Raises OSError when the file is gone, and what `find_out` raises.
        """
        status = file.stat()
        state = [status.st_size, status.st_mtime_ns]  # before it is read: a change meanwhile is seen the next time
        name = f"{what} {os.path.abspath(file)}"
        known = self._findings.get(name)
        if known is None or known[:2] != state:
            known = self._findings[name] = [*state, find_out(file)]
            self._changed = True
        return known[2]

    def save(self) -> None:
        """Keep what is new for later commands. A folder that cannot be written to keeps nothing."""
        if not self._changed:
            return
        settled = time.time_ns() - _SETTLED
        known = self._read() | self._findings  # another command may have saved something meanwhile
        there = {name: found for name, found in known.items() if os.path.exists(name.partition(" ")[2])}
        text = json.dumps({name: found for name, found in there.items() if found[1] < settled})
        with suppress(DataError):
            write_text(self.path, f"{_sha256(text)}\n{text}")
            self._changed = False

    def _read(self) -> dict[str, Any]:
        with suppress(OSError, DataError, ValueError):
            checksum, _, text = read_text(self.path, _LIMIT).partition("\n")
            if checksum == _sha256(text):
                return json.loads(text)
        return {}


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
