"""What `predict` may be asked for. Help reads it: no numpy, no torch."""

from __future__ import annotations

from pydantic import Field
from pydantic.dataclasses import dataclass

from mlrpl_cli.core.io.schema import FileName, Folder, Name
from mlrpl_cli.core.runs.selection import RunOptions


@dataclass(frozen=True)
class PredictOptions(RunOptions):
    """Which classes of an image to show, and how many images to take together."""

    run: Folder | None = Field(
        default=None, description="Run folder, or a file of mlrpl pack. Default: the newest below ./runs"
    )
    backbone: Name | None = Field(
        default=None,
        description=(
            "With --run, the backbone that it was trained with, where that is not where the run says. Without, compare "
            "the images with --classes by this backbone alone: uncalibrated"
        ),
    )
    backbone_config: FileName | None = Field(
        default=None, description="What the tensors of a backbone's file do not say, as of train"
    )
    model: FileName | None = Field(
        default=None,
        description=(
            "Predict with this file, which mlrpl export --format onnx wrote, in place of a run: onnxruntime, on the CPU"
        ),
    )
    top_k: int | None = Field(
        default=None,
        ge=1,
        description=(
            "Show the k most probable classes. Default: all, but 3 in a table without --classes and --threshold"
        ),
    )
    threshold: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description=(
            "Show classes whose probability is above this, which is the decision then, in place of the run's thresholds"
        ),
    )
    batch_size: int = Field(default=32, ge=1, description="Images that go through the network together")
