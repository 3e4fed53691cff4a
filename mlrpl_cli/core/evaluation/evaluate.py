"""Scores of a recognizer over a split, and the benchmark's figures for them.

Axes: N images, C classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from itertools import compress
from operator import not_
from typing import Any

import numpy as np
import torch
from accelerate.utils import broadcast_object_list

from mlrpl_cli.core.backbones.features import ImageFeatures
from mlrpl_cli.core.evaluation import requirements
from mlrpl_cli.core.evaluation.metrics import Metrics, compute_metrics, mean_of_classes
from mlrpl_cli.core.evaluation.options import EvaluationOptions
from mlrpl_cli.core.evaluation.requirements import Judged, ap_of
from mlrpl_cli.core.evaluation.seen import Seen, unseen
from mlrpl_cli.core.features.batches import FeatureBatches, encoded
from mlrpl_cli.core.heads.recognizers import Recognition
from mlrpl_cli.core.io.devices import make_accelerator
from mlrpl_cli.core.io.errors import RunError, first_few
from mlrpl_cli.core.io.parallel.ranks import ending_together
from mlrpl_cli.core.io.progress import Progress, Silent
from mlrpl_cli.core.labels.records import TEST
from mlrpl_cli.core.labels.states import ABSENT, PRESENT
from mlrpl_cli.core.prepared.agreement import check_same_data
from mlrpl_cli.core.prepared.folder import Prepared
from mlrpl_cli.core.runs.checkpoint import RunInfo, TrainedHead
from mlrpl_cli.core.runs.subject import subject_of

CLASS_KEYS = ("class", "positives", "negatives", "ap", "learnable")
"""Of a class in JSON."""
_OF_THIS_PROCESS = ("run", "data", "device", "workers")
"""Options that each of several processes has of its own; the others are those of the first one."""


@dataclass(frozen=True)
class Evaluation:
    """The figures of one run on one split, and the scores they come from."""

    options: EvaluationOptions
    info: RunInfo
    """What the run's checkpoint says of itself."""
    prepared: Prepared
    """The data that it was measured on."""
    rows: np.ndarray
    """(N,) rows of the images that were measured in the prepared folder."""
    labels: np.ndarray
    """(N, C) their label states, as `labels_of` has them."""
    metrics: Metrics
    probabilities: np.ndarray
    """(N, C) float32 in [0, 1]."""
    seen: Seen
    """How many images of the split the run had seen."""
    requirements: tuple[Judged, ...] = ()
    """What became of each of `options.require`."""

    @property
    def images(self) -> int:
        """N, how many were measured."""
        return len(self.labels)

    @property
    def positives(self) -> np.ndarray:
        """(C,) how many of them are known to show each class."""
        return (self.labels == PRESENT).sum(axis=0)

    @property
    def negatives(self) -> np.ndarray:
        """(C,) how many are known not to."""
        return (self.labels == ABSENT).sum(axis=0)

    @property
    def method(self) -> str:
        return self.info.method

    @property
    def epoch(self) -> int:
        """Of the checkpoint."""
        return self.info.epoch

    @property
    def classes(self) -> tuple[str, ...]:
        """C names, those of the run and of the data."""
        return self.info.classes

    @property
    def learnable(self) -> tuple[bool, ...] | None:
        """(C,) whether the run could learn each class; None where it is not known."""
        return self.info.learnable

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

    @property
    def not_learnable(self) -> list[str]:
        """Those that the run could not learn, whatever their figures, as far as it is known."""
        return [] if self.learnable is None else list(compress(self.classes, map(not_, self.learnable)))

    @property
    def map_learnable(self) -> float:
        """Mean average precision of the classes that could be learned, in [0, 1]; NaN where they are not known."""
        return mean_of_classes(self.metrics.average_precision[np.flatnonzero(self.learnable or ())])

    @property
    def figures(self) -> dict[str, float]:
        """What can be required, by name: NaN or a share in [0, 1]."""
        aps = self.metrics.average_precision.tolist()
        own = {"map": self.metrics.mean_average_precision, "map_learnable": self.map_learnable}
        told = {name.rstrip("_"): value for name, value in asdict(self.metrics.at_threshold).items()}
        return own | told | dict(zip(map(ap_of, self.classes), aps, strict=True))

    @property
    def reasons(self) -> dict[str, str]:
        """Why some of `figures` are NaN."""
        lacks = {"known absent cell": self.without_absent, "positive": self.without_present}
        where = f"among the {self.images} {self.options.split} images"
        told = {ap_of(name): f"no AP: without a {what} {where}" for what, names in lacks.items() for name in names}
        unknown = "not known: the run does not say which classes could be learned"
        return told | ({"map_learnable": unknown} if self.learnable is None else {})


@ending_together()
def evaluate(options: EvaluationOptions, progress: Progress | None = None) -> Evaluation:
    """Encode the images of a split, score them with a trained run and compute every figure.

    Images that the run has seen are left out (`seen.unseen`). Raises RunError when they all are, when the run is
    damaged, its backbone has changed, or its classes are not the data's; ConfigError for what cannot be required.
    """
    accelerator = make_accelerator(options.device)
    [first] = broadcast_object_list([options])
    options = replace(first, **{name: getattr(options, name) for name in _OF_THIS_PROCESS})
    required = [requirements.parse(text) for text in options.require]
    subject, progress = subject_of(options), progress or Silent()
    checkpoint, prepared, info = subject.checkpoint, subject.prepared, subject.info
    head = TrainedHead(checkpoint)
    check_classes(info.classes, prepared)
    requirements.check(required, prepared.classes)
    check_same_data(prepared)
    options = replace(options, run=subject.run)
    with accelerator.main_process_first():  # what it fetches, and finds out of files, the others find there
        kept, seen = unseen(prepared, options, checkpoint, progress)
        encoder = head.load_encoder(accelerator.device, options.precision, progress)
    rows = prepared.rows(options.split)[kept]
    paths, taken = prepared.paths(rows), prepared.allow_truncated
    features = encoded(encoder, paths, accelerator, options.batch_size, options.workers, allow_truncated=taken)
    probabilities = score(head.to(accelerator.device), features, progress, f"evaluating on {options.split}")
    labels = labels_of(prepared, options.split)[kept]
    found = Evaluation(
        options=options,
        info=info,
        prepared=prepared,
        rows=rows,
        labels=labels,
        metrics=compute_metrics(probabilities, labels, threshold=options.threshold, top_k=options.top_k, ap=options.ap),
        probabilities=probabilities,
        seen=seen,
    )
    return replace(found, requirements=requirements.judge(required, found.figures, found.reasons))


def as_dict(evaluation: Evaluation) -> dict[str, Any]:
    """The figures as plain values for JSON; shares are in [0, 1], NaN for a class that is left out."""
    metrics = evaluation.metrics
    columns = (evaluation.positives, evaluation.negatives, metrics.average_precision)
    learnable = evaluation.learnable or [None] * len(evaluation.classes)
    per_class = zip(evaluation.classes, *(column.tolist() for column in columns), learnable, strict=True)
    options, judged = asdict(evaluation.options), [asdict(one) for one in evaluation.requirements]
    return {
        **{name: value for name, value in options.items() if name not in ("batch_size", "workers", "require")},
        "method": evaluation.method,
        "epoch": evaluation.epoch,
        "images": evaluation.images,
        **asdict(evaluation.seen),
        "map": metrics.mean_average_precision,
        "map_learnable": evaluation.map_learnable,
        "left_out": evaluation.left_out,
        "without_present": evaluation.without_present,
        "without_absent": evaluation.without_absent,
        "not_learnable": evaluation.not_learnable,
        "classes": [dict(zip(CLASS_KEYS, row, strict=True)) for row in per_class],
        "at_threshold": asdict(metrics.at_threshold),
        "at_top_k": asdict(metrics.at_top_k),
        "requirements": judged,
    }


@torch.no_grad()
def score(
    head: Callable[[ImageFeatures], Recognition], features: FeatureBatches, progress: Progress, description: str
) -> np.ndarray:
    """Probabilities (N, C) float32 of `head` for every image, the same in every process.

    Raises RunError when one is not a number: ranking such scores would say nothing.
    """
    with progress.task(description, len(features.dataset)) as task:
        (found,) = features.collect(lambda batch: [torch.sigmoid(head(batch).logits.float())], task.advance)
    probabilities = found.cpu().numpy()
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
            "give the data that the run was trained on"
        )
