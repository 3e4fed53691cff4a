"""What `predict --engine ray` may be asked for. Help reads it: no numpy, no torch, no Ray."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, WithJsonSchema
from pydantic.dataclasses import dataclass

from mlrpl_cli.core.cluster.options import refuse_without_engine
from mlrpl_cli.core.io.errors import ConfigError
from mlrpl_cli.core.io.schema import FolderName, Name
from mlrpl_cli.core.prediction.options import PredictOptions

OF_THE_ENGINE = ("ray_address", "ray_workers", "ray_threads", "out", "column", "maps", "part_images")
"""Options that mean nothing without --engine."""


@dataclass(frozen=True)
class BulkOptions(PredictOptions):
    """Which engine predicts, where it runs, and what it writes."""

    engine: Annotated[Literal["ray"], WithJsonSchema({"type": "string", "enum": ["ray"]})] | None = None
    """"ray" predicts images, Parquet files and tars by a Ray cluster and writes Parquet to --out; pip install
    'mlrpl[ray]'. Default: this process, which prints."""
    out: FolderName | None = None
    """Folder, or an address such as s3://BUCKET/FOLDER, that --engine ray writes to, and goes on with."""
    ray_address: Name | None = None
    """Cluster to use, as ray.init takes it, such as auto. Default: a Ray of its own on this machine."""
    ray_workers: Annotated[int | None, Field(ge=1)] = None
    """Processes that hold the model. Default: as many as the CPUs, or the GPUs, allow."""
    ray_threads: Annotated[int | None, Field(ge=1)] = None
    """CPUs of each of these. Default: 1."""
    column: Name | None = None
    """Column of Parquet files that has the paths or the bytes of images. Default: the only one that can."""
    maps: bool = False
    """Write the attention maps with --engine ray, too."""
    part_images: Annotated[int | None, Field(ge=1)] = None
    """Images of a part, which is one file and what a stopped job repeats; made a multiple of --batch-size.
    Default: 512."""

    @property
    def images_of_a_part(self) -> int:
        """The next multiple of the batch size: then the batches are those of a plain `predict`, whatever the parts."""
        return -(-(self.part_images or 512) // self.batch_size) * self.batch_size

    def check_engine(self) -> None:
        """Raise ConfigError for options of the engine without it, and for those that it cannot follow."""
        if self.engine is None:
            refuse_without_engine({name: getattr(self, name) for name in OF_THE_ENGINE})
            return
        if self.out is None:
            raise ConfigError("--engine ray writes Parquet files, and --out does not say where; add --out FOLDER")
        if self.model is not None:
            raise ConfigError("--engine ray predicts with a run or a backbone, not with a file; leave --model out")
        if self.run is not None and self.backbone_config is not None:
            raise ConfigError("--backbone-config is for --backbone without a run; a run knows its own, leave it out")
        if self.top_k is not None:
            raise ConfigError("--engine ray writes the probabilities of all classes; leave --top-k out")
