"""Images as they are described once, to fit `anchored` to any labels of them. Axes: N images, C classes, D channels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mlrpl_cli.core.config import TrainConfig
from mlrpl_cli.core.curation.cross_fitting import describe_images
from mlrpl_cli.core.evaluation.evaluate import check_classes
from mlrpl_cli.core.heads.fitted.anchored import AnchoredClassifier
from mlrpl_cli.core.heads.losses import make_cells
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
        self, labels: np.ndarray, generator: torch.Generator, done: Callable[[], object] = lambda: None
    ) -> AnchoredClassifier:
        """Fitted to the known cells of `labels` (N, C), as training does; `done` is told of each of its `fits`."""
        classifier = AnchoredClassifier(self.texts, self.contents.shape[1])
        classifier.fit(self.described, make_cells(self.config, torch.from_numpy(labels)), generator, done)
        return classifier

    def logits(self, classifier: AnchoredClassifier) -> np.ndarray:
        """(N, C) float32."""
        return classifier.logits(*self.described).numpy()


def ground_of(prepared: Prepared, rows: np.ndarray, options: RunOptions, run: Path, progress: Progress) -> Ground:
    """The images of `rows`, by the backbone of a run. Raises RunError for one that is damaged or of other classes."""
    head = TrainedHead(load_checkpoint(run, options.checkpoint))
    check_classes(head.info.classes, prepared)
    config = load_config(run)
    (scores, contents), texts = describe_images(head, config, prepared, rows, options, progress)
    return Ground(scores, contents, texts, config)
