"""Predictions of cells by classifiers that were fitted without them.

All cells of the training and validation images, known or not, are divided at random into K parts. The cells of a part
are scored by a classifier that was fitted to the known cells of the others, so that a known cell says of its own score
as much as an unknown one does: nothing. Where chance decides which cells are known, both are alike, and what holds of
known cells holds of unknown ones. Axes: N images, C classes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mlrpl_cli.core.config import TrainConfig
from mlrpl_cli.core.curation.ground import Ground, ground_of
from mlrpl_cli.core.evaluation.evaluate import check_classes
from mlrpl_cli.core.heads.fitted.anchored import AnchoredClassifier
from mlrpl_cli.core.heads.losses import Cells, make_cells
from mlrpl_cli.core.io.devices import make_generator
from mlrpl_cli.core.io.errors import DataError
from mlrpl_cli.core.io.progress import Progress, Silent
from mlrpl_cli.core.io.tensorfiles import SUFFIX, open_tensors, write_tensors
from mlrpl_cli.core.labels.records import TEST
from mlrpl_cli.core.labels.states import UNKNOWN
from mlrpl_cli.core.prepared.folder import Prepared
from mlrpl_cli.core.runs.checkpoint import RunInfo, load_checkpoint
from mlrpl_cli.core.runs.contents import digests_of, numbered
from mlrpl_cli.core.runs.folder import load_config
from mlrpl_cli.core.runs.selection import RunOptions

PARTS, SEED = 5, 0
FILE = f"cross_fitted{SUFFIX}"
"""Below a run's folder: the scores of the data that were asked for last."""
_RULE = "anchored 1"
"""Changes with what scores mean."""


@dataclass(frozen=True)
class CrossFitted:
    """Every cell with the score of a classifier that did not know it."""

    classes: tuple[str, ...]
    rows: np.ndarray
    """(N,) rows of the images in the prepared folder, ascending; no test image."""
    labels: np.ndarray
    """(N, C) int8 observed label states."""
    parts: np.ndarray
    """(N, C) int8 in [0, K): the part that a cell is of. Copies of an image have theirs in the same parts."""
    logits: np.ndarray
    """(N, C) float32."""

    @property
    def known(self) -> np.ndarray:
        """(N, C) bool"""
        return self.labels != UNKNOWN


def cross_fit(
    prepared: Prepared,
    options: RunOptions,
    run: Path,
    progress: Progress | None = None,
    described: Callable[[], Ground] | None = None,
) -> CrossFitted:
    """Scores of all cells of the training and validation images of `prepared`, with the backbone of a run.

    The classifier is `anchored`, which is fitted at once; the run's folder keeps the scores. `described` gives these
    images to a caller who wants them, too. Raises RunError for a run that is damaged or knows other classes, and
    DataError without an image or a known cell.
    """
    progress = progress or Silent()
    asked = _asked(prepared, options, run)
    logits = _stored(run / FILE, asked.made_of)
    if logits is None:
        ground = described() if described else ground_of(prepared, asked.rows, options, run, progress)
        logits = fit_parts(ground.described, ground.texts, asked.labels, asked.parts, asked.config, progress)
        _keep(run / FILE, logits, asked.made_of, progress)
    return CrossFitted(prepared.classes, asked.rows, asked.labels, asked.parts, logits)


def kept(prepared: Prepared, options: RunOptions, run: Path) -> CrossFitted | None:
    """What `cross_fit` would return, where an earlier command has left it in the run's folder; else None, at once.

    Raises as `cross_fit` does.
    """
    if not (run / FILE).is_file():
        return None
    asked = _asked(prepared, options, run)
    logits = _stored(run / FILE, asked.made_of)
    if logits is None:
        return None
    return CrossFitted(prepared.classes, asked.rows, asked.labels, asked.parts, logits)


class _Asked(NamedTuple):
    """What is to be scored, and what decides the scores."""

    config: TrainConfig
    rows: np.ndarray
    labels: np.ndarray
    parts: np.ndarray
    made_of: dict[str, str]


def _asked(prepared: Prepared, options: RunOptions, run: Path) -> _Asked:
    info = load_checkpoint(run, options.checkpoint).info
    check_classes(info.classes, prepared)
    config = load_config(run)
    rows = np.flatnonzero(np.array(prepared.splits) != TEST)
    labels = prepared.observed_labels[rows]
    if not (labels != UNKNOWN).any():
        raise DataError(f"{prepared.folder} has no known cell to learn from; label some, and prepare it again")
    digests = digests_of(prepared, rows, config.cache, options.workers)
    parts = parts_of(numbered(digests), labels.shape[1])
    return _Asked(config, rows, labels, parts, {"made_of": _made_of(info, config, prepared, digests)})


def parts_of(contents: np.ndarray, classes: int, seed: int = SEED) -> np.ndarray:
    """(N, C) int8: a part for each class of each content, drawn from `seed`; `contents` are (N,) numbers from 0 on."""
    drawn = np.random.default_rng(seed).integers(
        PARTS, size=(int(contents.max(initial=-1)) + 1, classes), dtype=np.int8
    )
    return drawn[contents]


def fit_parts(
    described: Sequence[Tensor],
    texts: Tensor,
    labels: np.ndarray,
    parts: np.ndarray,
    config: TrainConfig,
    progress: Progress,
    precision: float | None = None,
) -> np.ndarray:
    """(N, C) float32 logits, each cell's by the classifier fitted to the others' parts.

    `described` is what `AnchoredClassifier.describe` says of the images, `texts` (C, E) what it compares with. Without
    a `precision`, λ of each classifier is chosen without the held part, too.
    """
    states = torch.from_numpy(labels)
    cells, logits = make_cells(config, states), np.empty(labels.shape, np.float32)
    channels = described[1].shape[1]
    with progress.task("fitting without each part", PARTS * AnchoredClassifier.fits, "fits") as task:
        for part in range(PARTS):
            held = torch.from_numpy(parts == part)
            classifier = AnchoredClassifier(texts, channels)
            seen = Cells(cells.targets, cells.weights * ~held)
            classifier.fit(described, seen, make_generator(SEED, "parts to hold out"), task.advance, precision)
            logits[parts == part] = classifier.logits(*described)[held].numpy()
    return logits


def _made_of(info: RunInfo, config: TrainConfig, prepared: Prepared, digests: Sequence[str]) -> str:
    """What decides the scores; `digests` are of the image files."""
    asked = {name: asdict(config)[name] for name in ("loss", "unknown_weight", "cache_dtype")}
    told = [_RULE, asked, info.fingerprint, info.image_size, info.precision, prepared.sha256]
    return hashlib.sha256(json.dumps([*told, digests, PARTS, SEED]).encode()).hexdigest()


def _keep(path: Path, logits: np.ndarray, made_of: dict[str, str], progress: Progress) -> None:
    """For the next command; without them it fits again, so that a folder that cannot be written is no error."""
    try:
        write_tensors(path, {"logits": torch.from_numpy(logits)}, made_of)
    except DataError as error:
        progress.warn(f"the scores are not kept for later commands: {error}")


def _stored(path: Path, made_of: dict[str, str]) -> np.ndarray | None:
    with suppress(ValueError, KeyError):  # missing, damaged or of other data: made again
        stored = open_tensors(path).checked()
        if stored.metadata == made_of:
            return stored.tensors["logits"].numpy()
    return None
