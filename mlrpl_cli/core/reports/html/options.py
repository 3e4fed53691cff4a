"""What `report` may be asked for. Help reads it: no numpy, no torch."""

from __future__ import annotations

from pathlib import Path

from pydantic.dataclasses import dataclass

from mlrpl_cli.core.io.schema import Folder
from mlrpl_cli.core.runs.selection import RunOnDataOptions


@dataclass(frozen=True)
class ReportOptions(RunOnDataOptions):
    """Which run or sweep is told of, and where; `run` is either."""

    data: Folder | None = None
    """Prepared folder. Default: that of the run, or the folder data in the sweep's."""
    out: Path | None = None
    """HTML file to write. Default: report.html in the folder of the run or sweep."""
    folds: Path | None = None
    """Of a sweep over folds, what it was run with: its CSV, or "prepared". Default: the sweep is over a test split."""
    check: bool = False
    """Show likely label errors though no `mlrpl check` has left its scores in the run's folder: they are computed."""
