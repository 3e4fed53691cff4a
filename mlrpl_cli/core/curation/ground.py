"""Images as they are described once, to fit `anchored` to any labels of them. Axes: N images, C classes, D channels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mlrpl_cli.core.backbones.features import ImageFeatures, are_finite
from mlrpl_cli.core.config import TrainConfig
from mlrpl_cli.core.evaluation.evaluate import check_classes
from mlrpl_cli.core.features.batches import FeatureBatches, cached, encoded
from mlrpl_cli.core.features.filler import CacheFiller
from mlrpl_cli.core.heads.class_semantics import template_features
from mlrpl_cli.core.heads.fitted.anchored import AnchoredClassifier
from mlrpl_cli.core.heads.losses import make_cells
from mlrpl_cli.core.heads.text_inputs import TextInputs
from mlrpl_cli.core.io.devices import make_accelerator
from mlrpl_cli.core.io.errors import DataError, first_few
from mlrpl_cli.core.io.progress import Progress
from mlrpl_cli.core.prepared.folder import Prepared
from mlrpl_cli.core.runs.checkpoint import TrainedHead, load_checkpoint
from mlrpl_cli.core.runs.folder import load_config
from mlrpl_cli.core.runs.selection import RunOptions


@dataclass(frozen=True)
class Ground:
    """What `anchored` needs of N images and C classes."""

    scores: Tensor
    """(N, C, M) zero-shot scores in [-1, 1]."""
    contents: Tensor
    """(N, D) content of unit length."""
    texts: Tensor
    """(C, E)"""
    config: TrainConfig
    """Of the run; its loss says what unknown cells are taken for."""

    @property
    def described(self) -> Sequence[Tensor]:
        return self.scores, self.contents

    def part(self, rows: np.ndarray) -> Ground:
        """Some of the images."""
        return Ground(self.scores[rows], self.contents[rows], self.texts, self.config)

    def fit(
        self,
        labels: np.ndarray,
        generator: torch.Generator,
        done: Callable[[], object] = lambda: None,
        precision: float | None = None,
    ) -> AnchoredClassifier:
        """Fitted to the known cells of `labels` (N, C), as training does; `done` is told of each of its `fits`.

        With a `precision`, λ is not chosen, which leaves one fit of them.
        """
        classifier = AnchoredClassifier(self.texts, self.contents.shape[1])
        classifier.fit(self.described, make_cells(self.config, torch.from_numpy(labels)), generator, done, precision)
        return classifier

    def logits(self, classifier: AnchoredClassifier) -> np.ndarray:
        """(N, C) float32."""
        return classifier.logits(*self.described).numpy()


def ground_of(prepared: Prepared, rows: np.ndarray, options: RunOptions, run: Path, progress: Progress) -> Ground:
    """The images of `rows`, by the backbone of a run. Raises RunError for one that is damaged or of other classes."""
    head = TrainedHead(load_checkpoint(run, options.checkpoint))
    check_classes(head.info.classes, prepared)
    config = load_config(run)
    (scores, contents), texts = _described(head, config, prepared, rows, options, progress)
    return Ground(scores, contents, texts, config)


def _described(
    head: TrainedHead,
    config: TrainConfig,
    prepared: Prepared,
    rows: np.ndarray,
    options: RunOptions,
    progress: Progress,
) -> tuple[list[Tensor], Tensor]:
    """What `AnchoredClassifier.describe` says of the images of `rows`, and the texts that it compares with."""
    accelerator = make_accelerator(options.device)
    encoder, backbone = head.load_backbone(accelerator.device, progress=progress)
    inputs = TextInputs(TrainConfig(), prepared.classes, backbone.text_tower(), backbone.tokenizer, torch.Generator())
    texts = template_features(inputs)
    classifier = AnchoredClassifier(texts, backbone.channels).to(accelerator.device)
    filler = CacheFiller(encoder, config, accelerator, progress, prepared.allow_truncated)
    images = _features(filler, prepared.paths(rows), options)

    def described(features: ImageFeatures) -> Sequence[Tensor]:
        return classifier.describe(features)

    with torch.no_grad(), progress.task("reading images", len(rows), "images") as task:
        found = images.collect(described, task.advance)
    _check(found, [prepared.images[row] for row in rows.tolist()])
    return [part.cpu() for part in found], texts.cpu()


def _features(filler: CacheFiller, paths: Sequence[Path], options: RunOptions) -> FeatureBatches:
    """From the run's feature cache where they fit in it, else encoded as they come."""
    config, accelerator = filler.config, filler.accelerator
    if config.views and filler.problem(0, len(paths)) is None:
        return cached(filler.fill(paths, 1, "images"), accelerator, config.batch_size)
    taken = filler.allow_truncated
    return encoded(filler.encoder, paths, accelerator, config.batch_size, options.workers, allow_truncated=taken)


def _check(found: Sequence[Tensor], names: Sequence[str]) -> None:
    if spoilt := [names[row] for row in (~are_finite(found)).nonzero().flatten().tolist()]:
        raise DataError(f"features are NaN or infinite of {first_few(spoilt)}; use --precision float32 in training")
