"""Which trained run is meant, as evaluation, prediction and figures ask for it. Help reads it: no numpy, no torch."""

from __future__ import annotations

from pydantic import Field
from pydantic.dataclasses import dataclass

from mlrpl_cli.core.config import BEST, CheckedOptions, Device, Which
from mlrpl_cli.core.io.schema import Folder


@dataclass(frozen=True)
class RunOptions(CheckedOptions):
    """Which trained run to look at, and how to load it and the images."""

    run: Folder | None = Field(default=None, description="Run folder. Default: the newest below ./runs")
    checkpoint: Which = Field(default=BEST, description='"best" (by the split that selected) or "last"')
    device: Device = Field(default="auto", description='"cpu", "cuda", or "auto" for CUDA where there is one')
    workers: int | None = Field(
        default=None,
        ge=0,
        description="processes that decode images; 0 decodes in this one. Default: one for each core, at most 8",
    )


@dataclass(frozen=True)
class RunOnDataOptions(RunOptions):
    """Which trained run, and which prepared folder it is to look at."""

    data: Folder | None = Field(
        default=None, description="Prepared folder. Default: the one that the run was trained on"
    )
