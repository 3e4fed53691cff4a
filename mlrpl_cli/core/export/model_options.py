"""What `export` may be asked for. Help reads it: no numpy, no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from mlrpl_cli.core.config import BEST, CheckedOptions, Which
from mlrpl_cli.core.io.schema import Folder

ModelFormat = Literal["onnx", "torch"]
SUFFIXES: dict[ModelFormat, str] = {"onnx": ".onnx", "torch": ".pt2"}
"""What a file of each format ends in."""


@dataclass(frozen=True)
class ModelOptions(CheckedOptions):
    """Which run becomes a file, and what the file computes."""

    run: Folder | None = None
    """Run folder. Default: the newest below ./runs."""
    format: ModelFormat = "onnx"
    """ "onnx", or "torch" for torch.export's archive."""
    out: Path | None = None
    """File to write. Default: exports/RUN.onnx, or .pt2, below the current folder."""
    checkpoint: Which = BEST
    """Of the run, "best" or "last"."""
    with_resize: bool = False
    """The file resizes images of any size itself."""
    int8: bool = False
    """Convolutions and matrix products in 8 bits, by the ranges that some of the run's training images show."""
    int8_bound: Annotated[float, Field(ge=0, le=1)] = 0.01
    """How far the mAP of the validation images may fall with --int8; a file whose falls further is not written."""
    data: Folder | None = None
    """With --int8, prepared folder with these images. Default: the one that the run was trained on."""
    workers: Annotated[int | None, Field(ge=0)] = None
    """With --int8, threads that decode images. Default: one for each core, at most 8."""
