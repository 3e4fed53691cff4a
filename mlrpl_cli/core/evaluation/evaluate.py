"""Scores of a recognizer over a split, and the benchmark's figures for them.

Axes: N images, C classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch

from mlrpl_cli.core.backbones.features import ImageFeatures
from mlrpl_cli.core.evaluation.metrics import Metrics, compute_metrics
from mlrpl_cli.core.evaluation.options import EvaluationOptions
from mlrpl_cli.core.features.batches import FeatureBatches, encoded
from mlrpl_cli.core.heads.recognizers import Recognition
from mlrpl_cli.core.io.devices import make_accelerator
from mlrpl_cli.core.io.errors import RunError, first_few
from mlrpl_cli.core.io.progress import Progress, Silent
from mlrpl_cli.core.labels.records import TEST
from mlrpl_cli.core.labels.states import ABSENT, PRESENT
from mlrpl_cli.core.prepared.folder import Prepared, read_prepared
from mlrpl_cli.core.runs.checkpoint import TrainedHead, data_of, load_checkpoint
from mlrpl_cli.core.runs.folder import newest_run


@dataclass(frozen=True)
class Evaluation:
    """The figures of one run on one split, and the scores they come from."""

    options: EvaluationOptions
    method: str
    epoch: int
    classes: tuple[str, ...]
    positives: np.ndarray
    """(C,) how many images of the split are known to show each class."""
    negatives: np.ndarray
    """(C,) how many are known not to."""
    images: int
    metrics: Metrics
    probabilities: np.ndarray
    """(N, C) float32 in [0, 1]."""

    @property
    def left_out(self) -> list[str]:
        """Classes without a known positive or without a known absent cell in the split: no figure counts them."""
        return [self.classes[c] for c in np.flatnonzero(np.isnan(self.metrics.average_precision))]

    @property
    def without_present(self) -> list[str]:
        """Those of the classes left out of which the split has no known positive."""
        return [self.classes[c] for c in np.flatnonzero(self.positives == 0)]

    @property
    def without_absent(self) -> list[str]:
        """Those of which it has no known absent cell."""
        return [self.classes[c] for c in np.flatnonzero(self.negatives == 0)]


def evaluate(options: EvaluationOptions, progress: Progress | None = None) -> Evaluation:
    """Encode the images of a split, score them with a trained run and compute every figure.

    Raises RunError when the run is damaged, its backbone has changed, or its classes are not the data's.
    """
    run = options.run or newest_run()
    head = TrainedHead(load_checkpoint(run, options.checkpoint))
    info, progress = head.info, progress or Silent()
    prepared = read_prepared(options.data or data_of(run, info))
    check_classes(info.classes, prepared)
    if options.data is None and prepared.sha256 != info.data_sha256:
        progress.note(f"{prepared.folder} was prepared anew since this run was trained: images or labels are others")
    rows = prepared.rows(options.split)
    if not len(rows):
        advice = "prepare it with some (--test-fraction, --validation-fraction), or choose another with --split"
        told = f"{prepared.folder} has no image in the split '{options.split}', so no figure can be computed on it"
        raise RunError(f"{told}; {advice}")
    accelerator = make_accelerator(options.device)
    with accelerator.main_process_first():  # a checkpoint that must be fetched is fetched once
        encoder = head.load_encoder(accelerator.device, options.precision, progress)
    paths, taken = prepared.paths(rows), prepared.allow_truncated
    features = encoded(encoder, paths, accelerator, options.batch_size, options.workers, allow_truncated=taken)
    probabilities = score(head.to(accelerator.device), features, progress, f"evaluating on {options.split}")
    labels = labels_of(prepared, options.split)
    metrics = compute_metrics(probabilities, labels, threshold=options.threshold, top_k=options.top_k, ap=options.ap)
    return Evaluation(
        options=replace(options, run=run),
        method=info.method,
        epoch=info.epoch,
        classes=prepared.classes,
        positives=(labels == PRESENT).sum(axis=0),
        negatives=(labels == ABSENT).sum(axis=0),
        images=len(rows),
        metrics=metrics,
        probabilities=probabilities,
    )


def as_dict(evaluation: Evaluation) -> dict[str, Any]:
    """The figures as plain values for JSON; shares are in [0, 1], NaN for a class that is left out."""
    metrics = evaluation.metrics
    columns = (evaluation.positives, evaluation.negatives, metrics.average_precision)
    per_class = zip(evaluation.classes, *(column.tolist() for column in columns), strict=True)
    return {
        **{name: value for name, value in asdict(evaluation.options).items() if name not in ("batch_size", "workers")},
        "method": evaluation.method,
        "epoch": evaluation.epoch,
        "images": evaluation.images,
        "map": metrics.mean_average_precision,
        "left_out": evaluation.left_out,
        "without_present": evaluation.without_present,
        "without_absent": evaluation.without_absent,
        "classes": [dict(zip(("class", "positives", "negatives", "ap"), row, strict=True)) for row in per_class],
        "at_threshold": asdict(metrics.at_threshold),
        "at_top_k": asdict(metrics.at_top_k),
    }


@torch.no_grad()
def score(
    head: Callable[[ImageFeatures], Recognition], features: FeatureBatches, progress: Progress, description: str
) -> np.ndarray:
    """Probabilities (N, C) float32 of `head` for every image, the same in every process.

    Raises RunError when one is not a number: ranking such scores would say nothing.
    """
    accelerator = features.accelerator
    probabilities: np.ndarray | None = None
    with progress.task(description, len(features.dataset)) as task:
        for batch, positions in features:
            logits = head(batch).logits.float()
            rows = accelerator.gather(positions).cpu().numpy()
            gathered = accelerator.gather(torch.sigmoid(logits)).cpu().numpy()
            if probabilities is None:
                probabilities = np.empty((len(features.dataset), gathered.shape[1]), dtype=np.float32)
            own = rows >= 0  # the others are repeated
            probabilities[rows[own]] = gathered[own]
            task.advance(int(own.sum()))
    assert probabilities is not None
    broken = np.flatnonzero(~np.isfinite(probabilities).all(axis=1))
    if len(broken):
        raise RunError(
            f"{len(broken)} of {len(probabilities)} images got NaN or infinite scores, first image {broken[0]}; "
            "use --precision float32, or train again with a lower lr"
        )
    return probabilities


def labels_of(prepared: Prepared, split: str) -> np.ndarray:
    """(N, C): all labels of the test split, the observed ones of any other: hidden labels are for nobody's eyes."""
    return (prepared.full_labels if split == TEST else prepared.observed_labels)[prepared.rows(split)]


def check_classes(trained: tuple[str, ...], prepared: Prepared) -> None:
    """Raise RunError unless the run and the data have the same classes in the same order."""
    if trained != (given := prepared.classes):
        differing = first_few(sorted(set(trained) ^ set(given)) or ["the order"])
        raise RunError(
            f"the run knows {len(trained)} classes and {prepared.folder} has {len(given)}, differing in {differing}; "
            "give the data the run was trained on with --data"
        )
