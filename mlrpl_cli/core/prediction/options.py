"""What `predict` may be asked for. Help reads it: no numpy, no torch."""

from __future__ import annotations

from pydantic import Field
from pydantic.dataclasses import dataclass

from mlrpl_cli.core.io.schema import FileName, Name
from mlrpl_cli.core.runs.selection import RunOptions


@dataclass(frozen=True)
class PredictOptions(RunOptions):
    """Which classes of an image to show, and how many images to take together."""

    backbone: Name | None = Field(
        None, description="Compare the images with --classes by this backbone alone, without a run: uncalibrated"
    )
    backbone_config: FileName | None = Field(
        None, description="What the tensors of a backbone's file do not say, as of train"
    )
    model: FileName | None = Field(
        None,
        description=(
            "Predict with this file, which mlrpl export --format onnx wrote, in place of a run: onnxruntime, on the CPU"
        ),
    )
    top_k: int | None = Field(
        None,
        ge=1,
        description=(
            "Show the k most probable classes. Default: all, but 3 in a table without --classes and --threshold"
        ),
    )
    threshold: float | None = Field(
        None,
        ge=0,
        le=1,
        description=(
            "Show classes whose probability is above this, which is the decision then, in place of the run's thresholds"
        ),
    )
    batch_size: int = Field(32, ge=1, description="Images that go through the network together")
