"""What `eval` may be asked for. Help reads it: no numpy, no torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from mlrpl_cli.core.config import Precision
from mlrpl_cli.core.runs.selection import RunOnDataOptions

AveragePrecision = Literal["all-point", "interpolated", "11-point"]


@dataclass(frozen=True)
class EvaluationOptions(RunOnDataOptions):
    """What to evaluate and by which protocol."""

    split: Literal["train", "validation", "test"] = "test"
    """Which split; the labels of a split other than test are the observed ones."""
    threshold: Annotated[float, Field(ge=0, le=1)] = 0.5
    """A class is predicted when its probability is above this."""
    top_k: Annotated[int, Field(ge=1)] = 3
    """The other way to turn scores into labels: the k highest of each image."""
    ap: AveragePrecision = "all-point"
    """How average precision is read off the curve."""
    require: tuple[str, ...] = ()
    """What the figures have to meet, such as "map>=0.6" or "ap[person]>=0.7"."""
    batch_size: Annotated[int, Field(ge=1)] = 32
    """Images that go through the network together."""
    precision: Precision = "auto"
    """What the image encoder computes in; "auto" is what the run was trained with."""
