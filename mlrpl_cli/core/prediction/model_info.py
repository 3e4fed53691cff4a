"""What a model file says of itself: properties of text, each a field in JSON. Axes: C classes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Literal

import pydantic.dataclasses
from pydantic import ConfigDict, Field

from mlrpl_cli import __version__
from mlrpl_cli.core.config import ImageSize
from mlrpl_cli.core.io import schema
from mlrpl_cli.core.io.errors import DataError, one_line
from mlrpl_cli.core.io.reading import shown

FORMAT = 1
"""Of the properties, inputs and outputs."""
IMAGES = "images"
"""The input: (B, S, S, 3) uint8 RGB; images of any size, of one size in a batch, where the graph resizes."""
OUTPUTS = ("probabilities", "raw", "decisions", "attention")
"""float32 (B, C) calibrated and (B, C) as the method gives them, int8 (B, C) of 1 (yes), -1 (no) and 0 (unsure), and
float32 (B, C, H, W)."""

Listed = Field(strict=False, fail_fast=True)
Finite = Annotated[float, Field(allow_inf_nan=False)]
Three = Annotated[tuple[Finite, Finite, Finite], Listed]
Text = Annotated[str, Field(max_length=schema.LONGEST_TEXT)]
Share = Annotated[float, Field(ge=0, le=1)]


@pydantic.dataclasses.dataclass(frozen=True, config=ConfigDict(extra="forbid", strict=True))
class ModelInfo:
    """What whoever runs the file has to know."""

    classes: Annotated[tuple[str, ...], Field(min_length=1, strict=False, fail_fast=True)]
    """C names, in the order of the outputs' columns."""
    thresholds: Annotated[tuple[Share | None, ...], Listed]
    """(C,) of calibrated probabilities: yes at or above; null where none reaches the objective."""
    objective: Text | None
    """What they were chosen for; null for a run without held-out cells, whose decisions are all unsure."""
    calibrated: bool
    """Whether probabilities are calibrated, and decisions are made."""
    uncalibrated: Annotated[tuple[str, ...], Listed]
    """Classes whose probabilities are as the method gives them."""
    learnable: Annotated[tuple[bool, ...], Listed] | None
    """(C,) whether the run could learn each class; null where it is not known."""
    image_size: ImageSize
    """S."""
    mean: Three
    """Of each channel in [0, 1]; the graph takes it out."""
    std: Three
    """What the graph divides by."""
    resampling: Literal["bicubic", "bilinear"]
    """How images are resized to S x S, with Pillow's filter of that name; their aspect is not kept."""
    channels: Literal["RGB", "BGR"]
    """The order that the backbone takes; the graph makes it of RGB."""
    resizes: bool
    """Whether the graph resizes images to S x S."""
    allow_truncated: bool
    """Whether the run read JPEGs that lack their last bytes."""
    precision: Literal["float32", "int8"]
    """What convolutions and matrix products compute in."""
    method: Text
    epoch: Annotated[int, Field(ge=0)]
    backbone: Text
    """Its name, or that of its file."""
    licence: Text | None
    """Of the backbone's weights; null where it is not known."""
    run_sha256: Text
    """Of the content of the run's checkpoint."""
    backbone_sha256: Text
    """Of all that decides the backbone's features."""
    data_sha256: Text
    """Of what was read of the data that the run was trained on."""
    mask_sha256: Text
    """Of which labels stayed known."""
    seed: int | None
    """Of the training; null where it is not known."""
    mlrpl: Text = __version__
    """The version that wrote the file."""
    format: int = FORMAT

    def properties(self) -> dict[str, str]:
        """Each field by its name, as JSON."""
        return {name: json.dumps(value, ensure_ascii=False) for name, value in asdict(self).items()}


def info_of(properties: Mapping[str, str]) -> ModelInfo:
    """What `ModelInfo.properties` gave. Raises DataError for anything else."""
    try:
        values = {name: json.loads(text) for name, text in properties.items()}
        if values.get("format") != FORMAT:
            raise DataError(f"expected format {FORMAT} of model files, got {shown(values.get('format'))}; update mlrpl")
        found = schema.validated(ModelInfo, values)
    except (ValueError, RecursionError) as error:
        raise DataError(f"its properties are not those of a model file: {one_line(error)}; export it again") from error
    for name in ("thresholds", "learnable"):
        if (values := getattr(found, name)) is not None and len(values) != len(found.classes):
            raise DataError(f"it has {len(values)} {name} for {len(found.classes)} classes; export it again")
    return found
