"""The features that a training run reads: from the feature cache where they fit in it, else encoded as they come."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mlrpl_cli.core.features.batches import FeatureBatches, cached, encoded
from mlrpl_cli.core.features.filler import CacheFiller

FeaturesOfRun = tuple[FeatureBatches, FeatureBatches]
"""Those of the training images, and of the images of the split that selects the best epoch."""


def features_of_run(filler: CacheFiller, training: Sequence[Path], selecting: Sequence[Path]) -> FeaturesOfRun:
    """As the filler's configuration asks, whose views fit.

    Raises DataError where the cache's disk has no room for them any more.
    """
    config, accelerator = filler.config, filler.accelerator
    if not config.views:
        options, taken = (accelerator, config.batch_size, config.workers), filler.allow_truncated
        learned = encoded(filler.encoder, training, *options, config.seed, allow_truncated=taken)
        return learned, encoded(filler.encoder, selecting, *options, allow_truncated=taken)
    plain = filler.fill(selecting, 1, "validation images")
    views = filler.fill(training, config.views)
    return cached(views, accelerator, config.batch_size, config.seed), cached(plain, accelerator, config.batch_size)
