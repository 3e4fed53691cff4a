"""What the images of a run hold, and which are copies of others, whatever they are called.

A figure over a copy of a training image would say how well a run remembers. Axes: N images of a split.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mlrpl_cli.core.config import TrainConfig
from mlrpl_cli.core.features.cache import CACHE, image_digests
from mlrpl_cli.core.io.devices import decoding_workers
from mlrpl_cli.core.labels.records import TRAIN
from mlrpl_cli.core.prepared.folder import Prepared


@dataclass(frozen=True)
class RunContents:
    """Hexadecimal SHA-256 of each image file that a run reads, in the order of the rows."""

    training: list[str]
    scored: list[str]
    """Of the images of the split that is scored, those that are `kept`."""
    kept: np.ndarray
    """(N,) bool: the images of that split that are no copies of training images."""


def run_contents(config: TrainConfig, prepared: Prepared, split: str) -> RunContents:
    """Of the training images, and of those of `split`, which selects the best epoch.

    The feature cache remembers them. Raises DataError for an image that cannot be read.
    """
    rows = (prepared.rows(name) for name in (TRAIN, split))
    training, scored = (digests_of(prepared, own, config.cache, config.workers) for own in rows)
    kept = ~copies(scored, training)
    return RunContents(training, [scored[place] for place in np.flatnonzero(kept)], kept)


def digests_of(prepared: Prepared, rows: np.ndarray, cache: str | None = None, workers: int | None = None) -> list[str]:
    """Hexadecimal SHA-256 of the image files of some rows.

    They are remembered in the feature `cache`, None for the one beside the prepared folder; `workers` as
    `TrainConfig.workers`. Raises DataError for an image that cannot be read.
    """
    folder = Path(cache) if cache else prepared.folder.resolve().parent / CACHE
    return image_digests(prepared.paths(rows), decoding_workers(workers), folder)


def numbered(digests: Sequence[str]) -> np.ndarray:
    """(N,) a number for the content of each image: equal ones are copies."""
    return np.unique(np.array(digests, str), return_inverse=True)[1].reshape(-1)


def copies(digests: Sequence[str], of: Iterable[str]) -> np.ndarray:
    """(N,) bool: which images hold the bytes of one `of` others."""
    others = frozenset(of)
    return np.array([digest in others for digest in digests], bool)
