"""What was found out about files, remembered, so that a later command need not read them again."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from mlrpl_cli.core.io import files, reading
from mlrpl_cli.core.io.errors import DataError

_LARGEST_INDEX = 4 * reading.GIB  # 200 bytes for an image, 5 KiB for a shard
_SETTLED = 2_000_000_000  # nanoseconds; two changes within a file system's tick show the same time


class FileIndex:
    """What was found out about files, believed as long as a file keeps its size and its time of change.

    It lies in one file, a checksum and a line of JSON. What it lacks, and all where it is damaged, is found out again.
    """

    def __init__(self, path: Path) -> None:
        self.path, self._changed = path, False
        self._findings = self._read()

    def find(self, file: Path, what: str, find_out: Callable[[Path], Any]) -> Any:
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
        known = (self._read() | self._findings).items()  # another command may have saved something meanwhile
        kept = {what: found for what, found in known if found[1] < settled and os.path.exists(what.partition(" ")[2])}
        text = json.dumps(kept)
        with suppress(DataError):
            files.write_text(self.path, f"{files.sha256_of_text(text)}\n{text}")
            self._changed = False

    def _read(self) -> dict[str, Any]:
        with suppress(OSError, DataError, ValueError):
            checksum, _, text = reading.read_text(self.path, _LARGEST_INDEX).partition("\n")
            if checksum == files.sha256_of_text(text):
                return json.loads(text)
        return {}
