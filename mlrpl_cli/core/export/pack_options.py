"""What `pack` may be asked for. Help reads it: no numpy, no torch."""

from __future__ import annotations

from pathlib import Path

from pydantic.dataclasses import dataclass

from mlrpl_cli.core.config import BEST, CheckedOptions, Which
from mlrpl_cli.core.io.schema import Folder, Name


@dataclass(frozen=True)
class PackOptions(CheckedOptions):
    """Which run becomes a file, and whether the backbone's weights go into it."""

    run: Folder | None = None
    """Run folder. Default: the newest below ./runs."""
    out: Path | None = None
    """File to write. Default: exports/RUN.mlrpl below the current folder."""
    checkpoint: Which = BEST
    """Of the run, "best" or "last"."""
    without_weights: bool = False
    """Leave the backbone's weights out, whatever their licence: who uses the file has them, or downloads them."""
    weights_licence: Name | None = None
    """The licence by which you may pass the backbone's weights on, where mlrpl knows none that allows it: they go into
    the file, which says that you said so."""
