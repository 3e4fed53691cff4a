"""Which trained run is meant, as evaluation, prediction and figures ask for it. Help reads it: no numpy, no torch."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic.dataclasses import dataclass

from mlrpl_cli.core.config import BEST, CheckedOptions, Device, Which


@dataclass(frozen=True)
class RunOptions(CheckedOptions):
    """Which trained run to look at, and how to load it and the images."""

    run: Path | None = Field(None, description="Run folder; None is the newest below ./runs")
    checkpoint: Which = Field(BEST, description='"best" (by the split that selected) or "last"')
    device: Device = Field("auto", description='"cpu", "cuda", or "auto" for CUDA where there is one')
    workers: int | None = Field(
        None, ge=0, description="processes that decode images; 0 decodes in this one, None takes one a core, at most 8"
    )
