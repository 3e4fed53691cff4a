"""A worker of a job: a process that holds the model and predicts one part after another.

Ray makes it; nothing here knows of Ray, and PyTorch and Pillow are imported when it begins.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from socket import gethostname
from typing import TYPE_CHECKING, Any

from mlrpl_cli.core.cluster.connection import Folder, check_version
from mlrpl_cli.core.io.errors import memory_for
from mlrpl_cli.core.io.own_process import own_process
from mlrpl_cli.core.prediction.bulk.options import BulkOptions

if TYPE_CHECKING:
    from mlrpl_cli.core.prediction.bulk.listing import Part
    from mlrpl_cli.core.prediction.bulk.tables import Predicted
    from mlrpl_cli.core.prediction.predictor import Predictor


COMPUTING_LESS = "lower --batch-size or --ray-workers, or free some memory"


@dataclass(frozen=True)
class Loading:
    """What a worker needs to begin."""

    options: BulkOptions
    """With the run that is meant, by its absolute path."""
    classes: tuple[str, ...] | None
    """The names that a backbone alone looks for."""
    about: Mapping[str, Any]
    """What goes into each file: among it the checksums that the worker's own model has to have."""
    device: str
    threads: int
    folder: Folder = field(default_factory=Folder)


class Worker:
    """Holds the model."""

    def load(self, loading: Loading) -> None:
        """Load the model. Raises what loading it raises, and RunError where it is another one than the job's.

        Not in __init__, whose errors Ray tells without their type.
        """
        own_process()
        loading.folder.enter()
        check_version(loading.about["mlrpl"])
        import torch

        from mlrpl_cli.core.io.errors import RunError
        from mlrpl_cli.core.prediction.bulk.tables import Writer

        torch.set_num_threads(loading.threads)
        self.options, self.threads = loading.options, loading.threads
        with memory_for(COMPUTING_LESS):
            self.predictor = load_predictor(loading.options, loading.classes, loading.device)
        found = identity(self.predictor)
        differing = [key for key, value in found.items() if loading.about[key] != value]
        if differing:
            raise RunError(
                f"{gethostname()} finds another model than the command ({', '.join(differing)}); copy the run there"
            )
        self.writer = Writer(loading.about, loading.options.threshold, loading.options.maps)

    def predict(self, part: Part) -> Predicted:
        """The tables of a part. Raises WeightsError for features that are NaN or infinite, and OutOfMemoryError."""
        from mlrpl_cli.core.prediction.bulk.containers import pictures

        found = self.predictor.predict_images(
            pictures(part.items, self.options.column),
            lambda picture: picture.fetch(),
            self.options.batch_size,
            self.decoding,
        )
        with memory_for(COMPUTING_LESS):
            return self.writer.written((item.name for item in part.items), found)

    @property
    def decoding(self) -> int:
        """Threads that decode: --workers, or as many as compute."""
        return self.threads if self.options.workers is None else self.options.workers


def load_predictor(options: BulkOptions, classes: tuple[str, ...] | None, device: str) -> Predictor:
    """The run, or the backbone alone, that is asked for."""
    from mlrpl_cli.core.prediction.predictor import Predictor

    if options.run is None and options.backbone is not None:
        return Predictor.from_backbone(options.backbone, classes or (), options.backbone_config, device)
    return Predictor.from_run(options.run, options.checkpoint, device, options.backbone)


def identity(predictor: Predictor) -> dict[str, Any]:
    """What tells a model from another: classes, thresholds, calibration and checksums."""
    decision = predictor.decision if predictor.calibrated else None
    thresholds = None if decision is None else [None if t != t else float(t) for t in decision.thresholds]
    return {
        "classes": list(predictor.classes),
        "thresholds": thresholds,
        "calibration": None if decision is None else decision.calibration.coefficients.tolist(),
        "checkpoint_sha256": predictor.checkpoint_sha256,
        "backbone_sha256": predictor.encoder.fingerprint,
    }
