"""What every command of this room may be asked for. Help reads it: no numpy, no torch."""

from __future__ import annotations

from pydantic.dataclasses import dataclass

from mlrpl_cli.core.io.schema import Folder
from mlrpl_cli.core.runs.selection import RunOptions


@dataclass(frozen=True)
class CurationOptions(RunOptions):
    """Whose labels, and the run that knows such images."""

    data: Folder | None = None
    """Prepared folder. Default: the one that the run was trained on."""
