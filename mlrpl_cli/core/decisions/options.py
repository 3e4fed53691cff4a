"""What `decide` may be asked for. Help reads it: no numpy, no torch."""

from __future__ import annotations

from pydantic.dataclasses import dataclass

from mlrpl_cli.core.config import BEST, CheckedOptions, Which
from mlrpl_cli.core.io.schema import Folder, Text


@dataclass(frozen=True)
class DecideOptions(CheckedOptions):
    """Which run, and what its thresholds are for."""

    run: Folder | None = None
    """Run folder. Default: the newest below ./runs."""
    objective: Text | None = None
    """What thresholds are chosen for: f1, precision=0.9, recall=0.95 or cost=5:1 (a miss costs 5 false alarms).
    Default: what the run has, f1 after training."""
    checkpoint: Which = BEST
    """Whose decisions are shown, "best" or "last"; both are chosen."""
