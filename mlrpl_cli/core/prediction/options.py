"""What `predict` may be asked for. Help reads it: no numpy, no torch."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from mlrpl_cli.core.io.schema import FileName, Folder, Name
from mlrpl_cli.core.runs.selection import RunOptions


@dataclass(frozen=True)
class PredictOptions(RunOptions):
    """Which classes of an image to show, and how many images to take together."""

    run: Folder | None = None
    """Run folder, or a file of mlrpl pack. Default: the newest below ./runs."""
    backbone: Name | None = None
    """With --run, the backbone that it was trained with, where that is not where the run says. Without, compare the
    images with --classes by this backbone alone: uncalibrated."""
    backbone_config: FileName | None = None
    """What the tensors of a backbone's file do not say, as of train."""
    model: FileName | None = None
    """Predict with this file, which mlrpl export --format onnx wrote, in place of a run: onnxruntime, on the CPU."""

    top_k: Annotated[int | None, Field(ge=1)] = None
    """Show the k most probable classes. Default: all, but 3 in a table without --classes and --threshold."""
    threshold: Annotated[float | None, Field(ge=0, le=1)] = None
    """Show classes whose probability is above this, which is the decision then, in place of the run's thresholds."""
    batch_size: Annotated[int, Field(ge=1)] = 32
    """Images that go through the network together."""
